"""Adapts a trained Mixer, ResMLP or gMLP to another image size or number of classes.

Usage: std-keras resize-weights --source=DIR --image_size=N --output=DIR [--num_classes=K]
`--token_mixing` chooses between an exact and an approximate adaptation.
"""

from __future__ import annotations

from collections.abc import Sequence

from std_keras.config.option import MODEL, RUN, Option
from std_keras.errors import Interrupted
from std_keras.programs import flags, shared_options
from std_keras.programs.program import StopRequest

_OPTIONS = {
    "source": Option(topic=RUN, help="Directory of a finished run, or std_keras:NAME.", kind=str),
    "output": shared_options.NEW_RUN,
    "image_size": shared_options.saying(
        shared_options.IMAGE_SIZE, "Height and width of the new images."
    ),
    "num_classes": shared_options.saying(
        shared_options.NUM_CLASSES,
        "Number of classes of new, untrained heads; the old heads are kept if not given.",
    ),
    "token_mixing": Option(
        topic=MODEL,
        help="block_diagonal: exact, for integer multiples of the old size; K times the size makes "
        "a Mixer's hidden layer K x K times as wide. interpolated: approximate, for any size, at "
        "the old width. auto: block_diagonal where possible.",
        kind=str,
        choices=("auto", "block_diagonal", "interpolated"),
    ),
    "labels": shared_options.saying(
        shared_options.LABELS,
        "With --num_classes: a file of class names, one per line; numbers if not given.",
    ),
}


def main(arguments: Sequence[str], stop: StopRequest) -> None:
    """Parses the flags, writes the new run directory, and reports how exact it is."""
    parsed = flags.parse(
        arguments,
        program="std-keras resize-weights",
        about="Adapts a trained Mixer, ResMLP or gMLP to another image size or number of classes, "
        "and writes the result as a run directory.",
        options=_OPTIONS,
        defaults={"token_mixing": "auto"},
        required=("source", "image_size", "output"),
    )

    from std_keras import quiet

    quiet.load_tensorflow()
    from std_keras.weights.resize import resize_weights

    if stop:
        raise Interrupted("interrupted; nothing was written")
    resize_weights(parsed.pop("source"), **parsed)

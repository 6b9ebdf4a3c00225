"""Adapts a trained Mixer to images of another size, or to another number of classes.

Usage: std-keras resize-weights --source=DIR --image_size=N --output=DIR [--num_classes=K]
`--token_mixing` says what is exact and what is not.
"""

from __future__ import annotations

from collections.abc import Sequence

from std_keras.config.option import MODEL, RUN, Option
from std_keras.errors import Interrupted
from std_keras.programs import flags, shared_options
from std_keras.programs.program import StopRequest

_OPTIONS = {
    "source": Option(topic=RUN, help="Directory of a finished run of a Mixer.", kind=str),
    "output": shared_options.NEW_RUN,
    "image_size": shared_options.saying(
        shared_options.IMAGE_SIZE, "Height and width of the new images."
    ),
    "num_classes": shared_options.saying(
        shared_options.NUM_CLASSES,
        "Classes of new heads, which are not trained; the heads are kept if not given.",
    ),
    "token_mixing": Option(
        topic=MODEL,
        help="block_diagonal: exact, for whole multiples of the old size, with K x K times the "
        "hidden width at K times the size; interpolated: an approximation for any size, with the "
        "width that it has; auto: the first where it can be had.",
        kind=str,
        choices=("auto", "block_diagonal", "interpolated"),
    ),
    "labels": shared_options.saying(
        shared_options.LABELS,
        "With --num_classes: a file of class names, one a line; numbers if not given.",
    ),
}


def main(arguments: Sequence[str], stop: StopRequest) -> None:
    """Parses the flags, writes the new run directory, and says how exact it is."""
    parsed = flags.parse(
        arguments,
        program="std-keras resize-weights",
        about="Adapts a trained Mixer to images of another size, or to other classes, and writes "
        "the result as a run directory.",
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

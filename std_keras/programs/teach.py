"""`std-keras teach`: a teacher for one's own classes, from a network that was trained on others."""

from __future__ import annotations

from collections.abc import Sequence

from std_keras.config import defaults, options
from std_keras.config.option import (
    COUNT,
    DATA,
    MODEL,
    NATURAL,
    OPTIMIZATION,
    POSITIVE,
    Option,
)
from std_keras.programs import flags, program, shared_options
from std_keras.programs.program import StopRequest

_OWN = {
    "backbone": Option(
        topic=MODEL,
        help="SOURCE[,input=byte|unit|signed|imagenet][,size=N]: a .keras file, keras:NAME, a run "
        "directory, std_keras:NAME; see the page on teachers.",
        kind=str,
    ),
    "backbone_size": Option(
        topic=MODEL,
        help="Side of the backbone's input in pixels, if it takes images of any size; 224 if not "
        "given.",
        kind=int,
        **COUNT,
    ),
    "fine_tune_epochs": Option(
        topic=OPTIMIZATION,
        help="Then train all layers for this many epochs; 0 leaves the backbone as it is.",
        kind=int,
        **NATURAL,
    ),
    "learning_rate": Option(
        topic=OPTIMIZATION,
        help="Learning rate of the fine-tuning after the warm-up; 0.0001 if not given.",
        kind=float,
        **POSITIVE,
    ),
    "batch_size": shared_options.saying(
        shared_options.BATCH_SIZE, "Batch size of the fine-tuning; 32 if not given."
    ),
}
# The backbone decides the size, and nothing is augmented.
_NOT_OF_DATA = ("image_size", "augmentation_views")


def main(arguments: Sequence[str], stop: StopRequest) -> None:
    """Parses the flags, fits the class head, and writes the run directory."""
    shared = {
        name: option
        for name, option in options().items()
        if (option.topic == DATA and name not in _NOT_OF_DATA)
        or name in ("eval_crop_ratio", "mixed_precision")
    }
    model_dir = "The run directory to create."
    parsed = flags.parse(
        arguments,
        program="std-keras teach",
        about="Makes a teacher for your classes from a network trained on others: features "
        "of every image, computed once, and a linear class head fitted to them. The result is a "
        "run directory.",
        options={
            "model_dir": shared_options.saying(shared_options.NEW_RUN, model_dir),
            **_OWN,
            **shared,
        },
        defaults={name: defaults()[name] for name in shared} | {"fine_tune_epochs": 0},
        required=("model_dir", "backbone"),
    )

    from std_keras import quiet

    quiet.load_tensorflow()
    from std_keras.training.teach import teach

    given = {name: value for name, value in parsed.items() if value is not None}
    teach(given.pop("backbone"), **given, stop=lambda: bool(stop))


def console() -> None:
    """Entry point of the console program."""
    program.console(main)


if __name__ == "__main__":
    console()

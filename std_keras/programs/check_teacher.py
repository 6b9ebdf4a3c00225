"""`std-keras check-teacher`: what a teacher is worth, and what is wrong with it."""

from __future__ import annotations

import json
from collections.abc import Sequence

from std_keras.config import TrainConfig, defaults, options
from std_keras.config.option import DISTILLATION, NATURAL, Option
from std_keras.programs import flags
from std_keras.programs.program import StopRequest

_OPTIONS = {
    "examples": Option(
        topic=DISTILLATION,
        help="Images of the held-out part and of train, each, on which teachers are checked; 0 for "
        "all.",
        kind=int,
        **NATURAL,
    ),
    "baseline": Option(
        topic=DISTILLATION,
        help="Top-1 of the student without a teacher, as a fraction, or its run directory.",
        kind=str,
    ),
    "labels_output": Option(
        topic=DISTILLATION,
        help="File to write the class names in the order of a teacher's outputs to, if another "
        "order than the data set's fits far better; for --teacher=SOURCE,labels=FILE.",
        kind=str,
    ),
}


def main(arguments: Sequence[str], stop: StopRequest) -> None:
    """Parses the flags, checks the teachers, and prints one JSON object for each."""
    parsed = flags.parse(
        arguments,
        program="std-keras check-teacher",
        about="Tries teachers on held-out and on training images: accuracy, entropy, speed, "
        "memory, and warnings about wrong pixel ranges and orders of classes. It takes the flags "
        "of std-keras train; those of the student have no effect. Prints JSON.",
        options={**_OPTIONS, **options()},
        defaults={**defaults(), "examples": 1000},
        required=("teacher", "dataset"),
    )
    own = {name: parsed.pop(name) for name in _OPTIONS}
    config = TrainConfig(**parsed)

    from std_keras import quiet

    quiet.load_tensorflow()
    from std_keras.training.check_teacher import check_teacher

    found = check_teacher(config, **own, stop=lambda: bool(stop))
    print(json.dumps([one.as_dict() for one in found], indent=2))

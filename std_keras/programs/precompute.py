"""Computes what the teachers say about the augmented images of a training, ahead of it.

Usage: std-keras precompute --flagfile=NAME.flags --teacher_cache=DIR
Give the flags of the training; trainings with them and --teacher_cache=DIR then load no teacher.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from std_keras.config import TrainConfig, defaults, options
from std_keras.programs import flags
from std_keras.programs.program import StopRequest


def main(arguments: Sequence[str], stop: StopRequest) -> None:
    """Parses the flags of a training and fills its teacher cache; prints JSON."""
    parsed = flags.parse(
        arguments,
        program="std-keras precompute",
        about="Computes what the teachers say about every augmented image of a training and stores "
        "it in --teacher_cache. It takes the flags of the training; those that concern the "
        "student change nothing. The same command again continues an interrupted one.",
        options=options(),
        defaults=defaults(),
        required=("teacher_cache", "teacher"),
    )
    config = TrainConfig(**parsed)

    from std_keras import quiet

    quiet.load_tensorflow()
    from std_keras.training.precompute import precompute

    print(json.dumps(precompute(config, stop=lambda: bool(stop)), indent=2))

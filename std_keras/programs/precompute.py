"""Computes the teacher predictions of a training run's augmented images ahead of training.

Usage: std-keras precompute --flagfile=NAME.flags --teacher_cache=DIR
Use the flags of the training run; runs with them and --teacher_cache=DIR then load no teacher.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from std_keras.config import TrainConfig, defaults, options
from std_keras.programs import flags
from std_keras.programs.program import StopRequest


def main(arguments: Sequence[str], stop: StopRequest) -> None:
    """Parses the flags of a training run, fills its teacher cache, and prints JSON."""
    parsed = flags.parse(
        arguments,
        program="std-keras precompute",
        about="Computes the teacher predictions of every augmented image of a training run and "
        "stores them in --teacher_cache. It takes the flags of std-keras train; those of the "
        "student have no effect. Run the same command again to continue an interrupted one.",
        options=options(),
        defaults=defaults(),
        required=("teacher_cache", "teacher"),
    )
    config = TrainConfig(**parsed)

    from std_keras import quiet

    quiet.load_tensorflow()
    from std_keras.training.precompute import precompute

    print(json.dumps(precompute(config, stop=lambda: bool(stop)), indent=2))

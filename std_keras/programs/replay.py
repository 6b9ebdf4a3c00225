"""Replays the steps that led to a non-finite loss, and finds what became non-finite first.

Usage: std-keras replay --model_dir=RUN [--step=N]
The run directory is not changed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from std_keras.config.option import NATURAL, RUN, Option
from std_keras.errors import NonFiniteError
from std_keras.programs import flags, shared_options
from std_keras.programs.program import StopRequest

OPTIONS = {
    "model_dir": shared_options.saying(
        shared_options.MODEL_DIR, "The run directory of a training run that became non-finite."
    ),
    "step": Option(
        topic=RUN,
        help="The step to stop at, counted from 1; 0 for the step whose batch the run saved.",
        kind=int,
        **NATURAL,
    ),
    "dataset": shared_options.saying(
        shared_options.DATASET, "Where the run's images are now, if they moved."
    ),
    "data_dir": shared_options.DATA_DIR,
}


def main(arguments: Sequence[str], stop: StopRequest) -> None:
    """Prints the report as JSON; exit code 3 if a value is non-finite again."""
    parsed = flags.parse(
        arguments,
        program="std-keras replay",
        about="Replays the steps from the last good checkpoint of a run to the one that became "
        "non-finite, and reports the first non-finite layer, and non-finite images and gradients.",
        options=OPTIONS,
        defaults={"model_dir": None, "step": 0, "dataset": None, "data_dir": None},
        required=("model_dir",),
    )

    from std_keras import quiet

    quiet.load_tensorflow()
    from std_keras.training.replay import replay

    report = replay(
        parsed["model_dir"],
        step=parsed["step"],
        dataset=parsed["dataset"],
        data_dir=parsed["data_dir"],
        stop=lambda: bool(stop),
    )
    print(json.dumps(report, indent=2))
    if not report["finite"]:
        broken = report["first_broken"]
        teachers = [name for name, examples in report["teachers"].items() if examples]
        where = ", ".join(f"the teacher {name}" for name in teachers)
        where = where or broken["layer"] or ", ".join(broken["gradients"][:3]) or "the loss"
        raise NonFiniteError(f"step {max(report['steps'])} is not finite again, first in {where}")

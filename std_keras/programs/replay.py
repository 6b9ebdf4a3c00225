"""Repeats the steps after which a training became non-finite, and says what broke first.

Usage: std-keras replay --model_dir=RUN [--step=N]
Nothing in the run directory is changed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from std_keras.config.option import RUN, Option
from std_keras.errors import NonFiniteError
from std_keras.programs import flags, program
from std_keras.programs.program import StopRequest

OPTIONS = {
    "model_dir": Option(topic=RUN, help="A run that became non-finite.", kind=str),
    "step": Option(
        topic=RUN,
        help="The step to stop at, counted from 1; 0 for the one whose batch the run kept.",
        kind=int,
    ),
    "data_dir": Option(
        topic=RUN, help="Where TFDS keeps its data sets; the run's own if not given.", kind=str
    ),
}


def main(arguments: Sequence[str], stop: StopRequest) -> None:
    """Prints the report as JSON; exit code 3 if a number was not finite again."""
    parsed = flags.parse(
        arguments,
        program="std-keras replay",
        about="Repeats the steps from the last good checkpoint of a run to one that became "
        "non-finite, and names the first layer, the images and the gradients that are not finite.",
        options=OPTIONS,
        defaults={"model_dir": None, "step": 0, "data_dir": None},
        required=("model_dir",),
    )

    from std_keras import quiet

    quiet.load_tensorflow()
    from std_keras.training.replay import replay

    report = replay(
        parsed["model_dir"],
        step=parsed["step"],
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


if __name__ == "__main__":
    program.console(main)

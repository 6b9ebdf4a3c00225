"""`std-keras evaluate`: the accuracy of every head of a run's model."""

from __future__ import annotations

import json
from collections.abc import Sequence

from std_keras.config.option import DATA, Option
from std_keras.programs import flags, program, shared_options
from std_keras.programs.program import StopRequest
from std_keras.runs.run import Run

_OPTIONS = {
    "model_dir": shared_options.MODEL_DIR,
    "head": shared_options.HEAD,
    "weights": shared_options.WEIGHTS,
    "dataset": shared_options.DATASET,
    "data_dir": shared_options.DATA_DIR,
    "split": Option(
        topic=DATA,
        help="Split to evaluate.",
        kind=str,
        choices=("train", "validation", "test"),
    ),
    "max_examples": shared_options.saying(
        shared_options.EXAMPLES,
        "Evaluate on at most this many evenly spaced examples; 0 for all.",
    ),
    "batch_size": shared_options.BATCH_SIZE,
}


def main(arguments: Sequence[str], stop: StopRequest) -> None:
    """Parses the flags, evaluates, and prints one JSON object."""
    parsed = flags.parse(
        arguments,
        program="std-keras evaluate",
        about="Evaluates a run's model on a split of a data set and prints the metrics as JSON.",
        options=_OPTIONS,
        defaults={"split": "test", "max_examples": 0, "batch_size": 128},
        required=("model_dir",),
    )
    run = Run(parsed.pop("model_dir"))

    from std_keras import quiet

    quiet.load_tensorflow()
    from std_keras.runs.evaluate import evaluate

    found = evaluate(run, **parsed, stop=lambda: bool(stop))
    print(json.dumps(found.as_dict(), indent=2))


def console() -> None:
    """Entry point of the console program."""
    program.console(main)


if __name__ == "__main__":
    console()

"""`std-keras evaluate`: the accuracy of a run's model, head by head."""

from __future__ import annotations

import json
from collections.abc import Sequence

from std_keras.config.option import DATA, Option
from std_keras.errors import InputError, Interrupted
from std_keras.programs import flags, program, shared_options
from std_keras.programs.program import StopRequest
from std_keras.runs import pretrained

_OPTIONS = {
    "model_dir": shared_options.MODEL_DIR,
    "head": shared_options.HEAD,
    "weights": shared_options.WEIGHTS,
    "dataset": shared_options.DATASET,
    "data_dir": shared_options.DATA_DIR,
    "split": Option(
        topic=DATA,
        help="Which part to evaluate.",
        kind=str,
        choices=("train", "validation", "test"),
    ),
    "max_examples": shared_options.saying(
        shared_options.EXAMPLES,
        "Evaluate on this many examples only, taken at equal distances; 0 for all.",
    ),
    "batch_size": shared_options.BATCH_SIZE,
}


def main(arguments: Sequence[str], stop: StopRequest) -> None:
    """Parses the flags, evaluates, and prints one JSON object."""
    parsed = flags.parse(
        arguments,
        program="std-keras evaluate",
        about="Evaluates a run's model on a part of a data set and prints the figures as JSON.",
        options=_OPTIONS,
        defaults={"split": "test", "max_examples": 0, "batch_size": 128},
        required=("model_dir",),
    )
    parsed["model_dir"] = pretrained.located(parsed["model_dir"], flag="model_dir")

    from std_keras import quiet

    quiet.load_tensorflow()
    import tensorflow as tf

    from std_keras import models, progress
    from std_keras.data.limit import limited_source
    from std_keras.runs.evaluation import Evaluator
    from std_keras.runs.trained import load_trained
    from std_keras.training import build

    model = load_trained(parsed["model_dir"], weights=parsed["weights"])
    head = parsed["head"] or build.default_head(model)
    models.prediction_model(model, head=head)  # Refuses a head that the model does not have.
    dataset = build.data_of_run(
        parsed["model_dir"],
        dataset=parsed["dataset"],
        data_dir=parsed["data_dir"],
        model=model,
        progress=progress.track,
    )
    source = getattr(dataset, parsed["split"])
    if source is None:
        raise InputError(
            "--split=validation: the run held no validation part out (--validation_fraction=0)"
        )
    if parsed["max_examples"]:
        source = limited_source(source, parsed["max_examples"], flag="max_examples")
    if stop:
        raise Interrupted("interrupted; nothing was evaluated")
    figures = Evaluator(
        models.heads_model(model),
        source=source,
        batch_size=parsed["batch_size"],
        strategy=tf.distribute.get_strategy(),
    ).run(stop=lambda: bool(stop))
    report = {
        "model_dir": str(parsed["model_dir"]),
        "dataset": dataset.name,
        "split": parsed["split"],
        "examples": source.size,
        "head": head,
        "top1": figures[head].top1,
        "top5": figures[head].top5,
        "heads": {name: accuracy.as_dict() for name, accuracy in figures.items()},
    }
    print(json.dumps(report, indent=2))


def console() -> None:
    """Entry point of the console program."""
    program.console(main)


if __name__ == "__main__":
    console()

"""The end of a run: the evaluation on the test split, the model and the result."""

from __future__ import annotations

import contextlib
from typing import Any

from std_keras import models, progress
from std_keras.runs.evaluation import Accuracy
from std_keras.runs.run_directory import replace_atomically
from std_keras.training.assembly import Training
from std_keras.training.metric_writer import FINAL
from std_keras.training.metrics import beside_training, by_path


def finish(training: Training, *, step: int, train_seconds: float) -> dict[str, Any]:
    """Evaluates on the test split and writes the model and the result.

    Args:
        training: the run after its last step.
        step: steps done.
        train_seconds: of all its processes.

    Returns:
        What `result.json` holds.
    """
    config, state, evaluators = training.config, training.state, training.evaluators
    kept_model = models.without_auxiliaries(state.model)
    accuracies = evaluators.run("test")
    values = {f"{FINAL}{name}": value for name, value in by_path(accuracies).items()}
    if training.dataset.validation is None:  # Then it is the last point of what was watched.
        values |= beside_training(accuracies[evaluators.kept_weights])
    training.writer.scalars(
        "eval", step=step, epoch=float(config.optimization.epochs), values=values
    )
    training.writer.tokens(state.model, step=step)
    training.writer.classes(
        accuracies[evaluators.kept_weights][evaluators.head],
        label_names=training.dataset.label_names,
        step=step,
    )
    weights, head = evaluators.kept_weights, evaluators.head
    kept = accuracies[weights]
    result = {
        "top1": kept[head].top1,
        "top5": kept[head].top5,
        "balanced_accuracy": kept[head].balanced_accuracy,
        "calibration_error": kept[head].calibration_error,
        "head": head,
        "weights": weights,
        "heads": {name: accuracy.as_dict() for name, accuracy in kept.items()},
        "parameters": models.trainable_parameters(kept_model),
        "steps": step,
        "epochs": config.optimization.epochs,
        "images_per_second": step * config.optimization.batch_size / train_seconds,
        "train_seconds": train_seconds,
        "teacher_predictions": training.teacher_predictions,
        "splits": {
            part: {"examples": count, "from": training.dataset.origins.get(part, "")}
            for part, count in training.dataset.sizes.items()
            if count
        },
        "per_class": kept[head].per_class(training.dataset.label_names),
        "confusions": kept[head].confused(training.dataset.label_names),
    }
    origin = training.run.read_origin()
    if origin is not None:
        result["origin"] = origin
    with contextlib.suppress(ValueError):  # A backbone of the user's may hold what is not counted.
        result["macs"] = models.multiply_accumulates(evaluators.heads)
    if weights == "ema":
        result["raw_heads"] = {h: accuracy.as_dict() for h, accuracy in accuracies["raw"].items()}
    if training.dataset.validation is not None:
        result[f"best_validation_{config.run.best_by}"] = training.checkpoints.best
    if training.chief:
        if state.average is not None:
            state.average.copy_to_model()
        replace_atomically(training.run.model_file, kept_model.save)
        training.run.write_result(result)
    training.any_worker(False)  # No worker leaves while the chief still writes.
    progress.say(
        f"finished: test top-1 {result['top1']:.4f}, top-5 {result['top5']:.4f}, balanced "
        f"{result['balanced_accuracy']:.4f}, {kept[head].weakest(training.dataset.label_names)}, "
        f"calibration error {result['calibration_error']:.4f} "
        f"({head} head, {weights} weights); {training.run.model_file}"
    )
    return result


def keep_best(training: Training, accuracy: Accuracy) -> None:
    """Keeps the model as the best one so far if its accuracy on the held-out part is."""
    score = float(getattr(accuracy, training.config.run.best_by))
    if score <= training.checkpoints.best:
        return
    training.checkpoints.best = score
    if not training.chief:
        return
    model = models.without_auxiliaries(training.state.model)
    average = training.state.average
    with average.in_place() if average is not None else contextlib.nullcontext():
        replace_atomically(training.run.best_model_file, model.save)

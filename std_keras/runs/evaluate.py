"""`std_keras.evaluate`: how good a run's model is on a part of a data set."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from std_keras import quiet
from std_keras.errors import InputError, Interrupted
from std_keras.runs.run import Run

if TYPE_CHECKING:
    from std_keras.data import DataSet, Source
    from std_keras.runs.evaluation import Accuracy

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Evaluation:
    """The accuracy of a model.

    Attributes:
        model_dir: the run directory.
        dataset: the data set's name.
        split: "train", "validation" or "test".
        examples: how many were looked at.
        head: the head that `top1` and `top5` are of.
        top1: the fraction of the examples whose largest logit is the label's.
        top5: the fraction whose label is among the five largest logits.
        heads: top-1, top-5, cross-entropy (nats) and more of every head, `classification` first.
        balanced_accuracy: the mean over classes of their own top-1, of that head.
        per_class: by class, its own top-1 as `accuracy` (None without examples), and `examples`.
        confusions: what was most often taken for what, at most 20 pairs: `label`, `predicted`,
            `count`, and `share` of the label's examples.
        calibration_error: see `Accuracy`, of that head.
    """

    model_dir: str
    dataset: str
    split: str
    examples: int
    head: str
    top1: float
    top5: float
    heads: dict[str, Accuracy]
    balanced_accuracy: float
    per_class: dict[str, dict[str, Any]]
    confusions: list[dict[str, Any]]
    calibration_error: float | None

    def as_dict(self) -> dict[str, Any]:
        """The same as plain values, for JSON."""
        heads = {name: accuracy.as_dict() for name, accuracy in self.heads.items()}
        return {**vars(self), "heads": heads}


def evaluate(
    run: Run | str | os.PathLike[str],
    *,
    head: str | None = None,
    weights: str | None = None,
    dataset: str | None = None,
    data_dir: str | None = None,
    split: str = "test",
    max_examples: int = 0,
    batch_size: int = 128,
    stop: Callable[[], bool] = lambda: False,
) -> Evaluation:
    """Evaluates every head of a run's model in one pass.

    Args:
        run: a run, its directory, or `std_keras:NAME`.
        head: the head that `top1` and `top5` are of; None for the one that `model.keras` returns.
        weights: "ema" or "raw", see `Run.model`.
        dataset: another data set with the same classes; None for the run's own.
        data_dir: where TFDS keeps its prepared data sets; None for the run's own.
        split: "train", "validation" (what the run held out of train) or "test".
        max_examples: so many at equal distances; 0 for all.
        batch_size: examples at a time.
        stop: asked between batches; once true, the evaluation ends.

    Raises:
        InputError: if something asked for is not there.
        Interrupted: because `stop()` was true.
    """
    if split not in SPLITS:
        raise InputError(f"split={split} must be one of {', '.join(SPLITS)}")
    for name, value, least in (("batch_size", batch_size, 1), ("max_examples", max_examples, 0)):
        if value < least:
            raise InputError(f"{name}={value} must be at least {least}")
    run = Run(run)
    quiet.ensure_tensorflow()
    import tensorflow as tf

    from std_keras import models, progress
    from std_keras.runs.evaluation import Evaluator
    from std_keras.training import build

    model = run.model(weights=weights)
    head = head or build.default_head(model)
    models.prediction_model(model, head=head)  # Refuses a head that the model does not have.
    loaded = build.data_of_run(
        run.path,
        dataset=dataset,
        data_dir=data_dir,
        model=model,
        test_only=split == "test",
        progress=progress.stoppable(stop),
    )
    source = _part(loaded, split, max_examples=max_examples)
    if stop():
        raise Interrupted("interrupted; nothing was evaluated")
    found = Evaluator(
        models.heads_model(model),
        source=source,
        batch_size=batch_size,
        strategy=tf.distribute.get_strategy(),
    ).run(stop=stop)
    return Evaluation(
        model_dir=str(run.path),
        dataset=loaded.name,
        split=split,
        examples=source.size,
        head=head,
        top1=found[head].top1,
        top5=found[head].top5,
        heads=found,
        balanced_accuracy=found[head].balanced_accuracy,
        per_class=found[head].per_class(loaded.label_names),
        confusions=found[head].confused(loaded.label_names),
        calibration_error=found[head].calibration_error,
    )


def _part(dataset: DataSet, split: str, *, max_examples: int) -> Source:
    from std_keras.data.limit import limited_source

    source: Source | None = getattr(dataset, split)
    if source is None:
        raise InputError(
            "split=validation: the run held no validation part out (validation_fraction=0)"
        )
    return limited_source(source, max_examples, flag="max_examples")

"""Metrics of many steps as means, and those of an evaluation under one name each."""

from __future__ import annotations

from collections.abc import Mapping

from std_keras.runs.evaluation import Accuracy
from std_keras.training.step import CallResult


class StepMeans:
    """Sums of the metrics since they were last logged."""

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self._totals: dict[str, float] = {}
        self._steps, self._seconds, self._waited = 0, 0.0, 0.0

    def add(self, result: CallResult, seconds: float) -> None:
        for name, value in result.totals.items():
            self._totals[name] = self._totals.get(name, 0.0) + value
        self._steps += result.steps
        self._seconds += seconds
        self._waited += min(result.wait_seconds, seconds)  # A clock may be set meanwhile.

    def means(self, batch_size: int) -> dict[str, float]:
        """Means per step, images per second, and the share of time spent waiting for data."""
        values = {name: total / self._steps for name, total in self._totals.items()}
        values["images_per_second"] = self._steps * batch_size / self._seconds
        values["data_wait"] = self._waited / self._seconds
        self._clear()
        return values


def by_path(accuracies: Mapping[str, Mapping[str, Accuracy]]) -> dict[str, float]:
    """Accuracies by `weights/head/metric`, as TensorBoard groups them."""
    return {
        f"{weights}/{head}/{name}": value
        for weights, heads in accuracies.items()
        for head, accuracy in heads.items()
        for name, value in accuracy.as_dict().items()
    }


def beside_training(heads: Mapping[str, Accuracy]) -> dict[str, float]:
    """Figures of the class head under the names that training has, so that they share a chart."""
    own = heads["classification"]
    return {"accuracy/classification": own.top1, "loss/classification": own.loss}

"""Metrics of many steps as means, and those of an evaluation under one name each."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from std_keras.runs.evaluation import Accuracy
from std_keras.runs.run_directory import write_atomically
from std_keras.training.step import CallResult


class StepMeans:
    """Sums of the metrics since they were last logged, which an interrupted run goes on with."""

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self._totals: dict[str, float] = {}
        self._steps, self._seconds, self._waited = 0, 0.0, 0.0

    def add(self, result: CallResult, seconds: float) -> None:
        """Counts the steps of one call.

        Args:
            result: of the call.
            seconds: that it took, waiting for data included.
        """
        for name, value in result.totals.items():
            self._totals[name] = self._totals.get(name, 0.0) + value
        self._steps += result.steps
        self._seconds += seconds
        self._waited += min(result.wait_seconds, seconds)  # A clock may be set meanwhile.

    def keep(self, file: Path, *, step: int) -> None:
        """Writes down the sums after `step` steps; without any there is no file."""
        sums = {
            "step": step,
            "totals": self._totals,
            "steps": self._steps,
            "seconds": self._seconds,
            "waited": self._waited,
        }
        if self._steps:
            write_atomically(file, json.dumps(sums) + "\n")
        else:
            file.unlink(missing_ok=True)

    def go_on(self, file: Path, *, step: int) -> None:
        """Takes up what was kept, if it was kept after `step` steps."""
        try:
            sums = json.loads(file.read_text(encoding="utf-8"))
            if sums["step"] == step:
                self._totals = {str(n): float(v) for n, v in sums["totals"].items()}
                self._steps, self._seconds = int(sums["steps"]), float(sums["seconds"])
                self._waited = float(sums["waited"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError):
            self._clear()  # The next line of the log is of fewer steps, then.

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

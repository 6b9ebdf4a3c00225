"""What a run directory is in Python."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from std_keras import quiet
from std_keras.config import TrainConfig
from std_keras.errors import InputError
from std_keras.extras import imported
from std_keras.runs.run_directory import RunDirectory

if TYPE_CHECKING:
    import keras
    import pandas


class Run:
    """A training that was started, interrupted or finished, read from its directory.

    Files are read when they are asked for, so a run that is still training shows how it stands. A
    run goes wherever a path goes: `std_keras.evaluate(run)`, `teacher=(f"{run},site=last",)`.

    Args:
        path: the run directory; `std_keras:NAME` for weights that come with the package, or
            `hf-hub:ORG/NAME` for those of the hub.

    Raises:
        InputError: if there are no weights of that name, or they are damaged.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        from std_keras.weights.located import located

        self.directory = RunDirectory(located(os.fspath(path), flag="model_dir"))

    @property
    def path(self) -> Path:
        """The run directory."""
        return self.directory.path

    @property
    def config(self) -> TrainConfig:
        """What the run was told, with everything filled in that was left open.

        Raises:
            InputError: if this is not a run directory.
        """
        return self.directory.read_config()

    @property
    def result(self) -> dict[str, Any] | None:
        """What `result.json` holds (accuracies are fractions of the test split), or None.

        None means that the run is not finished.
        """
        finished = self.directory.result_file.is_file()
        return self.directory.read_result() if finished else None

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the classes, in the order of the logits.

        Raises:
            InputError: if this is not a run directory.
        """
        return self.directory.read_labels()

    def metrics(self, split: str | None = None) -> list[dict[str, Any]]:
        """What was logged so far: a dictionary with `step`, `epoch`, `split` and the metrics.

        Args:
            split: "train" or "eval" for the lines of one alone.

        Raises:
            InputError: if a line is damaged; one that is being written just now is left out.
        """
        file = self.directory.metrics_file
        if not file.is_file():
            return []
        lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
        try:
            found = [json.loads(line) for line in lines if line.endswith("\n")]
        except json.JSONDecodeError as error:
            raise InputError(f"{file} is damaged: {error}") from error
        return [line for line in found if split in (None, line["split"])]

    def metrics_frame(self, split: str | None = None) -> pandas.DataFrame:
        """`metrics` as a table with a row for each line.

        Raises:
            InputError: see `metrics`; or if pandas is not installed, or is broken.
        """
        frames: Any = imported("pandas", needed_by="metrics_frame")
        return frames.DataFrame(self.metrics(split))

    def model(self, *, head: str | None = None, weights: str | None = None) -> keras.Model:
        """The trained model: pixels (B, H, W, C) of 0..255, of any dtype, to logits (B, classes).

        Args:
            head: "average", "classification", "distillation", "confidence" or a single head by
                name; None for the one that `model.keras` returns.
            weights: "ema" for the moving average, "raw" for the weights as the optimizer left
                them; None for those of `model.keras`. An unfinished run gives those of its newest
                checkpoint.

        Raises:
            InputError: if there is nothing to load, or the run has no such head or weights.
        """
        quiet.ensure_tensorflow()
        from std_keras import models
        from std_keras.runs.trained import load_trained

        model = load_trained(self.path, weights=weights)
        return model if head is None else models.prediction_model(model, head=head)

    def __fspath__(self) -> str:
        return str(self.path)

    def __str__(self) -> str:
        return str(self.path)

    def __repr__(self) -> str:
        if not self.directory.exists():
            return f"Run({str(self.path)!r}: not started)"
        config, result = self.config, self.result
        about = f"{config.model.name} on {config.data.dataset or 'no data set'}"
        if result is None:
            return f"Run({str(self.path)!r}: {about}, not finished)"
        if result["top1"] is None:
            return f"Run({str(self.path)!r}: {about}, weights from elsewhere)"
        return f"Run({str(self.path)!r}: {about}, test top-1 {result['top1']:.4f})"

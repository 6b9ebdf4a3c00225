"""Several runs side by side: their options, curves and results."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from std_keras.config import TrainConfig, options
from std_keras.errors import InputError
from std_keras.runs.run_directory import RunDirectory

# Flags of which runs nearly always differ and that say nothing about the result.
_PLACES = ("data_dir",)


@dataclass(frozen=True)
class Record:
    """What a run directory says about its run.

    Attributes:
        name: short, for tables.
        run: the directory.
        config: its flags.
        result: `result.json`; None if the run is not finished.
        lines: `metrics.jsonl`, in order.
    """

    name: str
    run: RunDirectory
    config: TrainConfig
    result: dict[str, Any] | None
    lines: tuple[dict[str, Any], ...]

    def curve(self, split: str, metric: str) -> tuple[list[float], list[float]]:
        """Epochs and values of one metric of "train" or "eval"; empty if it was not logged."""
        points = [(x["epoch"], x[metric]) for x in self.lines if _has(x, split, metric)]
        return [p[0] for p in points], [p[1] for p in points]

    @property
    def watched_part(self) -> str:
        """What was evaluated while it trained: "held-out part", or "test" if there is none."""
        examples = self.run.read_examples() or {}
        return "held-out part" if examples.get("validation") else "test"

    def watched(self, figure: str) -> tuple[list[float], list[float]]:
        """Epochs and values of a figure of the main head on `watched_part`.

        Args:
            figure: "top1" or "loss".
        """
        name = f"{self.kept_weights}/{self.main_head}/{figure}"
        epochs, values = self.curve("eval", name)
        if self.watched_part == "test":  # The last evaluation has a name of its own.
            last = self.curve("eval", f"test/{name}")
            epochs, values = epochs + last[0], values + last[1]
        return epochs, values

    @property
    def kept_weights(self) -> str:
        """The weights that count: those of `model.keras`."""
        return "ema" if self.config.optimization.ema_decay > 0 else "raw"

    @property
    def main_head(self) -> str:
        """The head that `model.keras` returns."""
        if self.result is not None and "head" in self.result:
            return str(self.result["head"])
        keys = [k.removeprefix("test/").split("/") for x in self.lines for k in x]
        named = (k[1] for k in keys if len(k) == 3 and k[0] == self.kept_weights)
        return "average" if "average" in set(named) else "classification"

    @property
    def teachers(self) -> tuple[str, ...]:
        """The teachers that were listened to."""
        return self.config.distillation.teachers if self.config.distillation.uses_teachers else ()


def read(path: str | Path, *, name: str) -> Record:
    """Reads a run directory, finished or not.

    Raises:
        InputError: if it is none, or a file of it is damaged.
    """
    run = RunDirectory(path)
    if not run.exists():
        raise InputError(
            f"{run.path} is not a run directory: it has no config.json; give the `model_dir` of a "
            "training"
        )
    result = run.read_result() if run.result_file.is_file() else None
    return Record(name, run, run.read_config(), result, _lines(run.metrics_file))


def differing_options(configs: Sequence[TrainConfig]) -> dict[str, list[Any]]:
    """The flags that are not the same in all configurations, with the value of each."""
    found = {}
    for name in options():
        values = [config.flat()[name] for config in configs]
        if name not in _PLACES and any(value != values[0] for value in values):
            found[name] = values
    return found


def exports(folders: Sequence[Path]) -> list[dict[str, Any]]:
    """The exports' `report.json` in these folders and directly below them, with their "folder".

    Raises:
        InputError: a file of that name cannot be read.
    """
    found = []
    for folder in dict.fromkeys(folders):
        for file in sorted([*folder.glob("report.json"), *folder.glob("*/report.json")]):
            try:
                content = json.loads(file.read_text(encoding="utf-8"))
            except (OSError, ValueError) as error:
                raise InputError(f"{file} cannot be read: {error}") from error
            if isinstance(content, Mapping) and "tflite" in content:
                found.append({**content, "folder": str(file.parent)})
    return found


def _lines(file: Path) -> tuple[dict[str, Any], ...]:
    if not file.is_file():
        return ()
    lines = []
    for text in file.read_text(encoding="utf-8").splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue  # A killed run may have left half a line at the end.
        if isinstance(line, dict) and "epoch" in line:
            lines.append(line)
    return tuple(lines)


def _has(line: Mapping[str, Any], split: str, metric: str) -> bool:
    return line.get("split") == split and isinstance(line.get(metric), (int, float))


def as_dict(record: Record) -> dict[str, Any]:
    """The record as plain values, for JSON."""
    return {
        "name": record.name,
        "model_dir": str(record.run.path),
        "config": record.config.flat(),
        "result": record.result,
    }

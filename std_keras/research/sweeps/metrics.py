"""What a run directory says about a run, finished or not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from std_keras.errors import InputError
from std_keras.research.sweeps.plan import Run
from std_keras.runs.run_directory import RunDirectory

_TAIL_BYTES = 20_000  # Holds the last lines of metrics.jsonl.


def progress_of(run: Run) -> float:
    """The part of the run's epochs that is done, 0 to 1, as last logged."""
    try:
        last = next(_lines_backwards(RunDirectory(run.model_dir).metrics_file), {})
    except OSError:
        return 0.0
    return min(float(last.get("epoch", 0.0)) / run.config.optimization.epochs, 1.0)


def result_of(run: Run) -> dict[str, Any]:
    """The final metrics of a finished run.

    With `--validation_fraction` they are those of the held-out part after the last epoch: a sweep
    that is made to choose must not see the test split.

    Raises:
        InputError: if the run is not finished, or does not hold what it should.
    """
    directory = RunDirectory(run.model_dir)
    result = directory.read_result()
    if not run.config.data.validation_fraction or run.is_teacher:
        return {**result, "split": "test"}
    try:
        heads = _validation(directory.metrics_file, weights=result["weights"])
    except OSError as error:
        raise InputError(f"{directory.metrics_file} cannot be read: {error.strerror}") from error
    kept = heads[result["head"]]
    return {**result, **kept, "heads": heads, "split": "validation"}


def _validation(path: Path, *, weights: str) -> dict[str, dict[str, float]]:
    """The metrics of each head by name, as evaluated last."""
    for line in _lines_backwards(path):
        names = [name for name in line if name.startswith(f"{weights}/")]
        if line.get("split") == "eval" and names:
            heads: dict[str, dict[str, float]] = {}
            for name in names:
                _, head, metric = name.split("/")
                heads.setdefault(head, {})[metric] = line[name]
            return heads
    raise InputError(f"{path} has no evaluation on the validation split")


def _lines_backwards(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of metrics.jsonl, last one first; a line still being written is skipped."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(size - _TAIL_BYTES, 0))
        text = file.read().decode("utf-8", errors="replace")
    for line in reversed(text.splitlines()):
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            continue

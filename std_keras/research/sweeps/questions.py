"""The questions of the paper's tables, answered by a sweep: a difference, its interval, a verdict.

The verdict is a rule, not an opinion: a direction is only claimed if the 95 % confidence interval
of the mean difference (Student's t over seeds, runs with the same seed paired) leaves out 0.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scipy import stats

from std_keras.errors import InputError
from std_keras.research.sweeps import measured
from std_keras.research.sweeps.measured import Table

COLUMNS = ("table", "question", "expected", "source", "ours")
DIRECTIONS = {"above 0": 1, "below 0": -1, "not known": 0}
_CONFIDENCE = 0.95
_FEWEST = 3  # Seeds: with two, the interval is wider than anything that one could find.


@dataclass(frozen=True)
class Answer:
    """What the runs say about a difference.

    Attributes:
        mean: of the differences.
        half_width: of the confidence interval of the mean; None for a single run.
        runs: pairs of runs.
        verdict: what may be said.
    """

    mean: float
    half_width: float | None
    runs: int
    verdict: str


def answer(differences: Sequence[float], *, expected: str) -> Answer:
    """The answer of paired differences.

    Args:
        differences: one for each seed, in any unit; at least one.
        expected: a key of `DIRECTIONS`.
    """
    n = len(differences)
    mean = statistics.fmean(differences)
    if n == 1:
        return Answer(mean=mean, half_width=None, runs=n, verdict="too few runs")
    quantile = float(stats.t.ppf((1 + _CONFIDENCE) / 2, df=n - 1))
    half_width = quantile * statistics.stdev(differences) / math.sqrt(n)
    if n < _FEWEST:
        verdict = "too few runs"
    elif abs(mean) <= half_width:
        verdict = "cannot be told apart"
    elif not DIRECTIONS[expected]:
        verdict = "better" if mean > 0 else "worse"
    else:
        verdict = "holds" if mean * DIRECTIONS[expected] > 0 else "the opposite"
    return Answer(mean=mean, half_width=half_width, runs=n, verdict=verdict)


def lines(path: Path) -> list[str]:
    """A Markdown table of the questions in a CSV file; the tables they name lie beside it.

    Raises:
        InputError: if the file is damaged, or asks for what cannot be.
    """
    asked = measured.read(path).rows
    if any(tuple(row) != COLUMNS or row["expected"] not in DIRECTIONS for row in asked):
        raise InputError(
            f"{path} must have the columns {', '.join(COLUMNS)}, and expected one of "
            f"{', '.join(DIRECTIONS)}"
        )
    tables = sources(path)
    found = [
        "| of table | difference in top-1, points | expected | by | ours | verdict |",
        "| --- | --- | --- | --- | ---: | --- |",
    ]
    for row in asked:
        name, arms, columns = row["ours"].split(":")
        values = [100 * d for d in measured.differences(tables[name], arms, columns).values()]
        ours, verdict = "not run", ""
        if values:
            said = answer(values, expected=row["expected"])
            width = "" if said.half_width is None else f" ± {said.half_width:.2f}"
            ours, verdict = f"{said.mean:+.2f}{width} (n = {said.runs})", said.verdict
        cells = [row["table"], row["question"], row["expected"], row["source"], ours, verdict]
        found.append(f"| {' | '.join(cells)} |")
    return found


def sources(path: Path) -> dict[str, Table]:
    """The tables that answer the questions in a CSV file, by name.

    Raises:
        InputError: if one of them cannot be read.
    """
    names = dict.fromkeys(row["ours"].partition(":")[0] for row in measured.read(path).rows)
    return {name: measured.read(path.parent / f"{name}.csv") for name in names}

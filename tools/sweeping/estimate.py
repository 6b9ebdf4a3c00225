"""How far a sweep is, and how long it will still take."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

from std_keras.progress import duration
from sweeping import record
from sweeping.plan import Run


class Estimate:
    """Guesses the time of a run from the runs that are done, those of the same arm first.

    Args:
        runs: all runs of the sweep.
    """

    def __init__(self, runs: Sequence[Run]) -> None:
        self._runs = runs
        self._current: Run | None = None
        self._began = self._part_before = 0.0
        self._seconds: dict[str, list[float]] = {}

    def line(self, run: Run, left: Sequence[Run], part: float) -> str:
        """How it stands, in one line.

        Args:
            run: the one that is being made.
            left: the runs that this sitting has to make.
            part: how much of `run` is done, 0 to 1.
        """
        if run is not self._current:
            self._start(run, part)
        elapsed = time.monotonic() - self._began
        grown = part - self._part_before
        own = elapsed / grown if grown > 0 else self._guess(run)
        position = list(left).index(run)
        seconds = None
        if own is not None:
            guesses = [self._guess(other) or own for other in left[position + 1 :]]
            seconds = (1 - part) * own + sum(guesses)
        done = len(self._runs) - len(left) + position
        line = f"run {done + 1}/{len(self._runs)}: {run.name}, {part:.0%}"
        return line if seconds is None else f"{line}; {duration(seconds)} left for all"

    def _start(self, run: Run, part: float) -> None:
        self._current, self._began, self._part_before = run, time.monotonic(), part
        self._seconds = {}
        for other in self._runs:
            known = record.read(other)
            if known is not None and known.state == "done":
                self._seconds.setdefault(other.arm, []).append(known.seconds)

    def _guess(self, run: Run) -> float | None:
        if run.arm in self._seconds:
            return statistics.fmean(self._seconds[run.arm])
        # Teachers take longer than students; they say little about them.
        others = [s for arm, times in self._seconds.items() for s in times if arm[:8] != "teacher-"]
        return statistics.fmean(others) if others else None

"""How far a sweep is, and how long it will still take."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

from std_keras.progress import duration
from std_keras.research.sweeps import record
from std_keras.research.sweeps.plan import Run


class Estimate:
    """Guesses the time of a run from the runs that are done, those of the same arm first.

    Args:
        runs: all runs of the sweep.
        parallel: how many are made at once.
    """

    def __init__(self, runs: Sequence[Run], *, parallel: int = 1) -> None:
        self._runs, self._parallel = runs, parallel
        self._began: dict[str, tuple[float, float]] = {}
        self._seconds: dict[str, list[float]] = {}

    def line(self, running: Sequence[tuple[Run, float]], waiting: Sequence[Run]) -> str:
        """How it stands, in one line.

        Args:
            running: the runs that are being made, each with the part of it that is done, 0 to 1.
            waiting: the runs that this sitting has to make after them.
        """
        if any(run.name not in self._began for run, _ in running):
            self._learn()
        now = time.monotonic()
        needed, left = [], []
        for run, part in running:
            began, before = self._began.setdefault(run.name, (now, part))
            grown = part - before
            own = (now - began) / grown if grown > 0 else self._guess(run)
            if own is not None:
                needed.append(own)
                left.append((1 - part) * own)
        done = len(self._runs) - len(waiting) - len(running)
        line = f"{done}/{len(self._runs)} runs done; " + "; ".join(
            f"{run.name} {part:.0%}" for run, part in running
        )
        if len(left) < len(running) or not left:
            return line
        left += [self._guess(run) or statistics.fmean(needed) for run in waiting]
        # Work is shared, but no run is cut in two.
        seconds = max(sum(left) / self._parallel, *left)
        return f"{line}; {duration(seconds)} left for all"

    def _learn(self) -> None:
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

"""Which exported file to ship: what fits a budget, what another file beats, and a verdict."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from std_keras.exporting.recommend import recommended
from std_keras.exporting.report import aligned

TEACHER, STUDENT, ALONE, ELSEWHERE = "teacher", "student", "without teacher", "elsewhere"


@dataclass(frozen=True)
class Candidate:
    """One exported file of one run.

    Attributes:
        run: short name of the run, for tables.
        role: "teacher" (of another run that is compared), "student", "without teacher", or
            "elsewhere" (a file of which no run says it).
        quantization: for example "int8".
        file: where it is.
        bytes: its size.
        top1: fraction of the test images that it classifies rightly.
        balanced_accuracy: the mean of the classes' own top-1.
        latency_ms: of one inference on one thread.
        latency_ms_2_threads: on two.
        cold_start_ms: from loading the file to its first answer on one thread.
        over: the parts of the budget that it exceeds, "MB" and "ms".
        dominated_by: a file that is at least as accurate, as small and as fast, and better in one
            of these; None if there is none.
    """

    run: str
    role: str
    quantization: str
    file: Path
    bytes: int
    top1: float
    balanced_accuracy: float
    latency_ms: float
    latency_ms_2_threads: float
    cold_start_ms: float | None
    over: tuple[str, ...] = ()
    dominated_by: str | None = None

    @property
    def name(self) -> str:
        """Short, for tables and sentences."""
        return f"{self.run} {self.quantization}"

    @property
    def fits(self) -> bool:
        """Whether it keeps the budget."""
        return not self.over

    @property
    def megabytes(self) -> float:
        """Its size in units of 10⁶ bytes."""
        return self.bytes / 1e6


@dataclass(frozen=True)
class Comparison:
    """Files side by side.

    Attributes:
        files: in the order of the runs.
        dataset: what the accuracies were measured on.
        examples: how many test images.
        budget_mb: the largest size in units of 10⁶ bytes; None for any.
        budget_ms: the longest time of an inference on one thread; None for any.
        metric: "top1" or "balanced_accuracy": the accuracy that decides.
        machine: what the times were measured on.
    """

    files: tuple[Candidate, ...]
    dataset: str
    examples: int
    budget_mb: float | None
    budget_ms: float | None
    metric: str
    machine: dict[str, Any]

    @property
    def ship(self) -> Candidate | None:
        """The file to ship, of those that fit; see `std_keras.exporting.recommend`.

        None if none fits, or if a teacher is more accurate than the students, which are smaller or
        faster, and no budget was given: then that decides.
        """
        best = _best([file for file in self.files if file.fits], self.metric, self.examples)
        if best is None or best.role != TEACHER or self._has_budget:
            return best
        student = self._best_of(STUDENT)
        return best if student is None or _beats(best, student, self.metric) else None

    @property
    def _has_budget(self) -> bool:
        return self.budget_mb is not None or self.budget_ms is not None

    @property
    def chance(self) -> float:
        """A difference of accuracy below it may be chance on so many images, as a fraction.

        Two standard errors of a difference of two independent fractions; the same images are
        looked at, so it is on the safe side.
        """
        p = max((file.top1 for file in self.files), default=0.0)
        return 2 * math.sqrt(2 * p * (1 - p) / self.examples)

    def as_dict(self) -> dict[str, Any]:
        """The same as plain values, for JSON."""
        ship = self.ship
        return {
            "dataset": self.dataset,
            "examples": self.examples,
            "budget_mb": self.budget_mb,
            "budget_ms": self.budget_ms,
            "metric": self.metric,
            "machine": self.machine,
            "ship": None if ship is None else str(ship.file),
            "verdict": self.verdict(),
            "chance": self.chance,
            "files": [
                {**dataclasses.asdict(file), "file": str(file.file), "fits": file.fits}
                for file in self.files
            ],
        }

    def table(self) -> str:
        """A table for a terminal, and the verdict under it."""
        return "\n".join([*aligned([COLUMNS, *self.rows()]), self.footnote(), self.verdict()])

    def rows(self) -> list[tuple[str, ...]]:
        """A line of cells for each file, in the order of `COLUMNS`."""
        ship = self.ship
        return [
            (
                f"{file.name}{' <- ship' if file is ship else ''}",
                file.role,
                f"{file.top1:.4f}",
                f"{file.balanced_accuracy:.4f}",
                f"{file.megabytes:.2f}",
                f"{file.latency_ms:.2f}",
                f"{file.latency_ms_2_threads:.2f}",
                "" if file.cold_start_ms is None else f"{file.cold_start_ms:.2f}",
                _budget_cell(file) if self._has_budget else "",
                file.dominated_by or "",
            )
            for file in self.files
        ]

    def footnote(self) -> str:
        """What the numbers are."""
        return (
            f"{self.examples} test images of {self.dataset} (differences below "
            f"{100 * self.chance:.1f} points may be chance); MB: 1,000,000 bytes; ms: one "
            f"inference on one thread of {self.machine['cpu']}, on two, and from the file in "
            "memory to its first answer in a new process"
        )

    def verdict(self) -> str:
        """Which file to ship and why, in words."""
        ship = self.ship
        if ship is None:
            fitting = any(file.fits for file in self.files)
            return self._undecided() if fitting else self._nothing_fits()
        why = f"the best that fits {self._budget()}" if self._has_budget else "the best of these"
        return f"Ship {self._described(ship)}: {why}.{self._beside(ship)}"

    def _beside(self, ship: Candidate) -> str:
        """A sentence on the other kinds of runs."""
        fit = " that fits" if self._has_budget else ""
        student, teacher = self._best_of(STUDENT, fitting=True), self._best_of(TEACHER)
        if ship.role == TEACHER:
            text = " The teacher itself is the better file to ship"
            if student is None:
                return f"{text}; no student fits."
            return (
                f"{text}: the best student{fit}, {self._described(student)}, has "
                f"{self._points(ship, student)} less."
            )
        if ship.role in (ALONE, ELSEWHERE) and student is not None:
            learned = "without a teacher" if ship.role == ALONE else "elsewhere"
            return f" It learned {learned}; the best student{fit} is {self._described(student)}."
        if ship.role == STUDENT and teacher is not None:
            fits = self._best_of(TEACHER, fitting=True)
            if fits is not None:
                return f" The teacher{' fits too' if fit else ''}: {self._described(fits)}."
            return f" The teacher does not fit: {self._described(teacher)}."
        return ""

    def _undecided(self) -> str:
        teacher, student = self._best_of(TEACHER), self._best_of(STUDENT)
        assert teacher is not None and student is not None
        return (
            f"It depends on the budget, and none is given: the teacher, "
            f"{self._described(teacher)}, has {self._points(teacher, student)} more than the best "
            f"student, {self._described(student)}, at {teacher.bytes / student.bytes:.1f} times "
            f"the size and {teacher.latency_ms / student.latency_ms:.1f} times the time."
        )

    def _best_of(self, role: str, *, fitting: bool = False) -> Candidate | None:
        files = [f for f in self.files if f.role == role and (f.fits or not fitting)]
        return _best(files, self.metric, self.examples)

    def _nothing_fits(self) -> str:
        nearest = min(self.files, key=lambda file: _excess(file, self.budget_mb, self.budget_ms))
        return f"No file fits {self._budget()}; the nearest is {self._described(nearest)}."

    def _budget(self) -> str:
        parts = []
        if self.budget_mb is not None:
            parts.append(f"{self.budget_mb:g} MB")
        if self.budget_ms is not None:
            parts.append(f"{self.budget_ms:g} ms")
        return "the budget of " + " and ".join(parts)

    def _accuracy(self, file: Candidate) -> float:
        return float(getattr(file, self.metric))

    def _points(self, better: Candidate, worse: Candidate) -> str:
        return f"{100 * (self._accuracy(better) - self._accuracy(worse)):.1f} points"

    def _described(self, file: Candidate) -> str:
        kind = " balanced" if self.metric == "balanced_accuracy" else ""
        return (
            f"{file.name} ({100 * self._accuracy(file):.1f} %{kind}, {file.megabytes:.2f} MB, "
            f"{file.latency_ms:.2f} ms)"
        )


def compare(
    files: Sequence[Candidate],
    *,
    dataset: str,
    examples: int,
    budget_mb: float | None,
    budget_ms: float | None,
    metric: str,
    machine: dict[str, Any],
) -> Comparison:
    """Marks what fits the budget, and what another file beats.

    Args:
        files: at least one; their marks are not read.
        dataset: see `Comparison`, as the others.
        examples: likewise.
        budget_mb: likewise.
        budget_ms: likewise.
        metric: likewise.
        machine: likewise.
    """
    marked = []
    for file in files:
        better = [other for other in files if _beats(other, file, metric)]
        # Of those, one that nothing beats, so that a reader need not go on from there.
        last = [o for o in better if not any(_beats(p, o, metric) for p in files)]
        marked.append(
            dataclasses.replace(
                file,
                over=tuple(
                    what
                    for what, value, most in (
                        ("MB", file.megabytes, budget_mb),
                        ("ms", file.latency_ms, budget_ms),
                    )
                    if most is not None and value > most
                ),
                dominated_by=last[0].name if last else None,
            )
        )
    return Comparison(
        files=tuple(marked),
        dataset=dataset,
        examples=examples,
        budget_mb=budget_mb,
        budget_ms=budget_ms,
        metric=metric,
        machine=machine,
    )


COLUMNS = (
    "file",
    "learned as",
    "top-1",
    "balanced",
    "MB",
    "ms",
    "2 threads",
    "start",
    "budget",
    "beaten by",
)


def _budget_cell(file: Candidate) -> str:
    return "fits" if file.fits else f"over: {', '.join(file.over)}"


def _best(files: Sequence[Candidate], metric: str, examples: int) -> Candidate | None:
    if metric == "top1":
        return recommended(files, examples=examples)
    judged = {id(f): dataclasses.replace(f, top1=getattr(f, metric)) for f in files}
    best = recommended(judged.values(), examples=examples)
    return next((f for f in files if judged[id(f)] is best), None)


def _beats(one: Candidate, other: Candidate, metric: str) -> bool:
    """Whether `one` is nowhere worse than `other` and somewhere better."""
    pairs = [
        (getattr(one, metric), getattr(other, metric)),
        (-one.bytes, -other.bytes),
        (-one.latency_ms, -other.latency_ms),
    ]
    return all(a >= b for a, b in pairs) and any(a > b for a, b in pairs)


def _excess(file: Candidate, budget_mb: float | None, budget_ms: float | None) -> float:
    """By how many times the budget is exceeded; at most 1 if it is kept."""
    parts = [
        file.megabytes / budget_mb if budget_mb is not None else 0.0,
        file.latency_ms / budget_ms if budget_ms is not None else 0.0,
    ]
    return max(parts)

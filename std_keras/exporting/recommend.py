"""Which file to ship of several that hold the same network or do the same task."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, TypeVar

CLOSE = 0.005
"""Fraction of top-1 that may be given up for speed."""
AS_FAST = 1.1
"""Files that take up to so many times the shortest time count as equally fast."""
AS_SMALL = 1.05
"""Files of up to so many times the fewest bytes count as equally small."""


def counts_as_equal(examples: int) -> float:
    """The difference in top-1 that is none, on so many test images."""
    return max(CLOSE, 1 / examples)


class Measured(Protocol):
    """What is known of a file.

    Attributes:
        top1: fraction of the test images that it classifies rightly.
        latency_ms: of one inference on one thread.
        bytes: its size.
    """

    @property
    def top1(self) -> float: ...
    @property
    def latency_ms(self) -> float: ...
    @property
    def bytes(self) -> int: ...


_File = TypeVar("_File", bound=Measured)


def recommended(files: Iterable[_File], *, examples: int) -> _File | None:
    """The smallest of the fastest of the most accurate; of several the fastest.

    Which kind of number a processor multiplies fastest differs between processors and networks, so
    this follows from what was measured alone.

    Args:
        files: none of them refused.
        examples: test images that `top1` was measured on: with few, one image more or less counts
            as equal.

    Returns:
        None if there are no files.
    """
    given = list(files)
    if not given:
        return None
    least = max(file.top1 for file in given) - counts_as_equal(examples) - 1e-9
    good = [file for file in given if file.top1 >= least]
    longest = AS_FAST * min(file.latency_ms for file in good)
    fast = [file for file in good if file.latency_ms <= longest]
    largest = AS_SMALL * min(file.bytes for file in fast)
    return min(
        (file for file in fast if file.bytes <= largest),
        key=lambda file: (file.latency_ms, file.bytes),
    )

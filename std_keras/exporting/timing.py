"""How long TFLite files take, measured so that they can be compared with each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from std_keras.data.source import Progress, no_progress
from std_keras.errors import Interrupted
from std_keras.exporting.cold_start import cold_start_ms
from std_keras.exporting.verify import time_file


@dataclass(frozen=True)
class Times:
    """Milliseconds.

    Attributes:
        latency: of one inference on one thread, see `FileRun.latency_ms`.
        latency_2_threads: the same on two.
        cold_start: see `cold_start_ms`.
    """

    latency: float
    latency_2_threads: float
    cold_start: float | None


def in_turns(
    files: Sequence[Path],
    *,
    rounds: int = 5,
    stop: Callable[[], bool] = lambda: False,
    progress: Progress = no_progress,
) -> list[Times]:
    """Times files one after the other, again and again, so that a busy moment meets all of them.

    Each time is the shortest of the medians of the rounds: what else runs on the machine can only
    make it longer.

    Args:
        files: each with one input and one output.
        rounds: at least 1.
        stop: asked between files; once true, the measurement ends.
        progress: wraps the loop.

    Raises:
        InputError: a file is damaged.
        Interrupted: because of `stop`.
    """
    found: list[list[Times]] = [[] for _ in files]
    turns = [(index, file) for _ in range(rounds) for index, file in enumerate(files)]
    for index, file in progress(turns, total=len(turns), what="timing files in turns"):
        if stop():
            raise Interrupted("interrupted while timing; the same command goes on")
        content = file.read_bytes()
        one, two = (time_file(content, num_threads=threads) for threads in (1, 2))
        found[index].append(Times(one, two, cold_start_ms(content, processes=1)))
    return [
        Times(
            latency=min(times.latency for times in rounds_of_file),
            latency_2_threads=min(times.latency_2_threads for times in rounds_of_file),
            cold_start=min(
                (t.cold_start for t in rounds_of_file if t.cold_start is not None), default=None
            ),
        )
        for rounds_of_file in found
    ]

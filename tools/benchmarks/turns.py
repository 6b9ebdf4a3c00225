"""Times variants that take turns, each in a process of its own, so that none disturbs another.

Two libraries in one process share threads and memory: PyTorch's step took twice as long inside
TensorFlow's process. A process that is not in turn waits for its pipe and uses no processor time;
"idle_cpu_seconds" of its figures shows it.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from std_keras import progress
from std_keras.errors import InputError, MachineError

_ROOT = Path(__file__).resolve().parent.parent.parent
# Functions that were timed in this process. To let go of a step takes TensorFlow ten seconds, in
# which it waits for threads of its data; so they are kept until the process ends at once.
_TIMED: list[Mapping[str, Callable[[], object]]] = []


@dataclass(frozen=True)
class Job:
    """A variant to measure.

    Attributes:
        name: of the variant.
        maker: "module:function", called with `options` in the job's process, it
            returns a `Prepared`.
        options: of the maker, as JSON has them.
        environment: variables of the process, beside those of this one.
    """

    name: str
    maker: str
    options: dict[str, Any]
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Prepared:
    """What a maker returns.

    Attributes:
        call: does the work once, and returns when it is done, on an accelerator too.
        facts: what is to be known of it, as JSON has it.
        device_bytes: tells the most memory that an accelerator held; None on a CPU.
        times: how often a call does the work, if more than once; seconds are those of once.
    """

    call: Callable[[], object]
    facts: dict[str, Any] = field(default_factory=dict)
    device_bytes: Callable[[], int | None] = lambda: None
    times: int = 1


class Processes:
    """Processes, one for each job, that take turns."""

    def __init__(self) -> None:
        self._running: dict[str, subprocess.Popen[str]] = {}
        self._noise: dict[str, Any] = {}
        self.started: dict[str, dict[str, Any]] = {}
        self.seconds: dict[str, list[float]] = {}
        self.cpu_seconds: dict[str, list[float]] = {}

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *error: object) -> None:
        for name, process in self._running.items():
            with contextlib.suppress(OSError):
                process.stdin.close()  # type: ignore[union-attr]
            try:
                process.wait(timeout=1 if error[0] else 60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            self._noise[name].close()

    def start(self, job: Job) -> dict[str, Any]:
        """Starts a process, waits for its first call, and returns its facts."""
        progress.say(f"{job.name}: starting")
        noise = self._noise[job.name] = tempfile.TemporaryFile()
        environment = {**os.environ, **job.environment}
        environment["TF_CPP_MIN_LOG_LEVEL"] = "3"
        # TensorFlow takes all of a GPU's memory otherwise, and the others get none.
        environment["TF_FORCE_GPU_ALLOW_GROWTH"] = "true"
        self._running[job.name] = subprocess.Popen(
            [sys.executable, "-m", "tools.benchmarks.worker"],
            cwd=_ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=noise,
            text=True,
        )
        answer = self._ask(job.name, {"maker": job.maker, "options": job.options})
        self.started[job.name] = answer
        self.seconds[job.name], self.cpu_seconds[job.name] = [], []
        return answer["facts"]

    def take_turns(self, *, rounds: int, seconds: float) -> None:
        """In each round each process calls its function until `seconds` have passed, or once.

        The order turns from round to round.
        """
        for number in range(rounds):
            progress.say(f"round {number + 1} of {rounds}")
            for name in _turned(list(self._running), number):
                taken = self._ask(name, {"seconds": seconds})
                self.seconds[name] += taken["seconds"]
                self.cpu_seconds[name].append(taken["cpu_seconds"])

    def figures(self) -> dict[str, dict[str, Any]]:
        """Of each job: its seconds, and what its process cost."""
        found = {}
        for name, values in self.seconds.items():
            started, ended = self.started[name], self._ask(name, {"end": True})
            found[name] = {
                "seconds": summary(values),
                "cpu_seconds": summary(self.cpu_seconds[name]),  # Of all threads; one a turn.
                "first_call_seconds": started["first_seconds"],
                # Tracing and compiling come with the first call.
                "compile_seconds": max(
                    0.0, started["first_seconds"] - started["times"] * statistics.median(values)
                ),
                "build_seconds": started["build_seconds"],
                "peak_bytes": ended["peak_bytes"],
                "before_first_call_bytes": started["bytes"],
                "device_peak_bytes": ended["device_bytes"],
                "idle_cpu_seconds": ended["idle_cpu_seconds"],
            }
        return found

    def _ask(self, name: str, request: Mapping[str, Any]) -> dict[str, Any]:
        process = self._running[name]
        assert process.stdin is not None
        assert process.stdout is not None
        line = ""
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        if not line:
            raise MachineError(f"{name}: its process ended ({self._last_words(name, process)})")
        answer = json.loads(line)
        if "refused" in answer:
            raise InputError(answer["refused"])
        return answer

    def _last_words(self, name: str, process: subprocess.Popen[str]) -> str:
        code = process.wait()
        noise = self._noise[name]
        noise.seek(0)
        lines = noise.read().decode(errors="replace").strip().splitlines()
        if code == -9:
            return "killed, probably for want of memory; use a smaller --batch_size"
        # Libraries write advice below the error.
        errors = [line for line in lines if "Error" in line.partition(":")[0]] or lines
        return f"exit code {code}; {errors[-1].strip() if errors else 'it said nothing'}"


def in_one_process(
    calls: Mapping[str, Callable[[], object]], *, rounds: int, seconds: float, times: int = 1
) -> dict[str, list[list[float]]]:
    """Times functions in turns in this process: by name, for each round the seconds of its calls.

    For variants of one library, whose differences are too small for processes: those have their
    own layout of memory each. The order turns from round to round.

    Args:
        calls: each does the work `times` times.
        rounds: of all functions.
        seconds: how long a turn lasts.
        times: the seconds are those of once.
    """
    _TIMED.append(calls)
    for call in calls.values():
        # Not timed: functions that were made since its last call make TensorFlow prepare it anew.
        call()
    timed: dict[str, list[list[float]]] = {name: [] for name in calls}
    names = list(calls)
    for number in range(rounds):
        progress.say(f"round {number + 1} of {rounds}")
        for name in _turned(names, number):
            once = [value / times for value in repeated(calls[name], seconds=seconds)]
            timed[name].append(once)
    return timed


def repeated(call: Callable[[], object], *, seconds: float) -> list[float]:
    """Calls until `seconds` have passed in all, but at least once; the seconds of each call."""
    values: list[float] = []
    while not values or sum(values) < seconds:
        began = time.perf_counter()
        call()
        values.append(time.perf_counter() - began)
    return values


def summary(values: Sequence[float]) -> dict[str, float]:
    """What is told of repeated measurements."""
    return {"best": min(values), "median": statistics.median(values), "worst": max(values)}


def _turned(names: Sequence[str], number: int) -> Iterator[str]:
    start = number % len(names)
    yield from names[start:]
    yield from names[:start]

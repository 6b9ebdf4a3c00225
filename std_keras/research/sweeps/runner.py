"""Runs one training process of a sweep."""

from __future__ import annotations

import ctypes
import functools
import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from std_keras.errors import InputError, MachineError
from std_keras.programs import installation
from std_keras.research.sweeps import record
from std_keras.research.sweeps.plan import Run, arguments_of

PROGRAM = tuple(installation.command("train"))
_POLL_SECONDS = 0.5
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        exit_code: of the training program; 75 if it was interrupted, negative for a signal.
        error: the last line of its log, if it failed.
        seconds: how long the program ran.
    """

    exit_code: int
    error: str
    seconds: float


class Training:
    """A run that is being trained, or continued; its record is kept.

    Args:
        run: what to train.
        machine: recorded with the result.
        cores: the processor's cores that it may use; all that this process has if empty.
    """

    def __init__(self, run: Run, *, machine: dict[str, str], cores: Sequence[int] = ()) -> None:
        self.run, self.cores = run, tuple(cores)
        run.files.parent.mkdir(parents=True, exist_ok=True)
        here = machine | {"cores": str(len(cores))} if cores else machine
        self._record = (record.read(run) or record.Record()).continued(run, machine=here)
        record.write(run, self._record)
        self._began = time.monotonic()
        self._asked = False
        self._process = self._start()

    def stop(self) -> None:
        """Tells the program, once, to save and end."""
        if not self._asked and self._process.poll() is None:
            self._process.terminate()
            self._asked = True

    def outcome(self) -> Outcome | None:
        """How it ended; None while it trains. To be asked until it ends, and not after that."""
        exit_code = self._process.poll()
        if exit_code is None:
            return None
        if self._asked and exit_code == -signal.SIGTERM:
            exit_code = 75  # It was still starting, and had nothing to save.
        seconds = time.monotonic() - self._began
        finished = record.is_finished(self.run)
        if not exit_code and not finished:  # Its files were removed meanwhile.
            exit_code, error = MachineError.exit_code, "the training program left no result"
        else:
            error = last_line(self.run.log) if exit_code not in (0, 75) else ""
        ended = self._record.ended(
            exit_code=exit_code, error=error, seconds=seconds, finished=finished
        )
        record.write(self.run, ended)
        return Outcome(exit_code=exit_code, error=error, seconds=seconds)

    def _start(self) -> subprocess.Popen[bytes]:
        command = [*PROGRAM, *arguments_of(self.run.config), f"--model_dir={self.run.model_dir}"]
        with self.run.log.open("a", encoding="utf-8") as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                env=installation.environment(),
                # Ctrl-C in the terminal reaches the sweep alone, which tells the program once: a
                # second SIGINT would end it without saving.
                start_new_session=True,
                preexec_fn=functools.partial(_prepare, self.cores),
            )


def wait() -> None:
    """Lets the programs work for a moment."""
    time.sleep(_POLL_SECONDS)


def shares(count: int) -> list[tuple[int, ...]]:
    """The cores that this process may use, in `count` shares of nearly the same size.

    Raises:
        InputError: if there are fewer cores than shares.
    """
    cores = sorted(os.sched_getaffinity(0))
    if count > len(cores):
        raise InputError(
            f"parallel={count} is more than the cores of this machine; it must be at most "
            f"{len(cores)}, a core for each run"
        )
    ends = [index * len(cores) // count for index in range(count + 1)]
    return [tuple(cores[a:b]) for a, b in itertools.pairwise(ends)]


def _prepare(cores: Sequence[int]) -> None:
    """What the new process does before it becomes the program."""
    if cores:
        os.sched_setaffinity(0, cores)  # TensorFlow starts as many threads.
    if sys.platform == "linux":
        _end_with_parent()


def _end_with_parent() -> None:
    """A sweep that was killed (-9) must not leave a program that trains behind its back."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def last_line(log: Path) -> str:
    """The program's error, or its last line of output."""
    lines = [
        line
        for line in log.read_text(encoding="utf-8", errors="replace").splitlines()
        if line.strip()
    ]
    errors = [line for line in lines if line.startswith("error: ")]
    return (errors or lines or [""])[-1].strip().removeprefix("error: ")

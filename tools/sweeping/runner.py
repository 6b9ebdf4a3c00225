"""Makes one run: the training program in a process of its own."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sweeping import record
from sweeping.metrics import progress_of
from sweeping.plan import Run, arguments_of

_ROOT = Path(__file__).resolve().parent.parent.parent
PROGRAM = (sys.executable, "-m", "std_keras.train")
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


def make(
    run: Run, *, machine: dict[str, str], stop: Callable[[], bool], show: Callable[[float], None]
) -> Outcome:
    """Trains, or continues, and keeps the record.

    Args:
        run: what to train.
        machine: what is recorded beside the result.
        stop: asked all the time; once true, the program is told to save and end.
        show: called all the time with the part of the run that is done.
    """
    run.files.parent.mkdir(parents=True, exist_ok=True)
    before = record.read(run) or record.Record()
    started = before.continued(run, machine=machine)
    record.write(run, started)
    began = time.monotonic()
    exit_code = _train(run, stop=stop, show=show)
    seconds = time.monotonic() - began
    error = last_line(run.log) if exit_code not in (0, 75) else ""
    ended = started.ended(
        exit_code=exit_code, error=error, seconds=seconds, finished=record.is_finished(run)
    )
    record.write(run, ended)
    return Outcome(exit_code=exit_code, error=error, seconds=seconds)


def _train(run: Run, *, stop: Callable[[], bool], show: Callable[[float], None]) -> int:
    command = [
        *PROGRAM,
        *arguments_of(run.config),
        f"--model_dir={run.model_dir}",
    ]
    path = os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH", ""))))
    with run.log.open("a", encoding="utf-8") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log,
            env={**os.environ, "PYTHONPATH": path},
            # Ctrl-C in the terminal reaches the sweep alone, which tells the program once: a
            # second SIGINT would end it without saving.
            start_new_session=True,
            preexec_fn=_end_with_parent if sys.platform == "linux" else None,
        )
        asked = False
        while process.poll() is None:
            if stop() and not asked:
                process.terminate()
                asked = True
            show(progress_of(run))
            try:
                process.wait(timeout=_POLL_SECONDS)
            except subprocess.TimeoutExpired:
                continue
    if asked and process.returncode == -signal.SIGTERM:
        return 75  # It was still starting, and had nothing to save.
    return process.returncode


def _end_with_parent() -> None:
    """A sweep that was killed (-9) must not leave a program that trains behind its back."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def last_line(log: Path) -> str:
    """The program's error, or the last thing that it said."""
    lines = [line for line in log.read_text(encoding="utf-8").splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("error: ")]
    return (errors or lines or [""])[-1].strip().removeprefix("error: ")

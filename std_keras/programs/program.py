"""What every program does around its work: exit codes, signals, one line instead of a traceback."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from types import FrameType
from typing import NoReturn

from std_keras import progress
from std_keras.errors import InputError, Interrupted, MachineError, StdKerasError
from std_keras.programs.flag_names import as_flags
from std_keras.programs.flags import HelpRequested


class StopRequest:
    """Becomes true at the first SIGINT or SIGTERM; the work looks at it when it can stop.

    A second SIGINT ends the program at once.
    """

    def __init__(self) -> None:
        self.signal: int | None = None

    def __bool__(self) -> bool:
        return self.signal is not None

    def install(self) -> None:
        """Takes over the two signals."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._receive)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None and number == signal.SIGINT:
            # Not sys.exit: the thread may be deep inside TensorFlow.
            os.write(2, b"interrupted twice; stopped without saving\n")
            os._exit(130)
        self.signal = number


def run(main: Callable[[Sequence[str], StopRequest], None]) -> int:
    """Runs a program's `main(arguments, stop)` and returns its exit code."""
    stop = StopRequest()
    stop.install()
    progress.configure(rewrite=as_flags)
    for stream in (sys.stdout, sys.stderr):
        # Names of files and classes need not be in the terminal's encoding, or in any.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        try:
            main(sys.argv[1:], stop)
        except HelpRequested as help_page:
            print(help_page)
        sys.stdout.flush()
        return 0
    except StdKerasError as error:
        return _fail(error)
    except BrokenPipeError:
        # The reader of our output has gone, so there is nothing to report.
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except Exception as error:
        told = machine_error(error) or unusable_path(error)
        if told is not None:
            return _fail(told)
        if stop:  # The signal broke something that could not be waited for.
            return _fail(Interrupted("interrupted; run the same command to continue"))
        traceback.print_exc()
        return 1


def console(main: Callable[[Sequence[str], StopRequest], None]) -> NoReturn:
    """Runs a program's `main` and ends the process with its exit code."""
    code = run(main)
    if os.environ.get("TF_CONFIG"):
        # A process of a cluster: the orderly shutdown of TensorFlow's cluster service aborts
        # workers that still run after the first has left. All work is done and written.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def machine_error(error: BaseException) -> MachineError | None:
    """Tells a failure of the machine (disk full, out of memory) from a mistake of the program."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
        where = f" while writing {error.filename}" if error.filename else ""
        return MachineError(f"{os.strerror(error.errno)}{where}")
    if isinstance(error, MemoryError):
        return MachineError("out of memory; a smaller --batch_size or more --accumulation_steps")
    kind, text = type(error).__name__, str(error)
    if kind == "ResourceExhaustedError" or "No space left on device" in text:
        first = text.splitlines()[0] if text else kind
        return MachineError(f"out of memory or disk: {first[:300]}")
    return None


def unusable_path(error: BaseException) -> InputError | None:
    """Tells a path that no file can have from a mistake of the program."""
    if isinstance(error, OSError) and error.errno in (errno.ENAMETOOLONG, errno.ELOOP):
        return InputError(f"{str(error.filename)[:80]!r} cannot be a file: {error.strerror}")
    if isinstance(error, ValueError) and "embedded null" in str(error):
        return InputError("a path has a null character in it, which no file's name has")
    return None


def _fail(error: StdKerasError) -> int:
    sys.stdout.flush()
    message = as_flags(" ".join(str(error).split()))
    print(f"error: {message}", file=sys.stderr, flush=True)
    return error.exit_code

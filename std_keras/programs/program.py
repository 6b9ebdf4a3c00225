"""What every program does around its work: exit codes, signals, one line instead of a traceback."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from types import FrameType
from typing import NoReturn

from std_keras import progress, xla_cache
from std_keras.errors import InputError, Interrupted, MachineError, StdKerasError, reason_of
from std_keras.programs.flag_names import as_flags
from std_keras.programs.flags import HelpRequested


class StopRequest:
    """Becomes true at the first SIGINT or SIGTERM; the work looks at it when it can stop.

    A second SIGINT ends the program at once; one that comes within half a second of the first is
    not a second one. `timeout` and some shells send theirs to a process and again to its group, and
    nobody changes his mind as fast.

    Python calls a handler only when the main thread comes back from C++, which can take as long as
    TensorFlow waits for data or for other machines. So a thread of its own hears the signals: it
    says at once that one was heard, and can end the process.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._pipe: int | None = None
        self._terminal = 2  # Standard error, also while `quiet` turns its descriptor elsewhere.

    def __bool__(self) -> bool:
        return self.signal is not None

    def install(self) -> None:
        """Takes over the two signals, until `release`; only the main thread can."""
        with contextlib.suppress(OSError):  # It is closed.
            self._terminal = os.dup(2)
        reading, self._pipe = os.pipe()
        os.set_blocking(self._pipe, False)
        # The C part of Python's handler writes there, whatever the main thread is doing.
        signal.set_wakeup_fd(self._pipe, warn_on_full_buffer=False)
        os.register_at_fork(after_in_child=_hear_nothing)
        threading.Thread(target=self._listen, args=(reading,), name="signals", daemon=True).start()
        for number in _HEARD:
            signal.signal(number, self._receive)

    def release(self) -> None:
        """Ends the thread; what is left of the process can be ended by Ctrl-C as usual."""
        if self._pipe is None:
            return
        signal.set_wakeup_fd(-1)
        if signal.getsignal(signal.SIGINT) == self._receive:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.close(self._pipe)
        self._pipe = None
        if self._terminal != 2:
            os.close(self._terminal)
            self._terminal = 2

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.signal = self.signal or number

    def _listen(self, reading: int) -> None:
        first: float | None = None
        # Those that wait together came together, however long this thread had to wait.
        while numbers := os.read(reading, 64):
            heard = [number for number in numbers if number in _HEARD]
            if not heard:
                continue
            now = time.monotonic()
            if first is None:
                first, number = now, heard[0]
                self.signal = self.signal or number
                # Not here: standard error may be a pipe that nobody reads, and a second signal
                # must be heard still.
                threading.Thread(target=_acknowledge, args=(number,), daemon=True).start()
            elif signal.SIGINT in heard and now - first >= _SHORTEST_GAP:
                # Standard error may be a pipe that nobody reads.
                told = threading.Thread(target=_say_the_end, args=(self._terminal,), daemon=True)
                told.start()
                told.join(timeout=1.0)
                # Not sys.exit: the main thread may be deep inside TensorFlow.
                os._exit(130)
        os.close(reading)


_OF_PATHS = (
    *(errno.ENOENT, errno.ENOTDIR, errno.EEXIST, errno.EISDIR),
    *(errno.EACCES, errno.EPERM, errno.EROFS),
)
_HEARD = (signal.SIGINT, signal.SIGTERM)
_SHORTEST_GAP = 0.5  # Seconds from the first signal to a second one.


def _say_the_end(terminal: int) -> None:
    with contextlib.suppress(OSError):
        os.write(terminal, b"interrupted twice; stopped without saving\n")


def _acknowledge(number: int) -> None:
    progress.say(
        f"{signal.Signals(number).name}: stopping as soon as nothing is lost by it; Ctrl-C "
        f"{'again ' if number == signal.SIGINT else ''}stops at once, without saving"
    )


def _hear_nothing() -> None:
    """In a forked process, whose signals would be written to its parent's pipe."""
    signal.set_wakeup_fd(-1)


def run(main: Callable[[Sequence[str], StopRequest], None]) -> int:
    """Runs a program's `main(arguments, stop)` and returns its exit code."""
    stop = StopRequest()
    progress.configure(rewrite=as_flags)
    stop.install()
    for stream in (sys.stdout, sys.stderr):
        # Names of files and classes need not be in the terminal's encoding, or in any.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        try:
            main(sys.argv[1:], stop)
        except HelpRequested as help_page:
            print(help_page)
        _flush()
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
    finally:
        stop.release()


def console(main: Callable[[Sequence[str], StopRequest], None]) -> NoReturn:
    """Runs a program's `main` and ends the process with its exit code."""
    code = run(main)
    if os.environ.get("TF_CONFIG"):
        # A process of a cluster: the orderly shutdown of TensorFlow's cluster service aborts
        # workers that still run after the first has left. All work is done and written.
        _flush()
        os._exit(code)
    sys.exit(code)


def machine_error(error: BaseException) -> MachineError | None:
    """Tells a failure of the machine (disk full, out of memory) from a mistake of the program."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
        where = f" while writing {error.filename}" if error.filename else ""
        return MachineError(f"{os.strerror(error.errno)}{where}")
    if isinstance(error, MemoryError):
        return MachineError("out of memory; a smaller --batch_size or more --accumulation_steps")
    if (cache := xla_cache.error_of(error)) is not None:
        return MachineError(cache)
    kind, text = type(error).__name__, str(error)
    if kind == "ResourceExhaustedError" or "No space left on device" in text:
        what = "disk" if "No space left on device" in text else "memory"
        return MachineError(f"out of {what}: {reason_of(error)}")
    return None


def unusable_path(error: BaseException) -> InputError | None:
    """Tells a path that cannot be used from a mistake of the program."""
    if isinstance(error, OSError) and error.errno in (errno.ENAMETOOLONG, errno.ELOOP):
        return InputError(f"{str(error.filename)[:80]!r} cannot be a file: {error.strerror}")
    if isinstance(error, OSError) and error.errno in _OF_PATHS and error.filename is not None:
        return InputError(f"{error.filename} cannot be used: {error.strerror}")
    if isinstance(error, ValueError) and "embedded null" in str(error):
        return InputError("a path has a null character in it, which no file's name has")
    return None


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:  # It was closed before the program began.
            stream.flush()


def _fail(error: StdKerasError) -> int:
    _flush()
    message = as_flags(" ".join(str(error).split()))
    print(f"error: {message}", file=sys.stderr, flush=True)
    return error.exit_code

"""Progress bars and log lines of the programs.

On a terminal: a bar with rate and time left. Elsewhere (a file, a pipe, CI): plain log lines.
Everything goes to standard error; standard output is left to results.
"""

from __future__ import annotations

import contextlib
import logging
import math
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TextIO, TypeVar

from std_keras.errors import Interrupted
from std_keras.files.texts import as_utf8

_T = TypeVar("_T")
_LOGGER = logging.getLogger("std_keras")
_LINE_SECONDS = 20.0  # How often a long loop says a line when there is no terminal.
_STALL_SECONDS = 60.0  # Until a loop that waits says so; then twice as long each time.


def configure(*, verbose: bool = True, rewrite: Callable[[str], str] = lambda line: line) -> None:
    """Sends the package's log lines to standard error; a program calls this once.

    Args:
        verbose: False for warnings only.
        rewrite: applied to each line before it is shown.
    """
    handler = _BarSafeHandler(rewrite)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", datefmt="%H:%M:%S"))
    _LOGGER.handlers[:] = [handler]
    _LOGGER.propagate = False
    _LOGGER.setLevel(logging.INFO if verbose else logging.WARNING)


def say(message: str) -> None:
    """Logs one line."""
    _LOGGER.info(as_utf8(message))  # Names of files may hold what no handler can encode.


def warn(message: str) -> None:
    """Logs one line that asks for attention."""
    _LOGGER.warning("warning: %s", as_utf8(message))


@contextlib.contextmanager
def shown_on(stream: TextIO) -> Iterator[None]:
    """Sends log lines to a stream while standard error leads elsewhere."""
    handlers = [one for one in _LOGGER.handlers if isinstance(one, _BarSafeHandler)]
    before = [handler.stream for handler in handlers]
    for handler in handlers:
        handler.stream = handler.stream or stream  # The outer one, of two in each other.
    try:
        yield
    finally:
        for handler, stream_before in zip(handlers, before, strict=True):
            handler.stream = stream_before


class _BarSafeHandler(logging.Handler):
    """Writes lines above a running bar instead of through it."""

    def __init__(self, rewrite: Callable[[str], str]) -> None:
        super().__init__()
        self._rewrite = rewrite
        self.stream: TextIO | None = None  # Standard error, whatever it is then.

    def emit(self, record: logging.LogRecord) -> None:
        stream = self.stream
        if stream is None or stream.closed:
            stream = sys.stderr
        if stream is None:  # Closed; `print` would turn to standard output.
            return
        line = self._rewrite(self.format(record))
        if stream.isatty():
            from tqdm import tqdm

            tqdm.write(line, file=stream)
        else:
            print(line, file=stream, flush=True)


class Bar:
    """Counts steps of a known total, with a rate in examples per second.

    Args:
        total: steps of the whole job.
        done: steps that an earlier process already did.
        what: what is being done, for the person reading.
        unit_scale: examples per step.
    """

    def __init__(self, *, total: int, what: str, done: int = 0, unit_scale: int = 1) -> None:
        self._total, self._what, self._scale = total, what, unit_scale
        self._done = self._start = done
        self._began = self._said = time.monotonic()
        self._counted = False
        self._bar = None
        if sys.stderr is not None and sys.stderr.isatty() and _LOGGER.isEnabledFor(logging.INFO):
            from tqdm import tqdm

            self._bar = tqdm(
                total=total * unit_scale,
                initial=done * unit_scale,
                desc=what,
                unit="img",
                unit_scale=True,
                file=sys.stderr,
                dynamic_ncols=True,
                leave=False,
            )

    def advance(self, steps: int, note: str = "") -> None:
        """Counts `steps` more; `note` is shown behind the bar or in the next line."""
        self._done += steps
        if self._bar is not None:
            if note:
                self._bar.set_postfix_str(note, refresh=False)
            self._bar.update(steps * self._scale)
            return
        now = time.monotonic()
        if now - self._said >= _LINE_SECONDS:
            self._said = now
            text = f"{self._what} {self._done}/{self._total} ({self._done / self._total:.0%})"
            if self._counted:
                rate = (self._done - self._start) / max(now - self._began, 1e-9)
                left = (self._total - self._done) / max(rate, 1e-9)
                text += f", {rate * self._scale:.0f} img/s, {duration(left)} left"
            say(text + (f", {note}" if note else ""))
        if not self._counted:  # The first call holds what is made once, and tells no rate.
            self._counted, self._start, self._began = True, self._done, now

    def close(self) -> None:
        """Removes the bar from the terminal."""
        if self._bar is not None:
            self._bar.close()


class Status:
    """One line that says how a long job stands.

    On a terminal it is rewritten in place; elsewhere it is a log line now and then.

    Args:
        every: seconds between log lines.
    """

    def __init__(self, *, every: float = 60.0) -> None:
        self._every = every
        self._said = -math.inf
        self._bar = None
        if sys.stderr is not None and sys.stderr.isatty() and _LOGGER.isEnabledFor(logging.INFO):
            from tqdm import tqdm

            self._bar = tqdm(bar_format="{desc}", file=sys.stderr, dynamic_ncols=True, leave=False)

    def show(self, text: str) -> None:
        """Says how it stands now."""
        if self._bar is not None:
            self._bar.set_description_str(text)
        elif time.monotonic() - self._said >= self._every:
            self._said = time.monotonic()
            say(text)

    def close(self) -> None:
        """Removes the line from the terminal."""
        if self._bar is not None:
            self._bar.close()


def track(iterable: Iterable[_T], *, total: int, what: str) -> Iterator[_T]:
    """Yields from `iterable` and shows how far it is; warns if nothing comes for a minute."""
    bar = Bar(total=total, what=what)
    try:
        with _Waiting(what, total=total) as waiting:
            for item in waiting.for_each(iterable):
                yield item
                bar.advance(1)
    finally:
        bar.close()


class _Waiting:
    """Says that a loop waits, from a thread of its own: what it waits for may hold the loop's.

    Args:
        what: what is being done.
        total: items of the loop.
    """

    def __init__(self, what: str, *, total: int) -> None:
        self._what, self._total = what, total
        self._done = 0
        self._since = math.inf  # While the loop works on what came, it does not wait.
        self._over = threading.Event()

    def __enter__(self) -> _Waiting:
        threading.Thread(target=self._watch, name="waiting", daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()

    def for_each(self, iterable: Iterable[_T]) -> Iterator[_T]:
        self._since = time.monotonic()
        for item in iterable:
            self._since = math.inf
            yield item
            self._done += 1
            self._since = time.monotonic()

    def _watch(self) -> None:
        said = _STALL_SECONDS
        while not self._over.wait(_STALL_SECONDS / 8):
            waited = time.monotonic() - self._since
            if waited < _STALL_SECONDS:
                said = _STALL_SECONDS
            elif waited >= said:
                said *= 2
                warn(
                    f"{self._what}: nothing came for {waited:.0f} s after {self._done} of "
                    f"{self._total}; the disk or the network may have stalled"
                )


def stoppable(stop: Callable[[], bool]) -> Callable[..., Iterator[Any]]:
    """A `track` whose loop ends when `stop()` is true: for work that the same call does again.

    Raises:
        Interrupted: in the loop, because of `stop`.
    """

    def tracked(iterable: Iterable[_T], *, total: int, what: str) -> Iterator[_T]:
        for item in track(iterable, total=total, what=what):
            if stop():
                raise Interrupted(f"interrupted while {what}; run the same command again")
            yield item

    return tracked


def duration(seconds: float) -> str:
    """Seconds as `m:ss` or `h:mm:ss`."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"

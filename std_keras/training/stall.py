"""A warning while training waits for data."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from types import TracebackType

from std_keras import progress


class WaitingStep:
    """The step that waits for its batch, 0 if none does; any thread may ask."""

    def __init__(self) -> None:
        self._step = 0

    @contextlib.contextmanager
    def named(self, step: int) -> Iterator[None]:
        """While this step, counted from 1, waits."""
        self._step = step
        try:
            yield
        finally:
            self._step = 0

    def get(self) -> int:
        """The step that waits."""
        return self._step


class StallWarning:
    """Warns from a thread of its own for as long as one step waits, each time twice as long.

    TensorFlow holds the calling thread until the data comes, so the loop itself cannot say it.

    Args:
        waiting: what to look at.
        after: seconds until the first warning; 0 for no warnings.
    """

    def __init__(self, waiting: WaitingStep, *, after: float) -> None:
        self._waiting, self._after = waiting, after
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> StallWarning:
        if self._after > 0:
            self._thread = threading.Thread(target=self._watch, name="stall", daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def _watch(self) -> None:
        seen, since, limit = 0, time.monotonic(), self._after
        while not self._over.wait(self._after / 8):
            step = self._waiting.get()
            # A clock that is set back or forth does not matter: only this thread's own is read.
            if step == 0 or step != seen:
                seen, since, limit = step, time.monotonic(), self._after
                continue
            waited = time.monotonic() - since
            if waited >= limit:
                progress.warn(
                    f"step {step} has waited {waited:.0f} s for data; the disk, the network or the "
                    "input pipeline may have stalled"
                )
                limit *= 2

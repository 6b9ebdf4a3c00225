"""New weights that are the same every time, without a trace in the process that asks for them."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator


@contextlib.contextmanager
def drawn_alike() -> Iterator[None]:
    """Makes Keras draw the same new weights every time.

    Its initializers take their seeds from Python's `random`, whose state is put back at the end:
    somebody who converts a file in the middle of other work goes on drawing their own numbers.
    """
    state = random.getstate()
    random.seed(0)
    try:
        yield
    finally:
        random.setstate(state)

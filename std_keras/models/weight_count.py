"""How many weights a model would have, before there is memory for them."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import keras

# Of any model; a larger one must be explained by the file that describes it.
ALWAYS_ALLOWED = 2**26


class UnexplainedWeightsError(ValueError):
    """A file describes far more weights than it holds; completes "FILE ..."."""


def check_weight_count(build: Callable[[], keras.Model], *, stored: int) -> None:
    """Refuses a model with far more weights than its file holds numbers.

    A description of a few bytes can ask for any memory. Here the model is built without it: in
    this scope Keras makes no variables. It would make them later, in the next such scope of the
    same thread, so this one has a thread of its own; that leaves the names of layers alone, too.

    Args:
        build: makes the model, its weights drawn by initializers.
        stored: numbers that the file may hold.

    Raises:
        UnexplainedWeightsError: if it has more than 64 million weights, and more than twice as
            many as there are numbers.
    """

    def count() -> int:
        with keras.StatelessScope(initialize_variables=False):
            return sum(math.prod(weight.shape) for weight in build().weights)

    state = random.getstate()  # Of which initializers take their seeds.
    try:
        with ThreadPoolExecutor(1) as pool:
            wanted = pool.submit(count).result()
    finally:
        random.setstate(state)
    if wanted > max(ALWAYS_ALLOWED, 2 * stored):
        raise UnexplainedWeightsError(
            f"describes a model of {wanted:,} weights, but holds at most {stored:,} numbers"
        )

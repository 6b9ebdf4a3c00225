"""How many weights a model may have, before there is memory for them."""

from __future__ import annotations

import contextlib
import inspect
import math
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

# Of any model; a larger one must be explained by the file that describes it.
ALWAYS_ALLOWED = 2**26


class UnexplainedWeightsError(ValueError):
    """A file describes far more weights than it holds; completes "FILE ..."."""


@contextlib.contextmanager
def explained_weights(stored: int) -> Iterator[None]:
    """While a model is made of a file, refuses far more weights than the file holds numbers.

    A description of a few bytes can ask for any memory: each variable is counted before it has any.

    Args:
        stored: numbers that the file may hold.

    Raises:
        UnexplainedWeightsError: once there are more than 64 million weights, and more than twice
            as many as there are numbers.
    """
    most, made = max(ALWAYS_ALLOWED, 2 * stored), 0
    refused: UnexplainedWeightsError | None = None

    def create(following: Callable[..., Any], **options: Any) -> Any:
        nonlocal made, refused
        made += _size(options["initial_value"])
        if made > most:
            refused = UnexplainedWeightsError(
                f"describes a model of {made:,} weights or more, but holds at most {stored:,} "
                "numbers"
            )
            raise refused
        return following(**options)

    try:
        with tf.variable_creator_scope(create):
            yield
    finally:
        if refused is not None:  # Whatever Keras made of it on its way.
            raise refused from None


def _size(initial_value: Any) -> int:
    """The number of weights of a variable, without making its value."""
    if not callable(initial_value):
        return int(tf.size(initial_value))
    # Keras gives a function without arguments, and knows the shape; there is no public way to ask.
    shape = inspect.getclosurevars(initial_value).nonlocals["self"].shape
    return math.prod(shape)

"""Gradients of Keras variables."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import tensorflow as tf


def gradients_or_zeros(
    tape: tf.GradientTape, target: tf.Tensor, variables: Sequence[keras.Variable]
) -> list[tf.Tensor]:
    """Gradients of `target`; zeros for variables that it does not depend on.

    (`unconnected_gradients=ZERO` of the tape does not work with Keras variables, whose dtype is a
    string.)
    """
    return [
        tf.zeros(v.shape, v.dtype) if g is None else g
        for g, v in zip(tape.gradient(target, list(variables)), variables, strict=True)
    ]

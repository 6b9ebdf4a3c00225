"""Muon: momentum whose update is made orthogonal, for hidden matrices; AdamW for the rest."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf


class Muon(keras.optimizers.Muon):
    """`keras.optimizers.Muon` with its matrices named one by one.

    Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks"
    (kellerjordan.github.io/posts/muon), with the size of an update and the decay of Liu et al.
    2025, arXiv 2502.16982: an update has the root mean square 0.2, as one of AdamW has about, so
    that the two can have one rate. It differs from Keras' class in four ways: which variables are
    matrices is said, and not read from names; a kernel of a convolution (height, width, in, out)
    is a matrix (height * width * in, out), as its authors have it, and none to Keras; matrices can
    have a rate of their own; and variables may be float64.

    Args:
      learning_rate: of the variables that are not matrices, or its schedule.
      matrices: the variables for Muon's update. All others get AdamW's.
      matrix_rate: the learning rate of the matrices as a multiple of `learning_rate`.
      weight_decay: decoupled, times the variable's own learning rate.
      **kwargs: as `keras.optimizers.Muon` takes them.
    """

    def __init__(
        self,
        learning_rate: Any,
        *,
        matrices: Sequence[keras.Variable],
        matrix_rate: float = 1.0,
        weight_decay: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate, weight_decay=weight_decay, **kwargs)
        if any(len(matrix.shape) < 2 for matrix in matrices):
            raise ValueError("matrices must have two dimensions or more")
        self.matrix_rate = matrix_rate
        self._matrix_keys = frozenset(self._var_key(matrix) for matrix in matrices)

    def _should_use_adamw(self, variable: Any) -> bool:
        return self._var_key(variable) not in self._matrix_keys

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        rate = tf.cast(learning_rate, variable.dtype)
        super().update_step(tf.cast(gradient, variable.dtype), variable, rate)

    def _muon_update_step(self, gradient: Any, variable: Any, lr: Any, m: Any) -> None:
        flat = (math.prod(variable.shape[:-1]), variable.shape[-1])
        momentum = tf.cast(self.momentum, gradient.dtype)
        velocity = tf.convert_to_tensor(m) * momentum + gradient
        self.assign(m, velocity)
        direction = gradient + momentum * velocity if self.nesterov else velocity
        update = self.zeropower_via_newtonschulz5(tf.reshape(direction, flat), self.ns_steps)
        size = 1.0 if self.rms_rate is None else self.rms_rate * math.sqrt(max(flat))
        scale = lr * tf.cast(self.matrix_rate * size, lr.dtype)
        self.assign_sub(variable, tf.reshape(scale * update, variable.shape))

    def _apply_weight_decay(self, variables: Sequence[Any]) -> None:
        """With the variable's own rate; each device does it to its copy, as in Keras' AdamW."""
        if not self.weight_decay:
            return

        def decay(variable: Any) -> None:
            if self._use_weight_decay(variable):
                factor = self.weight_decay
                if not self._should_use_adamw(variable):
                    factor *= self.matrix_rate
                rate = tf.cast(self.learning_rate, variable.dtype)
                variable.assign_sub(variable * (rate * tf.cast(factor, variable.dtype)))

        def on_every_device(distribution: Any, values: Sequence[Any]) -> None:
            for value in values:
                distribution.extended.update(value, decay, group=False)

        values = [v.value if isinstance(v, keras.Variable) else v for v in variables]
        tf.__internal__.distribute.interim.maybe_merge_call(
            on_every_device, self._distribution_strategy, values
        )

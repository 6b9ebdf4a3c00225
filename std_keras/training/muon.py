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
    that the two can have one rate. It differs from Keras' class in these ways: which variables are
    matrices is said, and not read from names; a kernel of a convolution (height, width, in, out)
    is a matrix (height * width * in, out), as its authors have it, and none to Keras; matrices can
    have a rate of their own; those of equal shape are made orthogonal together, in bfloat16 if
    wanted; and variables may be float64.

    Args:
      learning_rate: of the variables that are not matrices, or its schedule.
      matrices: the variables for Muon's update. All others get AdamW's.
      matrix_rate: the learning rate of the matrices as a multiple of `learning_rate`.
      weight_decay: decoupled, times the variable's own learning rate.
      iteration_dtype: in which updates are made orthogonal; the variables' own unless it is given.
        The authors take bfloat16.
      **kwargs: as `keras.optimizers.Muon` takes them.
    """

    def __init__(
        self,
        learning_rate: Any,
        *,
        matrices: Sequence[keras.Variable],
        matrix_rate: float = 1.0,
        weight_decay: float = 0.0,
        iteration_dtype: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate, weight_decay=weight_decay, **kwargs)
        if any(len(matrix.shape) < 2 for matrix in matrices):
            raise ValueError("matrices must have two dimensions or more")
        self.matrix_rate = matrix_rate
        self.iteration_dtype = iteration_dtype
        self._matrix_keys = frozenset(self._var_key(matrix) for matrix in matrices)

    def _should_use_adamw(self, variable: Any) -> bool:
        return self._var_key(variable) not in self._matrix_keys

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """AdamW's, of one variable."""
        rate = tf.cast(learning_rate, variable.dtype)
        super().update_step(tf.cast(gradient, variable.dtype), variable, rate)

    def _distributed_tf_update_step(
        self, distribution: Any, grads_and_vars: Sequence[tuple[Any, Any]], learning_rate: Any
    ) -> None:
        """Matrices of equal shape, or of one transposed, go through the iteration together."""
        others: list[tuple[Any, Any]] = []
        alike: dict[tuple[Any, ...], list[tuple[Any, Any]]] = {}
        for gradient, variable in grads_and_vars:
            if self._should_use_adamw(variable):
                others.append((gradient, variable))
            else:
                key = (variable.dtype, *sorted(_flat(variable.shape)))
                alike.setdefault(key, []).append((gradient, variable))
        super()._distributed_tf_update_step(distribution, others, learning_rate)
        for pairs in alike.values():
            gradients, variables = zip(*pairs, strict=True)
            momenta = [self.momentums[self._get_variable_index(v)].value for v in variables]
            distribution.extended.update(
                variables[0],
                self._update_matrices,
                args=(list(variables[1:]), momenta, list(gradients), learning_rate),
                group=False,
            )

    def _update_matrices(
        self,
        first: tf.Variable,
        rest: Sequence[tf.Variable],
        momenta: Sequence[tf.Variable],
        gradients: Sequence[tf.Tensor],
        learning_rate: Any,
    ) -> None:
        """Muon's update of matrices that have one shape when they lie on their longer side."""
        variables = [first, *rest]
        dtype = first.dtype
        momentum = tf.cast(self.momentum, dtype)
        directions = []
        for variable, velocity, gradient in zip(variables, momenta, gradients, strict=True):
            gradient = tf.cast(gradient, dtype)
            moved = velocity * momentum + gradient
            velocity.assign(moved)
            direction = gradient + momentum * moved if self.nesterov else moved
            directions.append(_wide(tf.reshape(direction, _flat(variable.shape))))
        stacked = tf.stack(directions)
        updates = tf.cast(self._orthogonalized(stacked), dtype)
        size = 1.0 if self.rms_rate is None else self.rms_rate * math.sqrt(stacked.shape[-1])
        scale = tf.cast(learning_rate, dtype) * tf.cast(self.matrix_rate * size, dtype)
        for variable, update in zip(variables, tf.unstack(scale * updates), strict=True):
            is_tall = update.shape != _flat(variable.shape)
            update = tf.transpose(update) if is_tall else update
            variable.assign_sub(tf.reshape(update, variable.shape))

    def _orthogonalized(self, matrices: tf.Tensor) -> tf.Tensor:
        """Matrices (N, rows, columns), rows <= columns, with singular values near one.

        Keras' `zeropower_via_newtonschulz5`, but for the precision: the norm of a matrix is a sum
        too long for bfloat16.
        """
        x = matrices / (tf.norm(matrices, axis=(-2, -1), keepdims=True) + 1e-7)
        x = tf.cast(x, self.iteration_dtype or x.dtype)
        for _ in range(self.ns_steps):
            square = tf.matmul(x, x, transpose_b=True)
            x = self.muon_a * x + (self.muon_b * square + self.muon_c * square @ square) @ x
        return x

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


def _flat(shape: Any) -> tuple[int, int]:
    """The matrix that a kernel of any number of dimensions is."""
    return math.prod(shape[:-1]), int(shape[-1])


def _wide(matrix: tf.Tensor) -> tf.Tensor:
    """The matrix, or its transpose, with no more rows than columns."""
    rows, columns = matrix.shape
    return tf.transpose(matrix) if rows > columns else matrix

"""AdamW as Keras has it, to the bit, in a graph that is made in less time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from std_keras.training.shared_function import shared


class AdamW(keras.optimizers.AdamW):
    """`keras.optimizers.AdamW` (Loshchilov and Hutter 2019, arXiv 1711.05101), quicker to trace.

    Keras writes down the whole update for each variable, with the learning rate and the powers of
    the betas, which are the same for all: of Mixer-S/4 that is two fifths of what is traced. Here
    they are computed once per step, and variables of equal shape share one function. Weights and
    moments have the same bits.

    Args:
      learning_rate: a number, or a schedule.
      **kwargs: as `keras.optimizers.AdamW` takes them, without `amsgrad`.
    """

    def __init__(self, learning_rate: Any = 0.001, **kwargs: Any) -> None:
        super().__init__(learning_rate, **kwargs)
        if self.amsgrad:
            raise ValueError("amsgrad=True: this AdamW has no such variant; use Keras'")

    def _apply_weight_decay(self, variables: Sequence[Any]) -> None:
        """Nothing: `_updated` does it, just before the update."""

    def _backend_update_step(
        self, grads: Sequence[Any], trainable_variables: Sequence[Any], learning_rate: Any
    ) -> None:
        variables = [v.value if isinstance(v, keras.Variable) else v for v in trainable_variables]
        pairs = self._all_reduce_sum_gradients(list(zip(grads, variables, strict=True)))
        rates = {dtype: self._rates(learning_rate, dtype) for dtype in {v.dtype for v in variables}}
        tf.__internal__.distribute.interim.maybe_merge_call(
            self._on_every_device, self._distribution_strategy, pairs, rates
        )

    def _rates(self, learning_rate: Any, dtype: tf.DType) -> tuple[tf.Tensor, tf.Tensor]:
        """The learning rate, and the same times the corrections for the moments' start at 0."""
        rate = tf.cast(learning_rate, dtype)
        step = tf.cast(self.iterations + 1, dtype)
        first, second = (tf.pow(tf.cast(b, dtype), step) for b in (self.beta_1, self.beta_2))
        return rate, rate * tf.sqrt(1 - second) / (1 - first)

    def _on_every_device(
        self,
        distribution: Any,
        pairs: Sequence[tuple[tf.Tensor, tf.Variable]],
        rates: dict[tf.DType, tuple[tf.Tensor, tf.Tensor]],
    ) -> None:
        functions = {decays: self._update(decays=decays) for decays in (False, True)}
        for gradient, variable in pairs:
            index = self._get_variable_index(variable)
            moments = (self._momentums[index].value, self._velocities[index].value)
            decays = bool(self.weight_decay) and self._use_weight_decay(variable)
            distribution.extended.update(
                variable,
                functions[decays],
                args=(gradient, *moments, *rates[variable.dtype]),
                group=False,
            )

    def _update(self, *, decays: bool) -> Callable[..., None]:
        """The update of one variable."""

        def update(
            variable: tf.Variable,
            gradient: tf.Tensor,
            mean: tf.Variable,
            square: tf.Variable,
            rate: tf.Tensor,
            corrected: tf.Tensor,
        ) -> None:
            gradient = tf.cast(gradient, variable.dtype)
            if decays:
                variable.assign_sub(variable * tf.cast(self.weight_decay, rate.dtype) * rate)
            mean.assign_add((gradient - mean) * (1 - self.beta_1))
            square.assign_add((tf.square(gradient) - square) * (1 - self.beta_2))
            variable.assign_sub((mean * corrected) / (tf.sqrt(square) + self.epsilon))

        return shared(update)

"""Drops a residual branch for some samples of a batch."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf
from keras import ops


def check_rate(name: str, rate: float) -> float:
    """Returns `rate` if it is a probability of dropping that leaves something.

    Raises:
      ValueError: it is not in [0, 1).
    """
    if not 0.0 <= rate < 1.0:  # Neither is NaN.
        raise ValueError(f"{name}={rate} must be at least 0 and below 1")
    return rate


@keras.saving.register_keras_serializable(package="std_keras")
class StochasticDepth(keras.layers.Layer):
    """Zeroes whole samples with probability `rate` and scales the others by 1 / (1 - rate).

    Huang et al. 2016, "Deep Networks with Stochastic Depth", arXiv 1603.09382; with the rescaling
    during training that makes inference the identity (as timm's DropPath). The shape stays as it
    is, (B, ...); one number is drawn per sample. Under `tf.distribute` the numbers of the global
    batch are drawn, and every replica takes those of its samples: they do not depend on the number
    of replicas.

    Args:
      rate: probability in [0, 1) that a sample is dropped.
      seed: integer, or None to take one from `keras.utils.set_random_seed`'s stream.
    """

    def __init__(self, rate: float, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rate = check_rate("rate", rate)
        self.seed = seed
        if rate > 0.0:
            self.seed_generator = keras.random.SeedGenerator(seed)
            # Keras saves a generator's state nowhere, neither in .keras files nor in TensorFlow
            # checkpoints; as a weight of the layer it is in both.
            self.seed_state = self.seed_generator.state

    def call(self, inputs: Any, training: bool = False) -> Any:
        if not training or self.rate == 0.0:
            return inputs
        keep_probability = 1.0 - self.rate
        shape = (ops.shape(inputs)[0],) + (1,) * (len(inputs.shape) - 1)
        seed = self.seed_generator.next()  # Equal on all replicas.
        context = tf.distribute.get_replica_context()
        if context is None or context.num_replicas_in_sync == 1:
            uniform = tf.random.stateless_uniform(shape, seed)
        else:
            replicas = context.num_replicas_in_sync
            uniform = tf.random.stateless_uniform((replicas, *shape), seed)
            uniform = tf.gather(uniform, context.replica_id_in_sync_group)
        scale = ops.cast(uniform < keep_probability, inputs.dtype) / keep_probability
        return inputs * scale

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"rate": self.rate, "seed": self.seed}

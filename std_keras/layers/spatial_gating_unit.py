"""A gate that each patch gets from all patches."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from std_keras.layers.layer_norm import LayerNorm


@keras.saving.register_keras_serializable(package="std_keras")
class SpatialGatingUnit(keras.layers.Layer):
    """Multiplies half of the channels by a map of the other half: (B, P, 2 M) -> (B, P, M).

    With the halves u and v: u * dense(LN(v)), the dense layer along the P patches (Liu et al. 2021,
    "Pay Attention to MLPs", arXiv 2105.08050, Eq. 2 and 3). Its kernel starts near zero and its
    bias at one, so the gate starts open.

    Args:
      layer_norm_epsilon: added to the variance in the normalisation.
    """

    def __init__(self, layer_norm_epsilon: float = 1e-5, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.layer_norm_epsilon = layer_norm_epsilon

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        batch, patches, channels = input_shape
        if patches is None or channels is None:
            raise ValueError(f"input shape {tuple(input_shape)} must be (B, P, N) with fixed P, N")
        if channels % 2:
            raise ValueError(f"input shape {tuple(input_shape)} must have an even last size")
        policy = self.dtype_policy
        self.norm = LayerNorm(epsilon=self.layer_norm_epsilon, dtype=policy, name="norm")
        self.token_dense = keras.layers.Dense(
            patches,
            kernel_initializer=keras.initializers.RandomNormal(stddev=1e-6),
            bias_initializer="ones",
            dtype=policy,
            name="token_dense",
        )
        self.norm.build((batch, patches, channels // 2))
        self.token_dense.build((batch, channels // 2, patches))

    def call(self, inputs: Any) -> Any:
        values, gate = ops.split(inputs, 2, axis=-1)
        gate = self.token_dense(ops.transpose(self.norm(gate), (0, 2, 1)))
        return values * ops.transpose(gate, (0, 2, 1))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        batch, patches, channels = input_shape
        return (batch, patches, None if channels is None else channels // 2)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"layer_norm_epsilon": self.layer_norm_epsilon}

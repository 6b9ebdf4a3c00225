"""One block of gMLP."""

from __future__ import annotations

from typing import Any

import keras

from std_keras.layers.gelu import gelu
from std_keras.layers.layer_norm import LayerNorm
from std_keras.layers.residual_block import ResidualBlock
from std_keras.layers.spatial_gating_unit import SpatialGatingUnit


@keras.saving.register_keras_serializable(package="std_keras")
class GMLPBlock(ResidualBlock):
    """An MLP along the channels with a spatial gate in its middle: (B, P, N) -> (B, P, N).

    Z + V(gate(GELU(U(LN(Z))))), where U widens N to `channel_mlp_dim`, the gate halves that, and V
    leads back to N (Liu et al. 2021, arXiv 2105.08050, Eq. 1). Kernels start Glorot-uniform.

    Args:
      channel_mlp_dim: width after U; even.
      layer_norm_epsilon: added to the variance in the first normalisation. The gate's own
        normalisation has 1e-5.
      **kwargs: of `ResidualBlock`.
    """

    def __init__(
        self,
        channel_mlp_dim: int,
        layer_norm_epsilon: float = 1e-6,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if channel_mlp_dim < 2 or channel_mlp_dim % 2:
            raise ValueError(f"channel_mlp_dim={channel_mlp_dim} must be even and at least 2")
        self.channel_mlp_dim = channel_mlp_dim
        self.layer_norm_epsilon = layer_norm_epsilon

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        batch, patches, channels = input_shape
        if patches is None or channels is None:
            raise ValueError(f"input shape {tuple(input_shape)} must be (B, P, N) with fixed P, N")
        policy = self.dtype_policy
        self.norm = LayerNorm(epsilon=self.layer_norm_epsilon, dtype=policy, name="norm")
        self.hidden_dense = keras.layers.Dense(self.channel_mlp_dim, dtype=policy, name="hidden")
        self.gate = SpatialGatingUnit(dtype=policy, name="gate")
        self.output_dense = keras.layers.Dense(channels, dtype=policy, name="output")
        self.norm.build(input_shape)
        self.hidden_dense.build(input_shape)
        self.gate.build((batch, patches, self.channel_mlp_dim))
        self.output_dense.build((batch, patches, self.channel_mlp_dim // 2))
        super().build(input_shape)

    def call(self, inputs: Any, training: bool = False) -> Any:
        branch = self.hidden_dense(self.norm(inputs))
        branch = gelu(branch, kind=self.gelu, training=training)
        branch = self.output_dense(self.gate(branch))
        return inputs + self._drop(branch, training)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "channel_mlp_dim": self.channel_mlp_dim,
            "layer_norm_epsilon": self.layer_norm_epsilon,
        }

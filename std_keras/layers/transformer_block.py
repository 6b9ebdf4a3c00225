"""One block of a vision transformer."""

from __future__ import annotations

from typing import Any

import keras

from std_keras.layers.layer_norm import LayerNorm
from std_keras.layers.mlp import MLP
from std_keras.layers.residual_block import ResidualBlock
from std_keras.layers.self_attention import SelfAttention


@keras.saving.register_keras_serializable(package="std_keras")
class TransformerBlock(ResidualBlock):
    """Self-attention, then an MLP, each pre-normalised and residual: (B, T, N) -> (B, T, N).

    U = Z + attention(LN(Z)), then U + MLP(LN(U)) (Dosovitskiy et al. 2021, arXiv 2010.11929,
    Eq. 2 and 3). Kernels start truncated normal with a standard deviation of 0.02, biases zero.

    Args:
      num_heads: of the attention; divides N.
      mlp_dim: hidden width of the MLP.
      layer_norm_epsilon: added to the variance in both normalisations.
      **kwargs: of `ResidualBlock`.
    """

    def __init__(
        self,
        num_heads: int,
        mlp_dim: int,
        layer_norm_epsilon: float = 1e-6,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.mlp_dim = mlp_dim
        self.layer_norm_epsilon = layer_norm_epsilon

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        channels = input_shape[-1]
        if channels is None:
            raise ValueError(f"input shape {tuple(input_shape)} must have a fixed last size")
        policy = self.dtype_policy
        self.attention_norm = LayerNorm(
            epsilon=self.layer_norm_epsilon, dtype=policy, name="attention_norm"
        )
        self.attention = self._attention_layer()
        self.mlp_norm = LayerNorm(epsilon=self.layer_norm_epsilon, dtype=policy, name="mlp_norm")
        self.mlp = MLP(self.mlp_dim, channels, self.gelu, dtype=policy, name="mlp")
        for dense in (self.mlp.hidden_dense, self.mlp.output_dense):
            dense.kernel_initializer = keras.initializers.TruncatedNormal(stddev=0.02)
        for layer in (self.attention_norm, self.attention, self.mlp_norm, self.mlp):
            layer.build(input_shape)
        super().build(input_shape)

    def _attention_layer(self) -> keras.layers.Layer:
        return SelfAttention(self.num_heads, dtype=self.dtype_policy, name="attention")

    def call(self, inputs: Any, training: bool = False) -> Any:
        branch = self.attention(self.attention_norm(inputs))
        mixed = inputs + self._drop(branch, training)
        branch = self.mlp(self.mlp_norm(mixed))
        return mixed + self._drop(branch, training)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "num_heads": self.num_heads,
            "mlp_dim": self.mlp_dim,
            "layer_norm_epsilon": self.layer_norm_epsilon,
        }

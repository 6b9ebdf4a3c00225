"""One block of the MLP-Mixer."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from std_keras.layers.layer_norm import LayerNorm
from std_keras.layers.mlp import MLP
from std_keras.layers.residual_block import ResidualBlock


@keras.saving.register_keras_serializable(package="std_keras")
class MixerBlock(ResidualBlock):
    """Token mixing, then channel mixing, each pre-normalised and residual: (B, P, N) -> (B, P, N).

    U = Z + MLP_S(LN(Z)) along the P patches, then U + MLP_C(LN(U)) along the N channels
    (Tolstikhin et al. 2021, arXiv 2105.01601, Eq. 1).

    Args:
      token_mlp_dim: hidden width of the token-mixing MLP (D_S).
      channel_mlp_dim: hidden width of the channel-mixing MLP (D_C).
      layer_norm_epsilon: added to the variance in both normalisations.
      **kwargs: of `ResidualBlock`.
    """

    def __init__(
        self,
        token_mlp_dim: int,
        channel_mlp_dim: int,
        layer_norm_epsilon: float = 1e-6,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.token_mlp_dim = token_mlp_dim
        self.channel_mlp_dim = channel_mlp_dim
        self.layer_norm_epsilon = layer_norm_epsilon

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        batch, patches, channels = input_shape
        if patches is None or channels is None:
            raise ValueError(f"input shape {tuple(input_shape)} must be (B, P, N) with fixed P, N")
        policy = self.dtype_policy
        self.token_norm = LayerNorm(
            epsilon=self.layer_norm_epsilon, dtype=policy, name="token_norm"
        )
        self.token_mlp = MLP(self.token_mlp_dim, patches, self.gelu, dtype=policy, name="token_mlp")
        self.channel_norm = LayerNorm(
            epsilon=self.layer_norm_epsilon, dtype=policy, name="channel_norm"
        )
        self.channel_mlp = MLP(
            self.channel_mlp_dim, channels, self.gelu, dtype=policy, name="channel_mlp"
        )
        self.token_norm.build(input_shape)
        self.token_mlp.build((batch, channels, patches))
        self.channel_norm.build(input_shape)
        self.channel_mlp.build(input_shape)
        super().build(input_shape)

    def call(self, inputs: Any, training: bool = False) -> Any:
        branch = ops.transpose(self.token_norm(inputs), (0, 2, 1))
        branch = ops.transpose(self.token_mlp(branch), (0, 2, 1))
        mixed = inputs + self._drop(branch, training)
        branch = self.channel_mlp(self.channel_norm(mixed))
        return mixed + self._drop(branch, training)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "token_mlp_dim": self.token_mlp_dim,
            "channel_mlp_dim": self.channel_mlp_dim,
            "layer_norm_epsilon": self.layer_norm_epsilon,
        }

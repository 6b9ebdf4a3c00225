"""One block of ResMLP."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from std_keras.layers.affine import Affine
from std_keras.layers.layer_scale import LayerScale
from std_keras.layers.mlp import MLP
from std_keras.layers.residual_block import ResidualBlock


@keras.saving.register_keras_serializable(package="std_keras")
class ResMLPBlock(ResidualBlock):
    """A linear map along the patches, then an MLP along the channels: (B, P, N) -> (B, P, N).

    U = Z + scale_1 * A(affine_1(Z)), then U + scale_2 * MLP(affine_2(U)), where A is one dense
    layer along the P patches (Touvron et al. 2021, arXiv 2105.03404, Eq. 2 and 3; as in the public
    code, what follows a branch has a scale and no shift). Kernels start truncated normal with a
    standard deviation of 0.02, biases zero.

    Args:
      channel_mlp_dim: hidden width of the MLP.
      layer_scale: initial value of both scales.
      **kwargs: of `ResidualBlock`.
    """

    def __init__(
        self,
        channel_mlp_dim: int,
        layer_scale: float,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.channel_mlp_dim = channel_mlp_dim
        self.layer_scale = layer_scale

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        batch, patches, channels = input_shape
        if patches is None or channels is None:
            raise ValueError(f"input shape {tuple(input_shape)} must be (B, P, N) with fixed P, N")
        policy = self.dtype_policy
        self.token_affine = Affine(dtype=policy, name="token_affine")
        self.token_dense = keras.layers.Dense(patches, dtype=policy, name="token_dense")
        self.token_scale = LayerScale(self.layer_scale, dtype=policy, name="token_scale")
        self.channel_affine = Affine(dtype=policy, name="channel_affine")
        self.channel_mlp = MLP(
            self.channel_mlp_dim, channels, self.gelu, dtype=policy, name="channel_mlp"
        )
        self.channel_scale = LayerScale(self.layer_scale, dtype=policy, name="channel_scale")
        mlp = self.channel_mlp
        for dense in (self.token_dense, mlp.hidden_dense, mlp.output_dense):
            dense.kernel_initializer = keras.initializers.TruncatedNormal(stddev=0.02)
        self.token_dense.build((batch, channels, patches))
        for layer in (
            self.token_affine,
            self.token_scale,
            self.channel_affine,
            self.channel_mlp,
            self.channel_scale,
        ):
            layer.build(input_shape)
        super().build(input_shape)

    def call(self, inputs: Any, training: bool = False) -> Any:
        branch = ops.transpose(self.token_affine(inputs), (0, 2, 1))
        branch = self.token_scale(ops.transpose(self.token_dense(branch), (0, 2, 1)))
        mixed = inputs + self._drop(branch, training)
        branch = self.channel_scale(self.channel_mlp(self.channel_affine(mixed)))
        return mixed + self._drop(branch, training)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "channel_mlp_dim": self.channel_mlp_dim,
            "layer_scale": self.layer_scale,
        }

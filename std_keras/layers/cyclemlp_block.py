"""One block of CycleMLP."""

from __future__ import annotations

from typing import Any

import keras

from std_keras.layers.cycle_mixing import CycleMixing
from std_keras.layers.layer_norm import LayerNorm
from std_keras.layers.mlp import MLP
from std_keras.layers.residual_block import ResidualBlock


@keras.saving.register_keras_serializable(package="std_keras")
class CycleMLPBlock(ResidualBlock):
    """Mixing of neighbours and channels, then an MLP: (B, H, W, N) -> (B, H, W, N).

    U = Z + mixing(LN(Z)), then U + MLP(LN(U)) (Chen et al. 2022, arXiv 2107.10224, Fig. 3). H and W
    do not enter the weights. Kernels start truncated normal with a standard deviation of 0.02,
    biases zero.

    Args:
      mlp_dim: hidden width of the MLP.
      layer_norm_epsilon: added to the variance in both normalisations.
      **kwargs: of `ResidualBlock`.
    """

    def __init__(
        self,
        mlp_dim: int,
        layer_norm_epsilon: float = 1e-5,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.mlp_dim = mlp_dim
        self.layer_norm_epsilon = layer_norm_epsilon

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        channels = input_shape[-1]
        if len(input_shape) != 4 or channels is None:
            raise ValueError(f"input shape {tuple(input_shape)} must be (B, H, W, N) with fixed N")
        policy = self.dtype_policy
        self.mixing_norm = LayerNorm(
            epsilon=self.layer_norm_epsilon, dtype=policy, name="mixing_norm"
        )
        self.mixing = CycleMixing(self.gelu, dtype=policy, name="mixing")
        self.mlp_norm = LayerNorm(epsilon=self.layer_norm_epsilon, dtype=policy, name="mlp_norm")
        self.mlp = MLP(self.mlp_dim, channels, self.gelu, dtype=policy, name="mlp")
        for dense in (self.mlp.hidden_dense, self.mlp.output_dense):
            dense.kernel_initializer = keras.initializers.TruncatedNormal(stddev=0.02)
        for layer in (self.mixing_norm, self.mixing, self.mlp_norm, self.mlp):
            layer.build(input_shape)
        super().build(input_shape)

    def call(self, inputs: Any, training: bool = False) -> Any:
        mixed = inputs + self._drop(self.mixing(self.mixing_norm(inputs)), training)
        return mixed + self._drop(self.mlp(self.mlp_norm(mixed)), training)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "mlp_dim": self.mlp_dim,
            "layer_norm_epsilon": self.layer_norm_epsilon,
        }

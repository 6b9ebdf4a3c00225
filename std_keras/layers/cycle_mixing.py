"""Mixing along width, height and channels, and the weights between the three."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from std_keras.layers.cycle_fc import CycleFC
from std_keras.layers.mlp import MLP


@keras.saving.register_keras_serializable(package="std_keras")
class CycleMixing(keras.layers.Layer):
    """Three parallel branches, weighed per channel and example: (B, H, W, N) -> (B, H, W, N).

    The branches are a CycleFC along the width, one along the height and a dense layer without bias.
    An MLP, N -> N/4 -> 3 N, on the mean of their sum gives three weights for each channel, by a
    softmax over the branches; a dense layer follows the weighted sum. As in the code of Chen et
    al. 2022 (CycleMLP, arXiv 2107.10224). Kernels start truncated normal with a standard deviation
    of 0.02, biases zero.

    Args:
      gelu: "exact" or "tanh".
    """

    def __init__(self, gelu: str = "exact", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.gelu = gelu

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        if len(input_shape) != 4 or input_shape[-1] is None:
            raise ValueError(f"input shape {tuple(input_shape)} must be (B, H, W, N) with fixed N")
        channels = input_shape[-1]
        policy = self.dtype_policy
        self.width_fc = CycleFC(channels, "width", dtype=policy, name="width_fc")
        self.height_fc = CycleFC(channels, "height", dtype=policy, name="height_fc")
        self.channel_fc = keras.layers.Dense(
            channels, use_bias=False, dtype=policy, name="channel_fc"
        )
        self.reweight = MLP(
            max(1, channels // 4), 3 * channels, self.gelu, dtype=policy, name="reweight"
        )
        self.projection = keras.layers.Dense(channels, dtype=policy, name="projection")
        for dense in (
            self.width_fc,
            self.height_fc,
            self.channel_fc,
            self.reweight.hidden_dense,
            self.reweight.output_dense,
            self.projection,
        ):
            dense.kernel_initializer = keras.initializers.TruncatedNormal(stddev=0.02)
        for layer in (self.width_fc, self.height_fc, self.channel_fc, self.projection):
            layer.build(input_shape)
        self.reweight.build((input_shape[0], channels))

    def call(self, inputs: Any) -> Any:
        channels = inputs.shape[-1]
        branches = [self.width_fc(inputs), self.height_fc(inputs), self.channel_fc(inputs)]
        pooled = ops.mean(branches[0] + branches[1] + branches[2], axis=(1, 2))
        # The branch is the fastest index of the MLP's result.
        weights = ops.softmax(ops.reshape(self.reweight(pooled), (-1, channels, 3)), axis=-1)
        # (B, 3, 1, N), whose parts broadcast as they are.
        weights = ops.reshape(ops.transpose(weights, (0, 2, 1)), (-1, 3, 1, channels))
        weighted = [
            branch * weight
            for branch, weight in zip(branches, ops.split(weights, 3, axis=1), strict=True)
        ]
        return self.projection(weighted[0] + weighted[1] + weighted[2])

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"gelu": self.gelu}

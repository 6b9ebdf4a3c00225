"""Halves the sides of a map and doubles its channels."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from std_keras.layers.layer_norm import LayerNorm


@keras.saving.register_keras_serializable(package="std_keras")
class PatchMerging(keras.layers.Layer):
    """Concatenates 2x2 neighbours, normalises, projects: (B, H, W, N) -> (B, H/2, W/2, 2N).

    Swin (Liu et al. 2021, arXiv 2103.14030, section 3.1). The four neighbours come in the order of
    the released weights: top left, bottom left, top right, bottom right.

    Args:
      layer_norm_epsilon: added to the variance.
    """

    def __init__(self, layer_norm_epsilon: float = 1e-5, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.layer_norm_epsilon = layer_norm_epsilon

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        _, height, width, channels = input_shape
        if height is None or width is None or channels is None or height % 2 or width % 2:
            raise ValueError(f"input shape {tuple(input_shape)} must be (B, H, W, N), even H and W")
        merged = (None, height // 2, width // 2, 4 * channels)
        self.norm = LayerNorm(epsilon=self.layer_norm_epsilon, dtype=self.dtype_policy, name="norm")
        self.reduction = keras.layers.Dense(
            2 * channels,
            use_bias=False,
            kernel_initializer=keras.initializers.TruncatedNormal(stddev=0.02),
            dtype=self.dtype_policy,
            name="reduction",
        )
        self.norm.build(merged)
        self.reduction.build(merged)

    def call(self, inputs: Any) -> Any:
        neighbours = [inputs[:, row::2, column::2] for column in (0, 1) for row in (0, 1)]
        return self.reduction(self.norm(ops.concatenate(neighbours, axis=-1)))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        batch, height, width, channels = input_shape
        assert height is not None
        assert width is not None
        assert channels is not None
        return (batch, height // 2, width // 2, 2 * channels)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"layer_norm_epsilon": self.layer_norm_epsilon}

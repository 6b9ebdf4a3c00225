"""Scales channels by what is in the whole image."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="std_keras")
class SqueezeExcite(keras.layers.Layer):
    """Channel gates from the mean over the image: (B, H, W, N) -> (B, H, W, N).

    x * sigmoid(W_2 relu(W_1 mean(x))) (Hu et al. 2018, arXiv 1709.01507), both with biases.

    Args:
      hidden: channels between the two dense layers.
    """

    def __init__(self, hidden: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if hidden < 1:
            raise ValueError(f"hidden={hidden} must be at least 1")
        self.hidden = hidden

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        channels = input_shape[-1]
        # Normal with variance 2 / fan-out, as timm initialises 1x1 convolutions.
        initializer = keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")
        self.reduce = keras.layers.Dense(
            self.hidden,
            activation="relu",
            kernel_initializer=initializer,
            dtype=self.dtype_policy,
            name="reduce",
        )
        self.expand = keras.layers.Dense(
            channels,
            activation="sigmoid",
            kernel_initializer=initializer.clone(),
            dtype=self.dtype_policy,
            name="expand",
        )
        self.reduce.build((None, channels))
        self.expand.build((None, self.hidden))

    def call(self, inputs: Any) -> Any:
        gates = self.expand(self.reduce(ops.mean(inputs, axis=(1, 2))))
        return inputs * ops.reshape(gates, (-1, 1, 1, inputs.shape[-1]))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"hidden": self.hidden}

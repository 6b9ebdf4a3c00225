"""A learned scale and shift per channel."""

from __future__ import annotations

from typing import Any

import keras


@keras.saving.register_keras_serializable(package="std_keras")
class Affine(keras.layers.Layer):
    """alpha * x + beta per channel: (..., N) -> (..., N).

    It stands where other networks normalise, but uses no statistics (Touvron et al. 2021, ResMLP,
    arXiv 2105.03404, Eq. 1). alpha starts at 1, beta at 0.
    """

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        channels = input_shape[-1]
        if channels is None:
            raise ValueError(f"input shape {tuple(input_shape)} must have a fixed last size")
        self.alpha = self.add_weight(name="alpha", shape=(channels,), initializer="ones")
        self.beta = self.add_weight(name="beta", shape=(channels,), initializer="zeros")

    def call(self, inputs: Any) -> Any:
        return self.alpha * inputs + self.beta

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return tuple(input_shape)

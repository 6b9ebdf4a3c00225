"""A learned token beside the patches."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="std_keras")
class AppendToken(keras.layers.Layer):
    """Appends one learned row, the same for every example: (B, P, N) -> (B, P+1, N).

    As DeiT's distillation token (Touvron et al. 2021, arXiv 2012.12877); starts truncated normal
    with a standard deviation of 0.02.
    """

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.token = self.add_weight(
            name="token",
            shape=(1, input_shape[-1]),
            initializer=keras.initializers.TruncatedNormal(stddev=0.02),
        )

    def call(self, inputs: Any) -> Any:
        token = ops.broadcast_to(self.token, (ops.shape(inputs)[0], 1, inputs.shape[-1]))
        return ops.concatenate([inputs, token], axis=1)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        batch, patches, channels = input_shape
        return (batch, None if patches is None else patches + 1, channels)

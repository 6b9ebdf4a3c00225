"""A learned token before the patches."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="std_keras")
class PrependToken(keras.layers.Layer):
    """Prepends one learned row, the same for every example: (B, P, N) -> (B, 1+P, N).

    The class token of ViT (Dosovitskiy et al. 2021, arXiv 2010.11929) and the distillation token of
    DeiT (Touvron et al. 2021, arXiv 2012.12877), whose sequence is [class, distillation, patches];
    starts truncated normal with a standard deviation of 0.02.
    """

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.token = self.add_weight(
            name="token",
            shape=(1, input_shape[-1]),
            initializer=keras.initializers.TruncatedNormal(stddev=0.02),
        )

    def call(self, inputs: Any) -> Any:
        token = ops.broadcast_to(self.token, (ops.shape(inputs)[0], 1, inputs.shape[-1]))
        return ops.concatenate([token, inputs], axis=1)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        batch, patches, channels = input_shape
        return (batch, None if patches is None else patches + 1, channels)

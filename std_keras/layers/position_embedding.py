"""A learned vector for every place of a sequence."""

from __future__ import annotations

from typing import Any

import keras


@keras.saving.register_keras_serializable(package="std_keras")
class PositionEmbedding(keras.layers.Layer):
    """Adds a learned row to each row: (B, P, N) -> (B, P, N).

    As in ViT (Dosovitskiy et al. 2021, arXiv 2010.11929); starts truncated normal with a standard
    deviation of 0.02.
    """

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        if None in input_shape[1:]:
            raise ValueError(f"input shape {tuple(input_shape)} must be (B, P, N) with fixed P, N")
        self.position_embedding = self.add_weight(
            name="position_embedding",
            shape=tuple(input_shape[1:]),
            initializer=keras.initializers.TruncatedNormal(stddev=0.02),
        )

    def call(self, inputs: Any) -> Any:
        return inputs + self.position_embedding

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return tuple(input_shape)

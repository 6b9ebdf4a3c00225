"""What the learned tokens beside the patches share."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


class LearnedRow(keras.layers.Layer):
    """One learned row, the same for every example, to be put beside the others.

    It starts truncated normal with a standard deviation of 0.02.
    """

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.token = self.add_weight(
            name="token",
            shape=(1, input_shape[-1]),
            initializer=keras.initializers.TruncatedNormal(stddev=0.02),
        )

    def row(self, inputs: Any) -> Any:
        """(B, 1, N), for inputs (B, P, N)."""
        return ops.broadcast_to(self.token, (ops.shape(inputs)[0], 1, inputs.shape[-1]))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        batch, patches, channels = input_shape
        return (batch, None if patches is None else patches + 1, channels)

"""Keeps classifiers in a model that only training needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras


@keras.saving.register_keras_serializable(package="std_keras")
class TrainAlong(keras.layers.Layer):
    """Returns the first of its inputs, logits (B, num_classes), as it is.

    The others hang on it so that a functional model holds their layers: they are trained, saved
    in checkpoints and averaged with the rest, and a model of the first input alone leaves them out.
    """

    def __init__(self, dtype: Any = "float32", **kwargs: Any) -> None:
        super().__init__(dtype=dtype, **kwargs)

    def call(self, inputs: Sequence[Any]) -> Any:
        return inputs[0]

    def compute_output_shape(
        self, input_shape: Sequence[tuple[int | None, ...]]
    ) -> tuple[int | None, ...]:
        return tuple(input_shape[0])

"""Convolutions that begin by handing on what they read."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from std_keras.layers.fan_in_uniform import fan_in_uniform


@keras.saving.register_keras_serializable(package="std_keras")
class PartialDirac(keras.initializers.Initializer):
    """The first filters copy the input channels, the others are random (Jordan 2024, section 3.3).

    For kernels (height, width, in, out) of odd sides: filter o < in is 1 at its centre for channel
    o and 0 elsewhere; the others are U(-1/sqrt(fan_in), 1/sqrt(fan_in)), PyTorch's default.

    Args:
      seed: of the random filters.
    """

    def __init__(self, seed: int | None = None) -> None:
        self._random = fan_in_uniform(seed)
        self.seed = seed

    def __call__(self, shape: Any, dtype: Any = None) -> Any:
        height, width, inputs, outputs = shape
        copied = min(inputs, outputs)
        identity = np.zeros(shape, "float32")
        diagonal = np.arange(copied)
        identity[height // 2, width // 2, diagonal, diagonal] = 1.0
        random = self._random(shape, dtype)
        is_random = np.arange(outputs) >= copied
        return keras.ops.where(is_random, random, keras.ops.cast(identity, random.dtype))

    def get_config(self) -> dict[str, Any]:
        return {"seed": self.seed}

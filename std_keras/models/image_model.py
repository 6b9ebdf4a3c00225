"""What every image model has: an input of pixels, its normalisation, a number of classes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras

from std_keras.errors import InputError

# Maps pixels to [-1, 1], as the released Mixer weights expect.
DEFAULT_MEAN = DEFAULT_STD = 0.5


@dataclass(frozen=True)
class ImageModelSpec:
    """The part of a model's description that all families share.

    Attributes:
      name: registered name, which becomes the name of the Keras model.
      input_shape: (height, width, channels) of the images.
      num_classes: size of the class head.
      mean: per channel, of pixels scaled to 0..1.
      std: standard deviation, in the same form.
    """

    name: str
    input_shape: tuple[int, int, int]
    num_classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def checked(
        cls,
        *,
        name: str,
        input_shape: Sequence[int],
        num_classes: int,
        mean: float | Sequence[float] | None,
        std: float | Sequence[float] | None,
    ) -> ImageModelSpec:
        """Builds a spec from loose values.

        Raises:
          InputError: a value cannot be used.
        """
        shape = tuple(int(size) for size in input_shape)
        if len(shape) != 3 or min(shape) < 1:
            raise InputError(
                f"input_shape={tuple(input_shape)} must be (height, width, channels), all positive"
            )
        if num_classes < 1:
            raise InputError(f"num_classes={num_classes} must be at least 1")
        means = _per_channel("mean", DEFAULT_MEAN if mean is None else mean, shape[2])
        stds = _per_channel("std", DEFAULT_STD if std is None else std, shape[2])
        if min(stds) <= 0.0:
            raise InputError(f"std={stds} must be positive")
        return cls(name, (shape[0], shape[1], shape[2]), int(num_classes), means, stds)

    def normalized_input(self) -> tuple[Any, Any]:
        """A new input of pixels 0..255, (B, H, W, C) float32, and the same normalised."""
        inputs = keras.Input(self.input_shape, dtype="float32", name="image")
        scale = [1.0 / (255.0 * std) for std in self.std]
        offset = [-mean / std for mean, std in zip(self.mean, self.std, strict=True)]
        # Not bfloat16: it has too few digits for pixels between integers.
        dtype = full_precision()
        normalize = keras.layers.Rescaling(scale, offset, dtype=dtype, name="normalization")
        return inputs, normalize(inputs)


def full_precision() -> str:
    """The type of what mixed precision leaves alone, pixels and logits: float32, or float64 if that
    is Keras' global dtype policy."""
    return str(keras.backend.result_type(keras.config.dtype_policy().variable_dtype, "float32"))


def _per_channel(name: str, value: float | Sequence[float], channels: int) -> tuple[float, ...]:
    values = (value,) * channels if isinstance(value, (int, float)) else tuple(value)
    if len(values) != channels or not all(math.isfinite(v) for v in values):
        raise InputError(
            f"{name}={value} must be one finite number, or one for each of {channels} channels"
        )
    return tuple(float(v) for v in values)

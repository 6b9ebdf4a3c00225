"""The stem of models on patches: one convolution whose windows are the patches."""

from __future__ import annotations

from typing import Any

import keras

from std_keras.models import option_checks
from std_keras.models.image_model import ImageModelSpec


def patch_stem(
    spec: ImageModelSpec, *, patch_size: int, width: int, kernel_initializer: Any
) -> tuple[Any, Any]:
    """The layers "image", "normalization", "stem" and "patches".

    Args:
      spec: of the model.
      patch_size: side of a square patch, in pixels.
      width: channels N of a patch's features.
      kernel_initializer: of the convolution, as Keras takes it.

    Returns:
      A new input of pixels 0..255, (B, H, W, C) float32, and its patches (B, P, N), row by row.

    Raises:
      InputError: the patch does not divide the image.
    """
    height, image_width, _ = spec.input_shape
    option_checks.check_patch_size(patch_size, (height, image_width))
    patches = (height // patch_size) * (image_width // patch_size)
    inputs, x = spec.normalized_input()
    x = keras.layers.Conv2D(
        width,
        patch_size,
        strides=patch_size,
        kernel_initializer=kernel_initializer,
        name="stem",
    )(x)
    return inputs, keras.layers.Reshape((patches, width), name="patches")(x)

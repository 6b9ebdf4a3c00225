"""What a network expects of its pixels, as a layer, so that a saved model holds it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from std_keras.teachers.teacher import Teacher

_NAME = "normalization"


def scaling_layer(
    scale: Callable[[tf.Tensor], tf.Tensor], *, channels: int
) -> keras.layers.Layer | None:
    """The layer that does to pixels of 0..255 what `scale` does.

    Every preparation that published networks ask for is a constant matrix between the channels and
    an offset: a division, a mean and a standard deviation, BGR instead of RGB. It is found by
    trying `scale` on black and on pure colours, and checked on others.

    Args:
        scale: pixels (B, H, W, C) float32 of 0..255 to the network's own range.
        channels: C.

    Returns:
        A layer without trainable weights; None if `scale` changes nothing.

    Raises:
        ValueError: if `scale` is anything else.
    """
    black = np.zeros((1, channels))
    colors = np.concatenate([black, 255.0 * np.eye(channels)])
    found = _of(scale, colors)
    offset = found[0]
    matrix = (found[1:] - offset) / 255.0  # (C, C): from a channel to a channel.
    # Rounding of float32 beside the largest value that was subtracted.
    matrix[np.abs(matrix) < 1e-6 * np.abs(matrix).max()] = 0.0
    others = np.random.default_rng(0).uniform(0.0, 255.0, (16, channels))
    if not np.allclose(_of(scale, others), others @ matrix + offset, rtol=1e-4, atol=1e-3):
        raise ValueError("its preparation of pixels is not a scale and an offset per channel")
    if np.array_equal(matrix, np.eye(channels)) and not offset.any():
        return None
    if np.array_equal(matrix, np.diag(np.diag(matrix))):
        return keras.layers.Rescaling(np.diag(matrix).tolist(), offset.tolist(), name=_NAME)
    layer = keras.layers.Conv2D(channels, 1, name=_NAME, trainable=False)
    layer.build((None, None, None, channels))
    layer.set_weights([matrix[np.newaxis, np.newaxis], offset])
    return layer


def pixel_input(teacher: Teacher, *, channels: int) -> tuple[Any, Any]:
    """A new input of pixels 0..255, and the same as a teacher's network wants it.

    Args:
        teacher: says the size, and the range.
        channels: of the images; grey ones are repeated for a network of three channels.

    Returns:
        Two symbolic tensors (B, H, W, C), of which the second depends on the first.

    Raises:
        ValueError: see `scaling_layer`.
    """
    height, width, own = teacher.image_shape
    inputs = keras.Input((height, width, channels), name="image")
    pixels = inputs
    if channels != own:
        pixels = keras.layers.Concatenate(name="grey_to_rgb")([pixels] * own)
    scaling = scaling_layer(teacher.scale, channels=own)
    return inputs, pixels if scaling is None else scaling(pixels)


def _of(scale: Callable[[tf.Tensor], tf.Tensor], colors: np.ndarray) -> np.ndarray:
    """Colours (n, C), each as a picture of one pixel, scaled."""
    # A copy: some functions change an array in place.
    pixels = tf.constant(colors[:, np.newaxis, np.newaxis], tf.float32)
    return np.asarray(tf.convert_to_tensor(scale(pixels)), np.float64)[:, 0, 0]

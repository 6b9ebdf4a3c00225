"""What a network expects of its pixels, as a layer, so that a saved model holds it."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

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


def _of(scale: Callable[[tf.Tensor], tf.Tensor], colors: np.ndarray) -> np.ndarray:
    """Colours (n, C), each as a picture of one pixel, scaled."""
    # A copy: some functions change an array in place.
    pixels = tf.constant(colors[:, np.newaxis, np.newaxis], tf.float32)
    return np.asarray(tf.convert_to_tensor(scale(pixels)), np.float64)[:, 0, 0]

"""Operations that need a pixel's other channels or its neighbours: colour and sharpness.

Source: PIL's ImageEnhance, bit for bit.
"""

from __future__ import annotations

import tensorflow as tf

from std_keras.data.augmentation.blend import blend
from std_keras.data.augmentation.luminance import luminance


def color(image: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Blend with the grey image: 0 is grey, 1 the image (H, W, C) uint8, above 1 more colour."""
    return tf.cast(blend(luminance(image), image, factor), tf.uint8)


def sharpness(image: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Blend with the smoothed image: 0 is smooth, 1 the image (H, W, C) uint8, above 1 sharper."""
    return tf.cast(blend(_smooth(image), image, factor), tf.uint8)


def _smooth(image: tf.Tensor) -> tf.Tensor:
    """PIL's SMOOTH filter, (1 1 1, 1 5 1, 1 1 1) / 13; the outermost pixels stay as they are."""
    pixels = tf.cast(image, tf.int32)
    height, width = image.shape[0], image.shape[1]
    if height < 3 or width < 3:
        return pixels
    rows = pixels[:-2] + pixels[1:-1] + pixels[2:]
    around = rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:] + 4 * pixels[1:-1, 1:-1]
    inner = (2 * around + 13) // 26  # around / 13, rounded
    framed = tf.pad(inner, [[1, 1], [1, 1], [0, 0]])
    is_inner = tf.pad(tf.ones((height - 2, width - 2, 1), tf.bool), [[1, 1], [1, 1], [0, 0]])
    return tf.where(is_inner, framed, pixels)

"""Operations that look every pixel value up in a table of 256 entries.

Each function makes the table (1, 256) or (C, 256) int32 of one image (H, W, C) uint8 from the
operation's argument () float32. Source of all: PIL's ImageOps and ImageEnhance, bit for bit
but for `auto_contrast`.
"""

from __future__ import annotations

import tensorflow as tf

from std_keras.data.augmentation.blend import blend
from std_keras.data.augmentation.luminance import luminance


def look_up(image: tf.Tensor, table: tf.Tensor) -> tf.Tensor:
    """Image (H, W, C) uint8 through a table (C, 256) uint8."""
    channels = image.shape[-1]
    indices = tf.cast(image, tf.int32) + 256 * tf.range(channels)
    return tf.gather(tf.reshape(table, (channels * 256,)), indices)


def invert(image: tf.Tensor, argument: tf.Tensor) -> tf.Tensor:
    """Negative; no argument."""
    return 255 - _values()


def posterize(image: tf.Tensor, bits: tf.Tensor) -> tf.Tensor:
    """Keeps the upper `bits` (0..8) bits."""
    dropped = tf.bitwise.left_shift(1, 8 - tf.cast(bits, tf.int32))
    return _values() // dropped * dropped


def solarize(image: tf.Tensor, threshold: tf.Tensor) -> tf.Tensor:
    """Negative of the values from `threshold` (0..256) on."""
    values = _values()
    return tf.where(tf.cast(values, tf.float32) < threshold, values, 255 - values)


def solarize_add(image: tf.Tensor, addend: tf.Tensor) -> tf.Tensor:
    """Adds `addend` (0..255) to the values below 128."""
    values = _values()
    brighter = tf.minimum(255, values + tf.cast(addend, tf.int32))
    return tf.where(values < 128, brighter, values)


def brightness(image: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Blend with black: 0 is black, 1 the image, above 1 brighter."""
    return blend(tf.zeros_like(_values()), _values(), factor)


def contrast(image: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Blend with the mean grey: 0 is grey, 1 the image, above 1 more contrast."""
    grey = tf.cast(luminance(image), tf.int64)
    count = tf.size(grey, out_type=tf.int64)
    # int(mean + 0.5), in whole numbers.
    mean = tf.cast((2 * tf.reduce_sum(grey) + count) // (2 * count), tf.int32)
    return blend(tf.fill((1, 256), mean), _values(), factor)


def auto_contrast(image: tf.Tensor, argument: tf.Tensor) -> tf.Tensor:
    """Stretches each channel to 0..255; a channel of one value stays. No argument.

    Where the stretched value is a whole number, PIL's floating point falls below it at times, and
    PIL gives one less (254 for white, for example); this does not.
    """
    pixels = tf.cast(_by_channel(image), tf.int32)
    lowest = tf.reduce_min(pixels, axis=1, keepdims=True)
    highest = tf.reduce_max(pixels, axis=1, keepdims=True)
    stretched = 255 * (_values() - lowest) // tf.maximum(highest - lowest, 1)
    return tf.where(highest > lowest, tf.clip_by_value(stretched, 0, 255), _values())


def equalize(image: tf.Tensor, argument: tf.Tensor) -> tf.Tensor:
    """Makes each channel's histogram flat; a channel of one value stays. No argument."""
    pixels = _by_channel(image)
    channels, count = pixels.shape
    bins = tf.cast(pixels, tf.int32) + 256 * tf.range(channels)[:, None]
    # `tf.math.bincount` reads the number of bins at run time, which XLA refuses.
    histogram = tf.raw_ops.DenseBincount(
        input=tf.reshape(bins, (-1,)), size=channels * 256, weights=tf.zeros((0,), tf.int32)
    )
    histogram = tf.reshape(histogram, (channels, 256))
    brightest = tf.reduce_max(tf.where(histogram > 0, _values(), 0), axis=1)
    in_brightest = tf.gather(histogram, brightest, batch_dims=1)
    step = ((count - in_brightest) // 255)[:, None]
    below = tf.cumsum(histogram, axis=1, exclusive=True)
    flat = tf.minimum(255, (step // 2 + below) // tf.maximum(step, 1))
    return tf.where(step > 0, flat, _values())


def _values() -> tf.Tensor:
    return tf.range(256)[None]


def _by_channel(image: tf.Tensor) -> tf.Tensor:
    """(H, W, C) to (C, H * W)."""
    height, width, channels = image.shape
    return tf.transpose(tf.reshape(image, (height * width, channels)))

"""Between and beyond two images: the core of brightness, contrast, colour and sharpness."""

from __future__ import annotations

import tensorflow as tf

# Factors are whole multiples of 1 / FACTOR_STEPS. Then factor x difference and the sum fit into a
# float32 without rounding, whatever the compiler does, and equal PIL's result to the last bit.
FACTOR_STEPS = 4096


def rounded_factor(factor: tf.Tensor) -> tf.Tensor:
    """The nearest factor that `blend` computes without rounding."""
    return tf.round(factor * FACTOR_STEPS) / FACTOR_STEPS


def blend(base: tf.Tensor, image: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """PIL's Image.blend: base + factor * (image - base), clipped to 0..255, fractions cut off.

    Args:
        base: integers of 0..255, what factor 0 gives.
        image: integers of 0..255, what factor 1 gives.
        factor: () float32, also above 1, a multiple of 1 / FACTOR_STEPS.

    Returns:
        int32 of the common shape.
    """
    base = tf.cast(base, tf.int32)
    difference = tf.cast(tf.cast(image, tf.int32) - base, tf.float32)
    blended = tf.cast(base, tf.float32) + factor * difference
    return tf.cast(tf.clip_by_value(blended, 0.0, 255.0), tf.int32)

"""Grey values as PIL computes them."""

from __future__ import annotations

import tensorflow as tf

# ITU-R 601-2, in 1/65536, as in PIL's conversion from RGB to L.
_WEIGHTS = (19595, 38470, 7471)


def luminance(image: tf.Tensor) -> tf.Tensor:
    """Pixels (H, W, C) of any integer type, C = 1 or 3, to grey values (H, W, 1) int32."""
    image = tf.cast(image, tf.int32)
    if image.shape[-1] == 1:
        return image
    weighted = tf.reduce_sum(image * tf.constant(_WEIGHTS), axis=-1, keepdims=True)
    return tf.bitwise.right_shift(weighted + 0x8000, 16)

"""Random erasing: rectangles of noise.

Zhong et al. 2017, arXiv 1708.04896, as in timm (`timm/data/random_erasing.py`, mode pixel): each
box has an area uniform in 2 % to 33 % of the image's (divided by the number of boxes) and a
log-uniform ratio of height to width of 0.3 to 3.3; of up to ten tries the first that fits counts.
Its pixels are standard normal after normalisation; here, before it, they have the data set's mean
and standard deviation and are cut off at 0 and 255, as all pixels are.
"""

from __future__ import annotations

import functools
import math
from statistics import NormalDist

import numpy as np
import tensorflow as tf

from std_keras.data.randomness import ALGORITHM, Purpose, derive_seed

_TRIES = 10
_LEAST_AREA, _GREATEST_AREA = 0.02, 1 / 3
_LEAST_RATIO = 0.3


def draw_boxes(
    *,
    probability: float,
    count: int,
    batch_size: int,
    seed: int,
    step: int | tf.Tensor,
    image_shape: tuple[int, ...],
) -> tf.Tensor:
    """(B, count, 4) int32: top, left, height, width; of height 0 where nothing is erased.

    An image is erased with the given probability, by 1 to `count` boxes.
    """
    height, width = image_shape[:2]
    uniform = tf.random.stateless_uniform(
        (batch_size, 2 + count * (2 * _TRIES + 2)),
        seed=derive_seed(seed, Purpose.ERASE, step),
        alg=ALGORITHM,
    )
    boxes = 1 + tf.cast(uniform[:, 1] * count, tf.int32)
    each = tf.reshape(uniform[:, 2:], (batch_size, count, -1))
    areas = _LEAST_AREA + (_GREATEST_AREA - _LEAST_AREA) * each[..., :_TRIES]
    areas *= height * width / tf.cast(boxes, tf.float32)[:, None, None]
    ratios = tf.exp(math.log(_LEAST_RATIO) * (2 * each[..., _TRIES : 2 * _TRIES] - 1))
    heights, widths = tf.round(tf.sqrt(areas * ratios)), tf.round(tf.sqrt(areas / ratios))
    fits = (heights < height) & (widths < width)
    first = tf.argmax(fits, axis=-1, output_type=tf.int32)
    size = tf.stack([tf.gather(side, first, batch_dims=2) for side in (heights, widths)], axis=-1)
    room = tf.constant([height, width], tf.float32) - size + 1
    top_left = tf.floor(each[..., 2 * _TRIES :] * room)

    erased = (uniform[:, :1] < probability) & (tf.range(count) < boxes[:, None])
    erased &= tf.reduce_any(fits, axis=-1)
    drawn = tf.cast(tf.concat([top_left, size], axis=-1), tf.int32)
    return tf.where(erased[..., None], drawn, 0)


def draw_noise_keys(*, batch_size: int, seed: int, step: int | tf.Tensor) -> tf.Tensor:
    """(B, 2) int32: what the noise of each image is made from."""
    return tf.random.stateless_uniform(
        (batch_size, 2),
        seed=derive_seed(seed, Purpose.ERASE_NOISE, step),
        minval=None,
        maxval=None,
        dtype=tf.int32,
        alg=ALGORITHM,
    )


def erase(
    image: tf.Tensor,
    boxes: tf.Tensor,
    key: tf.Tensor,
    *,
    mean: tuple[float, ...],
    std: tuple[float, ...],
) -> tf.Tensor:
    """Fills boxes (count, 4) of an image (H, W, C) uint8 with noise made from the key (2,)."""

    def erased() -> tf.Tensor:
        inside = tf.zeros(image.shape[:2], tf.bool)
        rows, columns = tf.range(image.shape[0])[:, None], tf.range(image.shape[1])[None]
        for top, left, height, width in (tf.unstack(box) for box in tf.unstack(boxes)):
            inside |= (
                (rows >= top) & (rows < top + height) & (columns >= left) & (columns < left + width)
            )
        return tf.where(inside[..., None], noise(key, image.shape, mean=mean, std=std), image)

    return tf.cond(tf.reduce_any(boxes[:, 2] > 0), erased, lambda: image)


def noise(
    key: tf.Tensor, shape: tuple[int, ...], *, mean: tuple[float, ...], std: tuple[float, ...]
) -> tf.Tensor:
    """Normal noise (H, W, C) uint8 with the mean and deviation of each channel (of 0..1).

    TensorFlow's normal numbers would take longer than all the rest of the recipe. Here the index
    of a value, hashed with the key, gives 16 random bits, and these the value at that quantile.
    """
    height, width, channels = shape
    index = tf.reshape(tf.range(height * width * channels), (height, width, channels))
    first, second = tf.unstack(tf.bitcast(key, tf.uint32))
    bits = _hash(_hash(tf.cast(index, tf.uint32) + first) ^ second)
    quantile = tf.cast(tf.bitwise.right_shift(bits, tf.constant(16, tf.uint32)), tf.int32)
    table = tf.constant(_quantiles(mean, std))
    return tf.gather(tf.reshape(table, (-1,)), quantile + 65536 * tf.range(channels))


def _hash(x: tf.Tensor) -> tf.Tensor:
    """A bijection of 32 bits whose every output bit depends on every input bit.

    "lowbias32" of github.com/skeeto/hash-prospector.
    """
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        x = x ^ tf.bitwise.right_shift(x, tf.constant(shift, tf.uint32))
        x = x * tf.constant(factor, tf.uint32)
    return x ^ tf.bitwise.right_shift(x, tf.constant(16, tf.uint32))


@functools.cache
def _quantiles(mean: tuple[float, ...], std: tuple[float, ...]) -> np.ndarray:
    """(C, 65536) uint8: the values at the quantiles (i + 0.5) / 65536."""
    normal = NormalDist()
    z = np.array([normal.inv_cdf((i + 0.5) / 65536) for i in range(32768)])
    z = np.concatenate([z, -z[::-1]])
    values = 255 * (np.array(mean)[:, None] + np.array(std)[:, None] * z)
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)

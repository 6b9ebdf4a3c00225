"""Shear, translation and rotation, with the cubic interpolation of PIL's Image.transform.

Coordinates are PIL's: the middle of the first pixel is at 0.5. An output pixel whose source lies
outside the image gets the fill colour; inside, neighbours beyond the border repeat the outermost
pixels. PIL's cubic has a = -1 here (its `resize` has a = -0.5), and fractions are cut off.

PIL computes in float64 and this in float32, so that a value that falls very near a whole number
may be one lower or higher.
"""

from __future__ import annotations

import math

import tensorflow as tf


def transform_rows(
    image: tf.Tensor, *, slope: tf.Tensor, offset: tf.Tensor, fill: tf.Tensor
) -> tf.Tensor:
    """Moves each row: the output at (x, y) is the input at (x + slope * y + offset, y).

    Args:
        image: (H, W, C) uint8.
        slope: () float32; PIL's affine matrix (1, slope, offset, 0, 1, 0).
        offset: () float32, in pixels.
        fill: (C,) uint8.
    """
    height, width, channels = image.shape
    shift = (slope * _middles(height) + offset)[:, None]
    pixels, fraction = _whole_and_fraction(shift)
    # Rows of width x channels values: compiled loops over three channels are slow.
    column = tf.repeat(tf.range(width), channels)[None]
    channel = tf.tile(tf.range(channels), [width])[None]
    first_of_row = tf.range(height)[:, None] * width
    values = tf.reshape(image, (-1,))

    def neighbour(step: int) -> tf.Tensor:
        place = first_of_row + tf.clip_by_value(column + pixels + step, 0, width - 1)
        return tf.cast(tf.gather(values, place * channels + channel), tf.float32)

    moved = _cubic([neighbour(step) for step in (-1, 0, 1, 2)], fraction)
    position = tf.cast(column, tf.float32) + 0.5 + shift
    inside = (position >= 0.0) & (position < width)
    moved = tf.where(inside, _to_uint8(moved), tf.tile(fill, [width])[None])
    return tf.reshape(moved, (height, width, channels))


def transform_columns(
    image: tf.Tensor, *, slope: tf.Tensor, offset: tf.Tensor, fill: tf.Tensor
) -> tf.Tensor:
    """Moves each column: the output at (x, y) is the input at (x, y + slope * x + offset)."""
    height, width, channels = image.shape
    shift = (slope * _middles(width) + offset)[None]
    pixels, fraction = _whole_and_fraction(shift)
    row, column = tf.range(height)[:, None], tf.range(width)[None]
    values = tf.reshape(image, (height * width, channels))

    def neighbour(step: int) -> tf.Tensor:
        place = tf.clip_by_value(row + pixels + step, 0, height - 1) * width + column
        return tf.cast(tf.gather(values, place), tf.float32)

    moved = _cubic([neighbour(step) for step in (-1, 0, 1, 2)], fraction[..., None])
    position = tf.cast(row, tf.float32) + 0.5 + shift
    inside = (position >= 0.0) & (position < height)
    return tf.where(inside[..., None], _to_uint8(moved), fill)


def rotate(image: tf.Tensor, *, degrees: tf.Tensor, fill: tf.Tensor) -> tf.Tensor:
    """Rotates counter-clockwise about the middle, with cubic interpolation.

    Args:
        image: (H, W, C) uint8.
        degrees: () float32.
        fill: (C,) uint8.
    """
    height, width, channels = image.shape
    x, y, inside = _rotated(height, width, degrees)
    column, x_fraction = _whole_and_fraction(x - 0.5)
    row, y_fraction = _whole_and_fraction(y - 0.5)
    pixels = tf.reshape(image, (height * width, channels))

    def along_row(step: int) -> tf.Tensor:
        first_of_row = tf.clip_by_value(row + step, 0, height - 1) * width
        neighbours = [
            tf.gather(pixels, first_of_row + tf.clip_by_value(column + s, 0, width - 1))
            for s in (-1, 0, 1, 2)
        ]
        return _cubic([tf.cast(n, tf.float32) for n in neighbours], x_fraction[..., None])

    values = _cubic([along_row(step) for step in (-1, 0, 1, 2)], y_fraction[..., None])
    return tf.where(inside[..., None], _to_uint8(values), fill)


def rotate_nearest(image: tf.Tensor, *, degrees: tf.Tensor, fill: tf.Tensor) -> tf.Tensor:
    """As `rotate`, taking the nearest pixel."""
    height, width, channels = image.shape
    x, y, inside = _rotated(height, width, degrees)
    column = tf.clip_by_value(tf.cast(tf.floor(x), tf.int32), 0, width - 1)
    row = tf.clip_by_value(tf.cast(tf.floor(y), tf.int32), 0, height - 1)
    pixels = tf.reshape(image, (height * width, channels))
    return tf.where(inside[..., None], tf.gather(pixels, row * width + column), fill)


def _rotated(height: int, width: int, degrees: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Source x and y (H, W) of every output pixel, and whether they lie inside."""
    angle = degrees * (math.pi / 180.0)
    cosine, sine = tf.cos(angle), tf.sin(angle)
    x = (_middles(width) - width / 2)[None]
    y = (_middles(height) - height / 2)[:, None]
    # Counter-clockwise, with y pointing down.
    source_x = cosine * x - sine * y + width / 2
    source_y = sine * x + cosine * y + height / 2
    inside_x = (source_x >= 0.0) & (source_x < width)
    inside_y = (source_y >= 0.0) & (source_y < height)
    return source_x, source_y, inside_x & inside_y


def _middles(count: int) -> tf.Tensor:
    return tf.range(count, dtype=tf.float32) + 0.5


def _whole_and_fraction(position: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    whole = tf.floor(position)
    return tf.cast(whole, tf.int32), position - whole


def _cubic(values: list[tf.Tensor], d: tf.Tensor) -> tf.Tensor:
    """Between the second and the third of four values, at the fraction d of the way."""
    v1, v2, v3, v4 = values
    return v2 + d * (v3 - v1 + d * (2 * (v1 - v2) + v3 - v4 + d * (v2 - v1 + v4 - v3)))


def _to_uint8(values: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.clip_by_value(values, 0.0, 255.0), tf.uint8)

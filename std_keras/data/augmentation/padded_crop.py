"""Random crop with zero padding, and horizontal flip: the usual recipe of small images."""

from __future__ import annotations

import tensorflow as tf

from std_keras.data.randomness import ALGORITHM, Purpose, derive_seed


def draw_corners(
    padding: int, *, purpose: Purpose, batch_size: int, seed: int, step: int | tf.Tensor
) -> tf.Tensor:
    """(B, 2) int32: row and column, within the padded image, where the crop begins."""
    return tf.random.stateless_uniform(
        (batch_size, 2),
        seed=derive_seed(seed, purpose, step),
        minval=0,
        maxval=2 * padding + 1,
        dtype=tf.int32,
        alg=ALGORITHM,
    )


def draw_flips(*, batch_size: int, seed: int, step: int | tf.Tensor) -> tf.Tensor:
    """(B,) bool: half of the images."""
    uniform = tf.random.stateless_uniform(
        (batch_size,), seed=derive_seed(seed, Purpose.FLIP, step), alg=ALGORITHM
    )
    return uniform < 0.5


def draw_alternating_flips(raw: tf.Tensor, *, seed: int, epoch: int | tf.Tensor) -> tf.Tensor:
    """(B,) bool: half of the images, in the next epoch the other half, and so on.

    So an image comes alternately as it is and mirrored, where independent draws show it the same
    way two epochs in a row half of the time (Jordan 2024, arXiv 2404.00498, section 3.6).

    Args:
        raw: (B,) entries of a source, an index or a record each, by which an image is known.
        seed: decides which half is mirrored in the first epoch.
        epoch: number of the epoch.
    """
    names = raw if raw.dtype == tf.string else tf.strings.as_string(raw)
    key = [int(seed) % 2**63, int(Purpose.FLIP)]
    first = tf.strings.to_hash_bucket_strong(names, 2, key=key)
    return (first + tf.cast(epoch, tf.int64)) % 2 == 1


def crop_and_flip(
    images: tf.Tensor, *, padding: int, corner: tf.Tensor | None, flip: tf.Tensor | None
) -> tf.Tensor:
    """Images (b, H, W, C) uint8 cropped at corners (b, 2) and mirrored where flip (b,) says so."""
    batch, height, width = tf.shape(images)[0], images.shape[1], images.shape[2]
    columns = tf.tile(tf.range(width)[None], (batch, 1))
    # The flip is a reversed list of columns: five times faster than reversing the images.
    if flip is not None:
        columns = tf.where(flip[:, None], columns[:, ::-1], columns)
    if corner is not None:
        around = [padding, padding]
        images = tf.pad(images, [[0, 0], around, around, [0, 0]])
        rows = tf.range(height)[None] + corner[:, :1]
        columns += corner[:, 1:]
        images = tf.gather(images, rows, axis=1, batch_dims=1)
    return tf.gather(images, columns, axis=2, batch_dims=1)

"""The size of a picture by its file's first bytes, in TensorFlow's graphs.

A few bytes can claim any size, and the memory is taken before the pixels turn out to be missing.
"""

from __future__ import annotations

import tensorflow as tf

from std_keras.files.picture_file import MOST_PIXELS


def refuse_too_large(contents: tf.Tensor) -> tf.Tensor:
    """The bytes () of a file; tf.errors.InvalidArgumentError if they claim too many pixels."""
    with tf.control_dependencies([_check_size(_size_in_header(contents))]):
        return tf.identity(contents)


def _check_size(size: tf.Tensor) -> tf.Operation:
    """Refuses a height and width (2,) int64 of too many pixels."""
    pixels = tf.reduce_prod(tf.minimum(tf.abs(size), MOST_PIXELS))
    # One operation: what tf.debugging makes of it takes a tenth of a decoder's time.
    return tf.raw_ops.Assert(
        condition=pixels <= MOST_PIXELS, data=["the image has too many pixels", pixels]
    )


def _size_in_header(contents: tf.Tensor) -> tf.Tensor:
    """Height and width (2,) int64 as the file's first bytes say; zeros if it is none of these."""

    def number(begin: int, kind: tf.DType, *, little_endian: bool = True) -> tf.Tensor:
        part = tf.strings.substr(contents, begin, 2 * kind.size)
        pair = tf.io.decode_raw(part, kind, little_endian=little_endian)
        return tf.reverse(tf.cast(pair[:2], tf.int64), (0,))  # The files say the width first.

    def starts(pattern: str) -> tf.Tensor:
        begin = tf.strings.substr(contents, 0, 30)
        return tf.strings.regex_full_match(begin, rf"(?s){pattern}\C*") & (
            tf.strings.length(contents) >= 30
        )

    return tf.case(
        [
            (
                tf.image.is_jpeg(contents),
                lambda: tf.cast(tf.image.extract_jpeg_shape(contents)[:2], tf.int64),
            ),
            (starts(r"\CPNG"), lambda: number(16, tf.int32, little_endian=False)),
            (starts("GIF8"), lambda: number(6, tf.uint16)),
            (starts("BM"), lambda: number(18, tf.int32)),
        ],
        default=lambda: tf.zeros(2, tf.int64),
    )

"""From an image file to uint8 pixels of one size, in TensorFlow's graphs.

`std_keras.files.picture_file` defines the pixels of a file. TensorFlow decodes the files that it
reads alike, except for the rounding of JPEG's inverse transform; Pillow decodes the others.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from std_keras import xla_cache
from std_keras.data.picture_size import refuse_too_large
from std_keras.files.picture_file import read_pixels


def read_image(path: tf.Tensor, turn: tf.Tensor) -> tf.Tensor:
    """The pixels (H, W, 3) uint8 of a file, upright; see `std_keras.files.picture_file`.

    Args:
        path: () string.
        turn: () int32 as `header.tensorflow_turn` returns it: TensorFlow decodes what it can.

    Raises tf.errors.OpError for anything that is cut off or no image, or by its header of more than
    179 million pixels.
    """
    return tf.cond(
        tf.greater(turn, 0),
        lambda: turned(_decode_plain(tf.io.read_file(path)), turn),
        lambda: _read(path),
    )


def _read(path: tf.Tensor) -> tf.Tensor:
    """Any file, by Pillow."""
    # An eager call has an array around the bytes of the path, a graph has not.
    pixels = tf.numpy_function(
        lambda path: read_pixels(np.asarray(path).item()), [path], tf.uint8, stateful=False
    )
    return tf.ensure_shape(pixels, (None, None, 3))


def _decode_plain(contents: tf.Tensor) -> tf.Tensor:
    """Opaque JPEG or PNG bytes () to pixels (H, W, 3) uint8, as they are stored."""
    contents = refuse_too_large(contents)
    image = tf.io.decode_image(contents, channels=3, expand_animations=False)
    return tf.ensure_shape(image, (None, None, 3))


def turned(image: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """An image (H, W, C) as it is stored, upright. Orientations: CIPA DC-008, section 4.6.4."""

    def upright() -> tf.Tensor:
        rows, columns, swapped = _moves(orientation)
        flipped = tf.cond(rows, lambda: image[::-1], lambda: image)
        flipped = tf.cond(columns, lambda: flipped[:, ::-1], lambda: flipped)
        return tf.cond(swapped, lambda: tf.transpose(flipped, (1, 0, 2)), lambda: flipped)

    return tf.ensure_shape(
        tf.cond(tf.greater(orientation, 1), upright, lambda: image), (None, None, image.shape[-1])
    )


def _moves(orientation: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """What turns a stored image upright: rows flipped, columns flipped, then both transposed."""
    return (
        tf.reduce_any(tf.equal(orientation, (3, 4, 6, 7))),
        tf.reduce_any(tf.equal(orientation, (2, 3, 7, 8))),
        tf.greater_equal(orientation, 5),
    )


def resize_and_crop(images: tf.Tensor, size: int, *, crop_ratio: float = 1.0) -> tf.Tensor:
    """Images (..., H, W, C) uint8 to (..., size, size, C): a square from the centre.

    Bicubic with antialiasing, clipped and rounded. What has the size already is not touched.

    Args:
        images: see above.
        size: side of the square.
        crop_ratio: the short side is scaled to size / crop_ratio before the square is cut, so that
            the square has this part of it (DeiT evaluates with 0.875: 256 to 224).
    """
    short = int(size / crop_ratio)

    def resized() -> tf.Tensor:
        shape = tf.shape(images)[-3:-1]
        height, width = tf.unstack(shape * short // tf.reduce_min(shape))
        pixels = tf.image.resize(images, (height, width), method="bicubic", antialias=True)
        top, left = (height - size) // 2, (width - size) // 2
        return _to_uint8(pixels[..., top : top + size, left : left + size, :])

    same = tf.reduce_all(tf.equal(tf.shape(images)[-3:-1], size))
    squares = tf.cond(same, lambda: images, resized)
    return tf.ensure_shape(squares, (*images.shape[:-3], size, size, images.shape[-1]))


def resize_pixels(image: tf.Tensor, size: int) -> tuple[tf.Tensor, tf.Tensor]:
    """An image (H, W, C) uint8 with its shorter side reduced to `size`, the whole of it.

    Bicubic with antialiasing, clipped and rounded, as `resize_and_crop`. What is not larger is not
    touched.

    Returns:
        The pixels (H', W', C) uint8, and whether they are fewer, () bool.
    """
    shape = tf.shape(image)[:2]
    short = tf.reduce_min(shape)

    def reduced() -> tf.Tensor:
        return _to_uint8(
            tf.image.resize(image, shape * size // short, method="bicubic", antialias=True)
        )

    smaller = short > size
    return tf.cond(smaller, reduced, lambda: image), smaller


Box = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
"""From a picture's height () and width () to a part's top, left, height and width (4,) int32."""


def cut_box(image: tf.Tensor, box: tf.Tensor) -> tf.Tensor:
    """The box (4,) of an image (H, W, C)."""
    top, left, height, width = tf.unstack(box)
    return tf.slice(image, (top, left, 0), (height, width, image.shape[-1]))


def resize_box(image: tf.Tensor, box: tf.Tensor, size: int) -> tf.Tensor:
    """The box (4,) of an image (H, W, C) uint8, scaled to (size, size, C); bicubic, as PIL does."""
    return resize_part(cut_box(image, box), size)


def read_part(path: tf.Tensor, turn: tf.Tensor, box: Box) -> tf.Tensor:
    """As `read_image`, then `cut_box`; of a JPEG that TensorFlow reads only the box is decoded.

    Args:
        path: () string.
        turn: see `read_image`.
        box: of the upright picture.
    """

    def boxed(image: tf.Tensor) -> tf.Tensor:
        part = cut_box(image, box(tf.shape(image)[0], tf.shape(image)[1]))
        return tf.ensure_shape(part, (None, None, 3))

    def plain() -> tf.Tensor:
        contents = tf.io.read_file(path)
        # TensorFlow's own check looks at the first three bytes.
        return tf.cond(
            tf.image.is_jpeg(contents),
            lambda: _decode_jpeg_box(contents, turn, box),
            lambda: boxed(turned(_decode_plain(contents), turn)),
        )

    return tf.cond(tf.greater(turn, 0), plain, lambda: boxed(_read(path)))


def _decode_jpeg_box(contents: tf.Tensor, turn: tf.Tensor, box: Box) -> tf.Tensor:
    """The box of the upright picture, (height, width, 3)."""
    height, width, _ = tf.unstack(tf.image.extract_jpeg_shape(refuse_too_large(contents)))
    rows, columns, swapped = _moves(turn)
    shape = tf.stack([height, width])
    upright = tf.where(swapped, shape[::-1], shape)
    place = box(upright[0], upright[1])
    corner, extent = place[:2], place[2:]
    corner = tf.where(swapped, corner[::-1], corner)
    extent = tf.where(swapped, extent[::-1], extent)
    corner = tf.where(tf.stack([rows, columns]), shape - corner - extent, corner)
    part = tf.image.decode_and_crop_jpeg(contents, tf.concat([corner, extent], 0), channels=3)
    return turned(part, turn)


def resize_part(image: tf.Tensor, size: int) -> tf.Tensor:
    """(H, W, C) uint8 to (size, size, C); bicubic with antialiasing, clipped and rounded."""
    height, width = tf.unstack(tf.shape(image)[:2])

    def enlarged() -> tf.Tensor:
        # Without antialiasing, which does nothing here, it is three times faster.
        return tf.raw_ops.ResizeBicubic(
            images=image[None], size=(size, size), half_pixel_centers=True
        )[0]

    def reduced() -> tf.Tensor:
        return tf.image.resize(image, (size, size), method="bicubic", antialias=True)

    pixels = tf.cond((height <= size) & (width <= size), enlarged, reduced)
    return _to_uint8_compiled(tf.ensure_shape(pixels, (size, size, image.shape[-1])))


def _to_uint8(pixels: tf.Tensor) -> tf.Tensor:
    """Rounds; bicubic overshoots at edges, and a cast alone would wrap 256 to 0."""
    return tf.cast(tf.round(tf.clip_by_value(pixels, 0.0, 255.0)), tf.uint8)


# One pass over the pixels instead of four; for static shapes only, each of which it compiles once.
_to_uint8_compiled = xla_cache.compiled(_to_uint8)

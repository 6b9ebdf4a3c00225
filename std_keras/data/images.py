"""From the bytes of an image file to uint8 pixels of one size."""

from __future__ import annotations

import tensorflow as tf

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".gif")


def decode_rgb(contents: tf.Tensor) -> tf.Tensor:
    """JPEG, PNG, BMP or GIF bytes () to pixels (H, W, 3) uint8.

    Of an animation the first frame; 16-bit channels keep their upper 8 bits; transparency is
    dropped. Raises tf.errors.InvalidArgumentError for anything that is cut off or no image.
    """
    # TensorFlow reads a BMP with a palette as if the palette were grey; so look it up here.
    has_palette = tf.logical_and(
        tf.strings.length(contents) > 54,
        tf.strings.regex_full_match(tf.strings.substr(contents, 0, 30), r"(?s)BM\C{26}\x08\x00"),
    )
    image = tf.cond(
        has_palette,
        lambda: _decode_palette_bmp(contents),
        lambda: tf.io.decode_image(contents, channels=3, expand_animations=False),
    )
    return tf.ensure_shape(image, (None, None, 3))


def _decode_palette_bmp(contents: tf.Tensor) -> tf.Tensor:
    """8-bit BMP: the palette of (blue, green, red, 0) lies between the header and the pixels."""
    pixels_at = tf.io.decode_raw(tf.strings.substr(contents, 10, 4), tf.int32)[0]
    palette_at = 14 + tf.io.decode_raw(tf.strings.substr(contents, 14, 4), tf.int32)[0]
    palette = tf.strings.substr(contents, palette_at, pixels_at - palette_at)
    palette = tf.reshape(tf.io.decode_raw(palette, tf.uint8), (-1, 4))[:, 2::-1]
    indices = tf.io.decode_bmp(contents)[..., 0]
    return tf.gather(palette, tf.cast(indices, tf.int32))


def resize_and_crop(images: tf.Tensor, size: int) -> tf.Tensor:
    """Images (..., H, W, C) uint8 to (..., size, size, C): short side to `size`, centre square.

    Bicubic with antialiasing, clipped and rounded. What has the size already is not touched.
    """

    def resized() -> tf.Tensor:
        shape = tf.shape(images)[-3:-1]
        height, width = tf.unstack(shape * size // tf.reduce_min(shape))
        pixels = tf.image.resize(images, (height, width), method="bicubic", antialias=True)
        top, left = (height - size) // 2, (width - size) // 2
        pixels = pixels[..., top : top + size, left : left + size, :]
        # Bicubic overshoots at edges; a cast alone would wrap 256 to 0.
        return tf.cast(tf.round(tf.clip_by_value(pixels, 0.0, 255.0)), tf.uint8)

    same = tf.reduce_all(tf.equal(tf.shape(images)[-3:-1], size))
    squares = tf.cond(same, lambda: images, resized)
    return tf.ensure_shape(squares, (*images.shape[:-3], size, size, images.shape[-1]))

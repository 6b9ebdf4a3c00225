"""From the bytes of an image file to uint8 pixels of one size."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".gif")
# Pillow's limit, too. A few bytes can claim any size, and the memory is taken before the pixels
# turn out to be missing.
_MOST_PIXELS = 178_956_970


def decode_rgb(contents: tf.Tensor) -> tf.Tensor:
    """JPEG, PNG, BMP or GIF bytes () to pixels (H, W, 3) uint8.

    Of an animation the first frame; 16-bit channels keep their upper 8 bits; transparency is
    dropped. Raises tf.errors.InvalidArgumentError for anything that is cut off or no image, or by
    its header of more than 179 million pixels.
    """
    with tf.control_dependencies([_check_size(_size_in_header(contents))]):
        contents = tf.identity(contents)
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


def _check_size(size: tf.Tensor) -> tf.Operation:
    """Refuses a height and width (2,) int64 of too many pixels."""
    pixels = tf.reduce_prod(tf.minimum(tf.abs(size), _MOST_PIXELS))
    # One operation: what tf.debugging makes of it takes a tenth of a decoder's time.
    return tf.raw_ops.Assert(
        condition=pixels <= _MOST_PIXELS, data=["the image has too many pixels", pixels]
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


def _decode_palette_bmp(contents: tf.Tensor) -> tf.Tensor:
    """8-bit BMP: the palette of (blue, green, red, 0) lies between the header and the pixels."""
    pixels_at = tf.io.decode_raw(tf.strings.substr(contents, 10, 4), tf.int32)[0]
    palette_at = 14 + tf.io.decode_raw(tf.strings.substr(contents, 14, 4), tf.int32)[0]
    palette = tf.strings.substr(contents, palette_at, pixels_at - palette_at)
    palette = tf.reshape(tf.io.decode_raw(palette, tf.uint8), (-1, 4))[:, 2::-1]
    indices = tf.io.decode_bmp(contents)[..., 0]
    return tf.gather(palette, tf.cast(indices, tf.int32))


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


def resize_box(image: tf.Tensor, box: tf.Tensor, size: int) -> tf.Tensor:
    """The box (4,) of an image (H, W, C) uint8, scaled to (size, size, C); bicubic, as PIL does."""
    top, left, height, width = tf.unstack(box)
    part = tf.slice(image, (top, left, 0), (height, width, image.shape[-1]))
    return _resize(part, size)


def decode_box(contents: tf.Tensor, box: Box, size: int) -> tf.Tensor:
    """As `decode_rgb`, then `resize_box`; of a JPEG only the box is decoded."""

    def jpeg() -> tf.Tensor:
        height, width, _ = tf.unstack(tf.image.extract_jpeg_shape(contents))
        with tf.control_dependencies([_check_size(tf.cast([height, width], tf.int64))]):
            height = tf.identity(height)
        part = tf.image.decode_and_crop_jpeg(contents, box(height, width), channels=3)
        return _resize(part, size)

    def other() -> tf.Tensor:
        image = decode_rgb(contents)
        return resize_box(image, box(tf.shape(image)[0], tf.shape(image)[1]), size)

    # TensorFlow's own check looks at the first three bytes.
    return tf.cond(tf.image.is_jpeg(contents), jpeg, other)


def _resize(image: tf.Tensor, size: int) -> tf.Tensor:
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
_to_uint8_compiled = tf.function(_to_uint8, jit_compile=True, autograph=False)

"""From the bytes of an image file to its pixels, by TensorFlow's operations alone.

For exported models, which have no Pillow. `std_keras.files.picture_file` defines the pixels; files
of which TensorFlow would make something else are refused.
"""

from __future__ import annotations

import tensorflow as tf

from std_keras.data.images import turned
from std_keras.data.picture_size import refuse_too_large
from std_keras.files.picture_file import GROUND, ORIENTATION_TAG

# Before a JPEG's other markers: its four channels are CMYK, inverted, as everybody stores them.
_ADOBE = b"\xff\xee\x00\x0eAdobe\x00d\x00\x00\x00\x00\x00"
_EXIF = b"Exif\0\0"
_SHORT, _LONG = 3, 4  # EXIF's numbers for types of two and four bytes.


def decode_rgb(contents: tf.Tensor) -> tf.Tensor:
    """The bytes () of a JPEG, PNG, WebP, BMP or GIF file to pixels (H, W, 3) uint8.

    Upright by EXIF; of an animated GIF the first frame; 16-bit channels keep their upper 8 bits;
    transparent pixels lie over white. Raises tf.errors.InvalidArgumentError for anything else, for
    what is cut off or by its header of more than 179 million pixels, for an animated WebP, a GIF
    with a transparent colour or whose first frame is a part of it, and a BMP that is not plain: 24
    bits, or a palette of 8.
    """
    contents = refuse_too_large(contents)
    data = tf.io.decode_raw(contents, tf.uint8)
    begins = tf.strings.substr(contents, 0, 4)
    image = tf.case(
        [
            (tf.image.is_jpeg(contents), lambda: _decode_jpeg(contents, data)),
            (begins == b"\x89PNG", lambda: _decode_png(contents, data)),
            (begins == b"RIFF", lambda: _decode_webp(contents, data)),
            (begins == b"GIF8", lambda: _decode_gif(contents, data)),
        ],
        default=lambda: _decode_bmp(contents, data),
    )
    return tf.ensure_shape(image, (None, None, 3))


def _decode_jpeg(contents: tf.Tensor, data: tf.Tensor) -> tf.Tensor:
    def is_marker(at: tf.Tensor, exif: tf.Tensor, adobe: tf.Tensor) -> tf.Tensor:
        del exif, adobe
        kind = _number(data, at + 1, 1)
        return (_number(data, at, 1) == 0xFF) & (kind != 0xDA) & (at + 4 < tf.size(data))

    def step(at: tf.Tensor, exif: tf.Tensor, adobe: tf.Tensor) -> tuple[tf.Tensor, ...]:
        kind = _number(data, at + 1, 1)
        here = (kind == 0xE1) & (tf.strings.substr(contents, at + 4, len(_EXIF)) == _EXIF)
        exif = tf.where(here & (exif == 0), at + 4 + len(_EXIF), exif)
        adobe |= (kind == 0xEE) & (tf.strings.substr(contents, at + 4, 5) == b"Adobe")
        length = tf.where(kind == 0xFF, 1, 2 + _number(data, at + 2, 2))  # 0xFF fills.
        return at + length, exif, adobe

    _, exif, adobe = tf.while_loop(is_marker, step, (2, 0, tf.constant(False)))
    unmarked = (tf.image.extract_jpeg_shape(contents)[2] == 4) & ~adobe
    marked = tf.strings.join(
        [tf.strings.substr(contents, 0, 2), _ADOBE, tf.strings.substr(contents, 2, 1 << 30)]
    )
    contents = tf.where(unmarked, marked, contents)
    image = tf.io.decode_jpeg(contents, channels=3)
    return turned(image, _orientation(data, exif))


def _decode_png(contents: tf.Tensor, data: tf.Tensor) -> tf.Tensor:
    def is_chunk(at: tf.Tensor, exif: tf.Tensor, masked: tf.Tensor) -> tf.Tensor:
        del exif, masked
        return at + 8 < tf.size(data)

    def step(at: tf.Tensor, exif: tf.Tensor, masked: tf.Tensor) -> tuple[tf.Tensor, ...]:
        kind = tf.strings.substr(contents, at + 4, 4)
        length = tf.maximum(_number(data, at, 4), 0)
        exif = tf.where(kind == b"eXIf", _after_name(contents, at + 8), exif)
        following = tf.clip_by_value(at + 12 + length, at + 8, tf.size(data))
        return following, exif, masked | (kind == b"tRNS")

    _, exif, masked = tf.while_loop(is_chunk, step, (8, 0, tf.constant(False)))
    depth, color = _number(data, 24, 1), _number(data, 25, 1)
    # TensorFlow's decoder forgets to scale these grey levels when it is asked for opacity.
    scaled = tf.raw_ops.Assert(
        condition=~(masked & (color == 0) & (depth < 8)),
        data=["the PNG has a transparent grey level, and fewer than 8 bits"],
    )
    with tf.control_dependencies([scaled]):
        contents = tf.identity(contents)
    image = tf.cond(
        masked | (color == 4) | (color == 6),
        lambda: _over_ground(tf.io.decode_png(contents, channels=4)),
        lambda: tf.io.decode_png(contents, channels=3),
    )
    return turned(image, _orientation(data, exif))


def _decode_webp(contents: tf.Tensor, data: tf.Tensor) -> tf.Tensor:
    def is_chunk(at: tf.Tensor, exif: tf.Tensor) -> tf.Tensor:
        return (at + 8 < tf.size(data)) & (exif == 0)

    def step(at: tf.Tensor, exif: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        here = tf.strings.substr(contents, at, 4) == b"EXIF"
        length = tf.maximum(_number(data, at + 4, 4, little=True), 0)
        following = at + 8 + length + length % 2
        exif = tf.where(here, _after_name(contents, at + 8), exif)
        return tf.clip_by_value(following, at + 8, tf.size(data)), exif

    extended = tf.strings.substr(contents, 8, 8) == b"WEBPVP8X"
    animated = extended & (tf.bitwise.bitwise_and(_number(data, 20, 1), 2) > 0)
    # TensorFlow's decoder overruns its memory with some.
    still = tf.raw_ops.Assert(
        condition=~animated, data=["the WebP is animated; use one of its frames"]
    )
    with tf.control_dependencies([still]):
        contents = tf.identity(contents)
    _, exif = tf.while_loop(is_chunk, step, (12, 0))
    image = tf.io.decode_webp(contents, channels=0)[0]
    image = tf.cond(tf.shape(image)[-1] == 4, lambda: _over_ground(image), lambda: image[..., :3])
    return turned(tf.ensure_shape(image, (None, None, 3)), _orientation(data, exif))


def _after_name(contents: tf.Tensor, at: tf.Tensor) -> tf.Tensor:
    """Where an EXIF block begins: some programs write JPEG's name of it before it, too."""
    named = tf.strings.substr(contents, at, len(_EXIF)) == _EXIF
    return at + tf.where(named, len(_EXIF), 0)


def _over_ground(rgba: tf.Tensor) -> tf.Tensor:
    """(H, W, 4) uint8 to (H, W, 3)."""
    rgba = tf.cast(rgba, tf.int32)
    color, opacity = rgba[..., :3], rgba[..., 3:]
    mixed = color * opacity + GROUND * (255 - opacity)
    return tf.cast((mixed + 127) // 255, tf.uint8)


def _decode_gif(contents: tf.Tensor, data: tf.Tensor) -> tf.Tensor:
    # The blocks between the header, with its palette, and the first frame.
    def is_before_frame(at: tf.Tensor, inside: tf.Tensor, transparent: tf.Tensor) -> tf.Tensor:
        del transparent
        return (at + 4 < tf.size(data)) & (inside | (_number(data, at, 1) == 0x21))

    def step(at: tf.Tensor, inside: tf.Tensor, transparent: tf.Tensor) -> tuple[tf.Tensor, ...]:
        length = _number(data, at, 1)
        # An extension: 0x21, its kind, and parts with their lengths, the last of which is 0.
        named = ~inside & (_number(data, at + 1, 1) == 0xF9) & (_number(data, at + 3, 1) % 2 == 1)
        following = at + tf.where(inside, 1 + length, 2)
        return following, ~inside | (length > 0), transparent | named

    no = tf.constant(False)
    flags = _number(data, 10, 1)
    palette = tf.where(flags >= 128, 3 * 2 ** (flags % 8 + 1), 0)
    at, _, transparent = tf.while_loop(is_before_frame, step, (13 + palette, no, no))
    opaque = tf.raw_ops.Assert(
        condition=~transparent, data=["the GIF has a transparent colour; use PNG"]
    )
    # TensorFlow takes the first frame for all of the picture.
    frame = _number(data, tf.stack([at + 1, at + 3, at + 5, at + 7]), 2, little=True)
    screen = _number(data, tf.constant([6, 8]), 2, little=True)
    covered = tf.raw_ops.Assert(
        condition=tf.reduce_all(tf.equal(frame, tf.concat([[0, 0], screen], 0))),
        data=["the GIF's first frame is a part of the picture; use PNG"],
    )
    with tf.control_dependencies([opaque, covered]):
        contents = tf.identity(contents)
    return tf.io.decode_image(contents, channels=3, expand_animations=False)


def _decode_bmp(contents: tf.Tensor, data: tf.Tensor) -> tf.Tensor:
    """Also what is no image: TensorFlow's decoder has the words for it."""
    bits, packing = _number(data, 28, 2, little=True), _number(data, 30, 4, little=True)
    is_bmp = tf.strings.substr(contents, 0, 2) == b"BM"
    plain = ((bits == 8) | (bits == 24)) & (packing == 0)
    refusal = tf.raw_ops.Assert(
        condition=plain | ~is_bmp, data=["the BMP must have 24 bits, or a palette of 8"]
    )
    with tf.control_dependencies([refusal]):
        contents = tf.identity(contents)
    return tf.cond(
        is_bmp & (bits == 8),
        lambda: _decode_palette_bmp(contents),
        lambda: tf.io.decode_image(contents, channels=3, expand_animations=False),
    )


def _decode_palette_bmp(contents: tf.Tensor) -> tf.Tensor:
    """8-bit BMP, whose palette of (blue, green, red, 0) lies between the header and the pixels.

    TensorFlow reads it as if it were grey.
    """
    pixels_at = tf.io.decode_raw(tf.strings.substr(contents, 10, 4), tf.int32)[0]
    palette_at = 14 + tf.io.decode_raw(tf.strings.substr(contents, 14, 4), tf.int32)[0]
    palette = tf.strings.substr(contents, palette_at, pixels_at - palette_at)
    palette = tf.reshape(tf.io.decode_raw(palette, tf.uint8), (-1, 4))[:, 2::-1]
    indices = tf.io.decode_bmp(contents)[..., 0]
    return tf.gather(palette, tf.cast(indices, tf.int32))


def _orientation(data: tf.Tensor, exif: tf.Tensor) -> tf.Tensor:
    """The orientation, 1 to 8, of the EXIF block at an offset of the bytes; 1 if that is 0."""

    def noted() -> tf.Tensor:
        little = _number(data, exif, 2) == 0x4949  # "II", for Intel; else "MM".

        def number(at: tf.Tensor, count: int) -> tf.Tensor:
            return _number(data, exif + at, count, little=little)

        directory = number(4, 4)
        count = tf.clip_by_value(number(directory, 2), 0, tf.size(data) // 12)
        entries = directory + 2 + 12 * tf.range(count)
        kinds = number(entries + 2, 2)
        values = tf.where(kinds == _SHORT, number(entries + 8, 2), number(entries + 8, 4))
        found = (number(entries, 2) == ORIENTATION_TAG) & ((kinds == _SHORT) | (kinds == _LONG))
        return tf.reduce_max(tf.where(found, values, 0))

    orientation = tf.cond(exif > 0, noted, lambda: 1)
    return tf.where((orientation >= 1) & (orientation <= 8), orientation, 1)


def _number(
    data: tf.Tensor, at: tf.Tensor | int, count: int, *, little: tf.Tensor | bool = False
) -> tf.Tensor:
    """The unsigned number of `count` bytes at each offset, int32; beyond the end are zeros."""
    offsets = tf.convert_to_tensor(at)[..., None] + tf.range(count)
    inside = (offsets >= 0) & (offsets < tf.size(data))
    parts = tf.cast(tf.gather(data, tf.where(inside, offsets, 0)), tf.int32)
    parts = tf.where(inside, parts, 0)
    parts = tf.where(little, tf.reverse(parts, (-1,)), parts)
    return tf.reduce_sum(parts * 256 ** tf.range(count - 1, -1, -1), axis=-1)

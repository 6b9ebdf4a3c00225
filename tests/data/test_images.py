from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from std_keras.data.graph_decoder import decode_rgb
from std_keras.data.header import tensorflow_turn
from std_keras.data.images import read_image, read_part, resize_and_crop
from std_keras.data.listed import short_sides
from std_keras.errors import InputError

SMOOTH = np.kron(np.random.default_rng(0).integers(0, 256, (5, 7, 3)), np.ones((8, 8, 1))).astype(
    np.uint8
)


def encoded(mode: str, file_format: str, **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(SMOOTH).convert(mode).save(buffer, file_format, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "mode, file_format, tolerance",
    [
        ("RGB", "JPEG", 4),  # decoders may differ in how they upsample the colours
        ("L", "JPEG", 0),
        ("CMYK", "JPEG", 0),
        ("RGB", "PNG", 0),
        ("L", "PNG", 0),
        ("LA", "PNG", 0),
        ("P", "PNG", 0),
        ("1", "PNG", 0),
        ("RGBA", "PNG", 0),
        ("RGB", "BMP", 0),
        ("L", "BMP", 0),
        ("P", "BMP", 0),
        ("P", "GIF", 0),
    ],
)
def test_every_format_becomes_rgb_as_pil_reads_it(mode, file_format, tolerance):
    contents = encoded(mode, file_format)
    expected = np.asarray(Image.open(io.BytesIO(contents)).convert("RGB")).astype(int)
    result = decode_rgb(tf.constant(contents)).numpy()
    assert result.dtype == np.uint8
    assert np.abs(result - expected).max() <= tolerance


def test_16_bit_png_keeps_the_upper_bits():
    buffer = io.BytesIO()
    Image.fromarray(SMOOTH[..., 0].astype(np.uint16) * 256 + 99).save(buffer, "PNG")
    result = decode_rgb(tf.constant(buffer.getvalue()))
    np.testing.assert_array_equal(result, np.repeat(SMOOTH[..., :1], 3, -1))


def test_an_animation_gives_its_first_frame():
    contents = encoded("RGB", "GIF", save_all=True, append_images=[Image.fromarray(255 - SMOOTH)])
    expected = np.asarray(Image.open(io.BytesIO(contents)).convert("RGB"))
    np.testing.assert_array_equal(decode_rgb(tf.constant(contents)), expected)


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "BMP", "GIF", "WEBP"])
@pytest.mark.parametrize("kept", [0.0, 0.01, 0.5, 0.95])
def test_cut_off_files_are_errors(file_format, kept):
    contents = encoded("P" if file_format == "GIF" else "RGB", file_format)
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode_rgb(tf.constant(contents[: int(kept * len(contents))]))


@pytest.mark.parametrize(
    "shape, size", [((40, 56), 16), ((56, 40), 24), ((40, 40), 17), ((9, 30), 32)]
)
def test_resize_and_crop_is_pils_bicubic(shape, size):
    image = np.asarray(Image.fromarray(SMOOTH).resize(shape[::-1], Image.Resampling.BILINEAR))
    height, width = (side * size // min(shape) for side in shape)
    top, left = (height - size) // 2, (width - size) // 2
    # Channel by channel in floating point: on uint8, PIL also rounds between its two passes.
    resized = [
        Image.fromarray(image[..., c].astype(np.float32)).resize(
            (width, height), Image.Resampling.BICUBIC
        )
        for c in range(3)
    ]
    expected = np.clip(np.stack(resized, -1), 0, 255)[top : top + size, left : left + size]
    result = resize_and_crop(tf.constant(image), size)
    assert result.dtype == tf.uint8 and result.shape == (size, size, 3)
    assert np.abs(result.numpy() - expected).max() < 0.501


def test_overshoot_is_clipped():
    edge = np.zeros((8, 8, 1), np.uint8)
    edge[:, 4:] = 255
    result = resize_and_crop(tf.constant(edge), 32).numpy()[16, :, 0].astype(int)
    assert (np.diff(result) >= 0).all() and result[0] == 0 and result[-1] == 255


def test_an_image_of_the_size_is_not_touched():
    image = tf.constant(SMOOTH[:40, :40])
    np.testing.assert_array_equal(resize_and_crop(image, 40), image)


def claiming(file_format: str, width: int, height: int) -> bytes:
    """A small file whose header says that it is a large picture."""
    content = bytearray(encoded("RGB", file_format))
    if file_format == "PNG":
        content[16:24] = struct.pack(">II", width, height)
        content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    elif file_format == "GIF":
        content[6:10] = struct.pack("<HH", width, height)
    elif file_format == "BMP":
        content[18:26] = struct.pack("<ii", width, -height)  # Negative: rows from the top.
    else:
        at = content.find(b"\xff\xc0")
        content[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(content)


@pytest.mark.filterwarnings("error")
def test_a_large_picture_is_measured_without_a_warning_of_pillow(tmp_path):
    (tmp_path / "a").write_bytes(claiming("JPEG", 12_000, 9_000))
    assert short_sides([str(tmp_path / "a")]) == (9_000,)


@pytest.mark.parametrize("file_format", ["PNG", "GIF", "BMP", "JPEG"])
@pytest.mark.parametrize("width, height", [(50_000, 50_000), (13_500, 13_500)])
def test_a_picture_that_is_too_large_by_its_header_is_refused(
    monkeypatch, tmp_path, file_format, width, height
):
    content = claiming(file_format, width, height)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)  # Pillow refuses it, too.
    with Image.open(io.BytesIO(content)) as opened:
        assert opened.size == (width, height)
    with pytest.raises(tf.errors.InvalidArgumentError, match="too many pixels"):
        decode_rgb(tf.constant(content))
    (tmp_path / "a").write_bytes(content)
    path, turn = tf.constant(str(tmp_path / "a")), tensorflow_turn(str(tmp_path / "a"))
    assert turn == (file_format in ("PNG", "JPEG"))
    message = "too many pixels|million pixels"
    with pytest.raises((tf.errors.InvalidArgumentError, InputError), match=message):
        read_image(path, turn)
    with pytest.raises((tf.errors.InvalidArgumentError, InputError), match=message):
        read_part(path, turn, lambda h, w: tf.constant([0, 0, 1, 1]))

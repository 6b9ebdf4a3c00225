"""Against TensorFlow's decoders and resizing, which training and evaluation use."""

from __future__ import annotations

import io
import struct
import sys
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageCms

from std_keras.data.graph_decoder import decode_rgb
from std_keras.data.images import resize_and_crop
from std_keras.errors import InputError
from std_keras.exporting.classifying import center_square, extensions, open_picture
from std_keras.files.picture_file import advice


def saved(tmp_path, image: Image.Image, name: str, **options):
    path = tmp_path / name
    image.save(path, **options)
    return path


@pytest.mark.parametrize("shape", [(50, 71), (71, 50), (33, 33), (9, 200), (200, 9), (600, 450)])
@pytest.mark.parametrize(("size", "ratio"), [(32, 1.0), (32, 0.875), (64, 0.9)])
def test_the_square_is_that_of_evaluation(photograph, shape, size, ratio):
    pixels = np.asarray(Image.fromarray(photograph).resize(shape[::-1]))
    got = center_square(Image.fromarray(pixels), size, crop_ratio=ratio)
    expected = resize_and_crop(tf.constant(pixels), size, crop_ratio=ratio).numpy()
    assert got.dtype == np.uint8
    difference = np.abs(got.astype(int) - expected)
    assert difference.max() <= 1  # Halves, in float32 and in float64.
    assert (difference > 0).mean() < 0.005


def test_grey_squares(photograph):
    grey = photograph[..., 0]
    got = center_square(Image.fromarray(grey), 24)
    expected = resize_and_crop(tf.constant(grey[..., None]), 24).numpy()
    assert got.shape == (24, 24, 1)
    assert np.abs(got.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_of_the_right_size_is_not_touched(photograph, channels):
    pixels = photograph[:40, :40] if channels == 3 else photograph[:40, :40, 0]
    got = center_square(Image.fromarray(pixels), 40, crop_ratio=0.5)
    np.testing.assert_array_equal(got, pixels.reshape(40, 40, channels))


def test_strips_change_nothing(photograph, monkeypatch):
    image = Image.fromarray(photograph)
    whole = center_square(image, 16, crop_ratio=0.8)
    monkeypatch.setattr("std_keras.exporting.classifying.picture._STRIP", 7)
    np.testing.assert_array_equal(center_square(image, 16, crop_ratio=0.8), whole)


def test_a_long_picture_needs_little_memory():
    """Scaled as a whole it would have 64 x 64 million pixels."""
    assert center_square(Image.new("L", (1_000_000, 1), 77), 64).tolist() == [[[77]] * 64] * 64
    assert center_square(Image.new("L", (1, 1_000_000), 77), 64).tolist() == [[[77]] * 64] * 64


@pytest.mark.parametrize(
    ("name", "mode", "options"),
    [
        ("a.png", "RGB", {}),
        ("grey.png", "L", {}),
        ("palette.png", "P", {}),
        ("alpha.png", "RGBA", {}),
        ("grey_alpha.png", "LA", {}),
        ("bits.png", "1", {}),
        ("a.bmp", "RGB", {}),
        ("palette.bmp", "P", {}),
        ("a.jpg", "RGB", {"quality": 95, "subsampling": 0}),
        ("grey.jpg", "L", {"quality": 95}),
    ],
)
def test_pixels_are_those_of_training(tmp_path, photograph, name, mode, options):
    image = Image.fromarray(photograph)
    if mode == "RGBA":
        image.putalpha(Image.fromarray(photograph[..., 1]))
    path = saved(tmp_path, image.convert(mode), name, **options)
    got = np.asarray(open_picture(path)).astype(int)
    content = tf.io.read_file(str(path))
    if name.endswith("jpg"):  # TensorFlow's default inverse transform is a faster, rougher one.
        accurate = tf.io.decode_jpeg(content, channels=3, dct_method="INTEGER_ACCURATE").numpy()
        np.testing.assert_array_equal(got, accurate)
    assert np.abs(got - decode_rgb(content).numpy()).max() <= (8 if name.endswith("jpg") else 0)


def test_16_bits_keep_the_upper_8(tmp_path):
    values = (np.arange(64 * 64).reshape(64, 64) * 16).astype(np.uint16)
    path = saved(tmp_path, Image.fromarray(values), "deep.png")
    got = np.asarray(open_picture(path))
    np.testing.assert_array_equal(got, decode_rgb(tf.io.read_file(str(path))).numpy())
    np.testing.assert_array_equal(got[..., 0], values >> 8)
    tiff = saved(tmp_path, Image.fromarray(values), "deep.tiff")
    np.testing.assert_array_equal(np.asarray(open_picture(tiff)), got)


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "LAB"])
def test_other_colour_spaces(tmp_path, mode):
    red = Image.new("RGB", (20, 20), (200, 40, 30))
    image = red.convert(mode) if mode != "LAB" else to_lab(red)
    path = saved(tmp_path, image, "a.jpg" if mode == "CMYK" else "a.tiff")
    with Image.open(path) as file:
        assert file.mode == mode
    pixels = np.asarray(open_picture(path)).reshape(-1, 3).mean(axis=0)
    np.testing.assert_allclose(pixels, (200, 40, 30), atol=4)


def to_lab(image: Image.Image) -> Image.Image:
    srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    converted = ImageCms.profileToProfile(image, srgb, lab, outputMode="LAB")
    assert converted is not None
    return converted


@pytest.mark.parametrize("orientation", range(1, 9))
def test_it_stands_upright(tmp_path, photograph, orientation):
    """The inverse of each turn, as the EXIF standard (CIPA DC-008, 4.6.4) draws them."""
    stored = {
        1: photograph,
        2: photograph[:, ::-1],
        3: photograph[::-1, ::-1],
        4: photograph[::-1],
        5: photograph.transpose(1, 0, 2),
        6: np.rot90(photograph),
        7: photograph[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(photograph, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path, Image.fromarray(np.ascontiguousarray(stored)), "a.png", exif=exif)
    np.testing.assert_array_equal(np.asarray(open_picture(path)), photograph)


def test_a_damaged_note_about_orientation_is_no_matter(tmp_path, photograph):
    path = saved(
        tmp_path, Image.fromarray(photograph), "a.png", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff"
    )
    np.testing.assert_array_equal(np.asarray(open_picture(path)), photograph)


def test_of_an_animation_the_first_frame(tmp_path):
    frames = [Image.new("RGB", (12, 12), color) for color in ("red", "lime", "blue")]
    for name in ("a.gif", "a.webp", "a.png"):
        path = saved(
            tmp_path, frames[0], name, save_all=True, append_images=frames[1:], lossless=True
        )
        pixels = np.asarray(open_picture(path)).reshape(-1, 3)
        np.testing.assert_array_equal(pixels, [[255, 0, 0]] * 144)


def test_grey_models_get_grey(tmp_path):
    path = saved(tmp_path, Image.new("RGB", (8, 8), (255, 0, 0)), "a.png")
    image = open_picture(path, channels=1)
    assert image.mode == "L"
    assert image.getpixel((0, 0)) == 76  # 0.299 * 255, ITU-R BT.601.


def png_header(width: int, height: int) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 99))


def jpeg(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG")
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("bomb.png", png_header(50_000, 50_000), "more than 178 million pixels"),
        ("just_over.png", png_header(17_896, 10_000), "more than 178 million pixels"),
        ("text.jpg", b"not a picture", "is not an image"),
        ("empty.jpg", b"", "is not an image"),
        ("short.png", png_header(100, 100), "cannot be read|is damaged"),
        ("cut.jpg", jpeg(np.zeros((90, 90, 3), np.uint8))[:500], "is cut off"),
        ("program.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "is not an image"),
    ],
)
def test_refused_files(tmp_path, name, content, said):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=said) as refusal:
        open_picture(path)
    assert str(path) in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_values_of_unknown_range_are_refused(tmp_path):
    for name, values in (
        ("float.tiff", np.ones((8, 8), np.float32)),
        ("deep.tiff", np.full((8, 8), 1 << 20, np.int32)),
    ):
        path = saved(tmp_path, Image.fromarray(values), name)
        with pytest.raises(InputError, match="unknown range"):
            open_picture(path)


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        open_picture(tmp_path / "a.png")
    with pytest.raises(InputError, match="is a pipe, a device or a folder"):
        open_picture(tmp_path)


def test_known_endings():
    assert {".jpg", ".jpeg", ".png", ".gif", ".webp", ".tiff", ".bmp"} <= extensions()
    assert not {".eps", ".ps", ".wmf", ".pdf", ".txt"} & extensions()


def test_heic_is_read_as_phones_write_it(tmp_path):
    """libheif, through pillow-heif, writes the file; within the loss of HEVC at full quality."""
    heif = pytest.importorskip("pillow_heif")
    rows = np.linspace(0, 255, 64, dtype=np.uint8)
    pixels = np.stack([np.tile(rows, (48, 1)), np.full((48, 64), 90, np.uint8)] * 2, -1)[..., :3]
    heif.from_pillow(Image.fromarray(pixels)).save(tmp_path / "a.heic", quality=100)
    found = np.asarray(open_picture(tmp_path / "a.heic"), int)
    assert found.shape == (48, 64, 3)
    assert np.abs(found - pixels).mean() < 4
    assert {".heic", ".heif"} <= extensions()


def test_heic_without_its_reader_says_what_to_do(tmp_path, monkeypatch):
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic")
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    others = {name: how for name, how in Image.OPEN.items() if name != "HEIF"}
    monkeypatch.setattr(Image, "OPEN", others)
    monkeypatch.setattr(Image, "ID", [name for name in Image.ID if name != "HEIF"])
    assert not {".heic", ".heif"} & extensions()
    with pytest.raises(InputError, match=r"not an image .* pip install 'std_keras\[heic\]'"):
        open_picture(tmp_path / "a.heic")
    assert "std_keras[heic]" in advice([".txt", ".heic"]) and advice([".txt"]) == ""

"""The pixels of a file are the same wherever it is read: a gallery of formats, turns and modes."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, features

from std_keras.data.graph_decoder import decode_rgb
from std_keras.data.header import tensorflow_turn
from std_keras.data.images import read_image, read_part, resize_box, resize_part
from std_keras.files.picture_file import open_picture

RNG = np.random.default_rng(0)
# Smooth, so that decoders of JPEG differ little; its sides differ, so that a turn shows.
COLORS = np.asarray(
    Image.fromarray(RNG.integers(0, 256, (4, 5, 3)).astype(np.uint8)).resize((56, 40))
)
OPACITY = np.tile(np.linspace(0, 255, 56).astype(np.uint8), (40, 1))
STORED = {
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.swapaxes(0, 1),
    6: lambda upright: np.rot90(upright),
    7: lambda upright: upright[::-1, ::-1].swapaxes(0, 1),
    8: lambda upright: np.rot90(upright, -1),
}
LOSSY = 10  # Grey levels between two decoders of JPEG, and what its quality of 97 costs.


def over_white(colors: np.ndarray, opacity: np.ndarray) -> np.ndarray:
    part = opacity[..., None] / 255
    return np.rint(colors * part + 255 * (1 - part)).astype(np.uint8)


def image_of(mode: str, orientation: int) -> tuple[Image.Image, np.ndarray]:
    """A picture in a mode, as it is stored, and the pixels that are to be read."""
    picture = Image.fromarray(COLORS)
    if mode in ("RGBA", "LA"):
        picture = picture.convert(mode[:-1])
        expected = over_white(np.asarray(picture.convert("RGB")), OPACITY)
        picture.putalpha(Image.fromarray(OPACITY))
    elif mode == "P+":  # A palette with a transparent colour.
        picture = picture.quantize(16)
        opaque = np.asarray(picture) != 3
        expected = np.where(opaque[..., None], np.asarray(picture.convert("RGB")), 255)
        expected = expected.astype(np.uint8)
    elif mode == "I;16":
        deep = np.asarray(picture.convert("L")).astype(np.uint16) * 256 + 99
        expected = np.repeat(deep[..., None] >> 8, 3, -1).astype(np.uint8)
        return Image.fromarray(np.ascontiguousarray(STORED[orientation](deep))), expected
    else:
        picture = picture.convert(mode)
        expected = np.asarray(picture.convert("RGB"))
    if mode in ("P", "P+"):
        indices = np.ascontiguousarray(STORED[orientation](np.asarray(picture)))
        stored = Image.fromarray(indices, mode="P")
        stored.putpalette(picture.getpalette())
        if mode == "P+":
            stored.info["transparency"] = 3
        return stored, expected
    if mode == "1":
        turned = np.ascontiguousarray(STORED[orientation](expected[..., 0]))
        return Image.fromarray(turned).convert("1"), expected
    turned = np.ascontiguousarray(STORED[orientation](np.asarray(picture)))
    return Image.fromarray(turned, mode="CMYK" if mode == "CMYK" else None), expected


def saved(folder, name: str, mode: str, orientation: int, **options):
    stored, expected = image_of(mode, orientation)
    exif = Image.Exif()
    exif[0x0112] = orientation
    if orientation > 1:
        options["exif"] = exif
    if "transparency" in stored.info:
        options["transparency"] = stored.info["transparency"]
    stored.save(folder / name, **options)
    return folder / name, expected


def check(path, expected: np.ndarray, *, tolerance: int, served: bool = True) -> None:
    """All readers give the expected pixels."""
    readers = {
        "classify": np.asarray(open_picture(path)),
        "training": read_image(tf.constant(str(path)), tensorflow_turn(str(path))).numpy(),
    }
    content = tf.io.read_file(str(path))
    if served:
        readers["SavedModel"] = decode_rgb(content).numpy()
    else:
        with pytest.raises(tf.errors.InvalidArgumentError):
            decode_rgb(content)
    for name, pixels in readers.items():
        assert pixels.dtype == np.uint8 and pixels.shape == expected.shape, name
        assert np.abs(pixels.astype(int) - expected).max() <= tolerance, name


KINDS = [
    ("a.jpg", mode, {"quality": 97, "subsampling": 0, **options}, LOSSY, True)
    for mode in ("RGB", "L", "CMYK")
    for options in ({}, {"progressive": True})
]
KINDS += [
    ("a.png", mode, {}, 0, True) for mode in ("RGB", "L", "1", "P", "RGBA", "LA", "P+", "I;16")
]
KINDS += [("a.webp", mode, {"lossless": True, "exact": True}, 0, True) for mode in ("RGB", "RGBA")]
KINDS += [("a.tiff", mode, {}, 0, False) for mode in ("RGB", "L", "1", "P", "RGBA", "CMYK", "I;16")]
if features.check("avif"):
    KINDS += [
        ("a.avif", mode, {"quality": 100, "subsampling": "4:4:4"}, 4, False)
        for mode in ("RGB", "RGBA")
    ]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("name", "mode", "options", "tolerance", "served"), KINDS)
def test_formats_with_orientation(tmp_path, name, mode, options, tolerance, served, orientation):
    path, expected = saved(tmp_path, name, mode, orientation, **options)
    check(path, expected, tolerance=tolerance, served=served)


@pytest.mark.parametrize(
    ("name", "mode", "served"),
    [
        ("a.gif", "P", True),
        ("a.gif", "L", True),
        ("a.gif", "P+", False),
        ("a.bmp", "RGB", True),
        ("a.bmp", "P", True),
        ("a.bmp", "L", True),
        ("a.bmp", "1", False),
        ("a.ppm", "RGB", False),
        ("a.tga", "RGBA", False),
    ],
)
def test_formats_without_orientation(tmp_path, name, mode, served):
    path, expected = saved(tmp_path, name, mode, 1)
    check(path, expected, tolerance=0, served=served)


def without_adobe(path) -> None:
    content = path.read_bytes()
    at = content.find(b"\xff\xee")
    end = at + 2 + int.from_bytes(content[at + 2 : at + 4], "big")
    path.write_bytes(content[:at] + content[end:])


@pytest.mark.parametrize("orientation", [1, 6])
def test_cmyk_without_adobes_marker(tmp_path, orientation):
    path, expected = saved(tmp_path, "a.jpg", "CMYK", orientation, quality=97)
    without_adobe(path)
    assert b"Adobe" not in path.read_bytes()
    check(path, expected, tolerance=LOSSY)


def bmp(
    *, bits: int, packing: int, pixels: bytes, palette: bytes = b"", masks: bytes = b""
) -> bytes:
    """A BMP of 4 x 2 pixels, the lower row first."""
    at = 54 + len(masks) + len(palette)
    head = struct.pack("<2sIHHI", b"BM", at + len(pixels), 0, 0, at)
    colors = len(palette) // 4
    info = struct.pack("<IiiHHIIiiII", 40, 4, 2, 1, bits, packing, len(pixels), 0, 0, colors, 0)
    return head + info + masks + palette + pixels


RED, GREEN, WHITE = (255, 0, 0), (0, 255, 0), (255, 255, 255)
PALETTE = bytes((0, 0, 255, 0, 0, 255, 0, 0, 255, 255, 255, 0))
FOUR_BY_TWO = np.array([[RED, GREEN, WHITE, RED], [GREEN] * 4], np.uint8)
BMPS = {
    "4 bits": bmp(bits=4, packing=0, palette=PALETTE, pixels=b"\x11\x11\0\0\x01\x20\0\0"),
    "16 bits": bmp(
        bits=16, packing=0, pixels=struct.pack("<8H", *[0x3E0] * 4, 0x7C00, 0x3E0, 0x7FFF, 0x7C00)
    ),
    "run lengths": bmp(
        bits=8,
        packing=1,
        palette=PALETTE,
        pixels=bytes((4, 1, 0, 0, 1, 0, 1, 1, 1, 2, 1, 0, 0, 0, 0, 1)),
    ),
}


@pytest.mark.parametrize("kind", BMPS)
def test_bmps_that_tensorflow_cannot_read(tmp_path, kind):
    path = tmp_path / "a.bmp"
    path.write_bytes(BMPS[kind])
    check(path, FOUR_BY_TWO, tolerance=0, served=False)


def test_what_counts_is_the_content_not_the_name(tmp_path):
    for kind in ("webp", "png"):
        path, expected = saved(tmp_path, f"a.{kind}", "RGBA", 6, lossless=True, exact=True)
        check(path.rename(tmp_path / f"{kind}.jpg"), expected, tolerance=0)


def test_an_animated_webp_is_not_served(tmp_path):
    frames = [Image.fromarray(COLORS), Image.fromarray(255 - COLORS)]
    frames[0].save(tmp_path / "a.webp", save_all=True, append_images=frames[1:], lossless=True)
    check(tmp_path / "a.webp", COLORS, tolerance=0, served=False)


@pytest.mark.parametrize("endian", ["<", ">"])
def test_orientation_in_both_byte_orders_behind_other_blocks(tmp_path, endian):
    mark = b"II*\0" if endian == "<" else b"MM\0*"
    entries = [(0x010F, 2, 2, b"A\0\0\0"), (0x0112, 3, 1, struct.pack(f"{endian}H2x", 8))]
    block = mark + struct.pack(f"{endian}IH", 10, 0)[:4] + b"\0\0"  # The directory begins at 10.
    block += struct.pack(f"{endian}H", len(entries))
    for tag, kind, count, value in entries:
        block += struct.pack(f"{endian}HHI", tag, kind, count) + value
    block += bytes(4)
    path, expected = saved(tmp_path, "a.jpg", "RGB", 8, quality=97, subsampling=0)
    plain = io.BytesIO()
    Image.open(path).save(plain, "JPEG", quality=97, subsampling=0, exif=b"Exif\0\0" + block)
    content = plain.getvalue()
    xmp = b"http://ns.adobe.com/xap/1.0/\0<x/>"
    xmp = b"\xff\xe1" + struct.pack(">H", len(xmp) + 2) + xmp
    path.write_bytes(content[:2] + xmp + b"\xff" + content[2:])  # A byte that fills, too.
    check(path, expected, tolerance=LOSSY)


@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_box_is_that_of_the_upright_picture(tmp_path, name, orientation):
    # Without subsampled colours, which a decoder of a part may interpolate differently at its edge.
    options = {"quality": 97, "subsampling": 0} if name == "a.jpg" else {}
    path, expected = saved(tmp_path, name, "RGB", orientation, **options)
    seen = []

    def box(height, width):
        seen.append((int(height), int(width)))
        return tf.constant((3, 20, 30, 25))

    part = read_part(tf.constant(str(path)), tf.constant(orientation), box)
    assert seen == [COLORS.shape[:2]]
    got = resize_part(part, 32).numpy()
    whole = read_image(tf.constant(str(path)), tf.constant(orientation))
    np.testing.assert_array_equal(got, resize_box(whole, tf.constant((3, 20, 30, 25)), 32))
    assert (
        np.abs(
            got - resize_box(tf.constant(expected), (3, 20, 30, 25), 32).numpy().astype(int)
        ).max()
        <= LOSSY
    )


def exif_block(orientation: int, *, order: str, kind: int) -> bytes:
    """The orientation as a number of two bytes (kind 3) or four (4)."""
    value = struct.pack(f"{order}HH", orientation, 0)
    if kind == 4:
        value = struct.pack(f"{order}I", orientation)
    tag = struct.pack(f"{order}HHHI", 1, 0x0112, kind, 1) + value + bytes(4)
    return (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, 8) + tag


@pytest.mark.parametrize("named", [b"", b"Exif\0\0"])
@pytest.mark.parametrize("kind", [3, 4])
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("ending", ["jpg", "png", "webp"])
def test_orientations_as_programs_write_them(tmp_path, ending, order, kind, named):
    path, expected = saved(tmp_path, f"a.{ending}", "RGB", 1, quality=97, subsampling=0)
    upright = np.rot90(expected, -1)
    block = exif_block(6, order=order, kind=kind)
    content = path.read_bytes()
    if ending == "jpg":
        segment = b"Exif\0\0" + block
        head = b"\xff\xe1" + struct.pack(">H", len(segment) + 2)
        path.write_bytes(content[:2] + head + segment + content[2:])
    elif ending == "png":
        chunk = b"eXIf" + named + block
        whole = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
        path.write_bytes(content[:33] + whole + content[33:])
    else:
        Image.fromarray(expected).save(path, lossless=True, exact=True, exif=named + block)
    check(path, upright, tolerance=LOSSY)


def test_a_gif_whose_first_frame_is_a_part_of_it(tmp_path):
    path, expected = saved(tmp_path, "a.gif", "P", 1)
    content = bytearray(path.read_bytes())
    content[6:10] = struct.pack("<HH", 60, 50)  # The screen: the frame has 56 x 40.
    path.write_bytes(content)
    with Image.open(path) as picture:
        whole = np.asarray(picture.convert("RGB"))
    np.testing.assert_array_equal(whole[:40, :56], expected)
    check(path, whole, tolerance=0, served=False)


@pytest.mark.filterwarnings("error")
def test_a_damaged_note_is_not_the_users_affair(tmp_path):
    path, expected = saved(tmp_path, "a.jpg", "RGB", 1, quality=97, subsampling=0)
    segment = b"Exif\0\0" + exif_block(6, order="<", kind=3)[:12]
    content = path.read_bytes()
    head = b"\xff\xe1" + struct.pack(">H", len(segment) + 2)
    path.write_bytes(content[:2] + head + segment + content[2:])
    check(path, expected, tolerance=LOSSY)

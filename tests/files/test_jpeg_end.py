"""JPEGs that are cut, and such as only look so, told from each other."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from std_keras.data.header import tensorflow_turn
from std_keras.data.images import read_image
from std_keras.errors import InputError
from std_keras.files.jpeg_end import jpeg_end
from std_keras.files.picture_file import check_whole, open_picture

PIXELS = np.random.default_rng(1).integers(0, 256, (60, 80, 3)).astype(np.uint8)
NOISE = Image.fromarray(PIXELS)
SMOOTH = Image.fromarray(PIXELS[:5, :6]).resize((48, 40))
END = b"\xff\xd9"


def jpeg(picture: Image.Image, **options) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=95, **options)
    return stream.getvalue()


def one_scan_for_each_color(*, scans: int = 3) -> bytes:
    """Put together from three grey files, as Pillow writes no such file."""
    parts = [jpeg(plane) for plane in SMOOTH.convert("YCbCr").split()]
    frame, pixels = parts[0].find(b"\xff\xc0"), parts[0].find(b"\xff\xda")
    height, width = SMOOTH.height, SMOOTH.width
    whole = parts[0][:frame]
    whole += b"\xff\xc0" + struct.pack(">HBHHB", 17, 8, height, width, 3)
    whole += b"\1\x11\0\2\x11\0\3\x11\0" + parts[0][frame + 13 : pixels]
    for number, part in enumerate(parts[:scans], start=1):
        coded = part[part.find(b"\xff\xda") + 10 : -2]
        whole += b"\xff\xda\0\x08\1" + bytes([number]) + b"\0\0\x3f\0" + coded
    return whole + END


def saved(tmp_path, content: bytes) -> str:
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    return str(path)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(one_scan_for_each_color(), id="a scan for each colour"),
        pytest.param(jpeg(SMOOTH, progressive=True), id="progressive"),
        pytest.param(jpeg(SMOOTH.convert("L"), progressive=True), id="grey progressive"),
        pytest.param(jpeg(SMOOTH.convert("CMYK"), progressive=True), id="CMYK progressive"),
        pytest.param(jpeg(SMOOTH, restart_marker_blocks=2), id="restarts"),
        pytest.param(jpeg(SMOOTH) + b"\0\0\0\x18ftypmp42" + PIXELS.tobytes(), id="with a film"),
        pytest.param(jpeg(SMOOTH) + jpeg(NOISE), id="with a second picture"),
        pytest.param(jpeg(SMOOTH, comment=jpeg(NOISE)), id="with a picture inside a note"),
        pytest.param(b"\xff\xd8\xff\xff" + jpeg(SMOOTH)[2:], id="bytes that fill"),
    ],
)
def test_whole_jpegs_are_read_everywhere(tmp_path, content):
    path = saved(tmp_path, content)
    with Image.open(io.BytesIO(content)) as picture:  # Pillow alone.
        expected = np.asarray(picture.convert("RGB"))
    check_whole(path)
    np.testing.assert_array_equal(np.asarray(open_picture(path)), expected)
    trained = read_image(tf.constant(path), tensorflow_turn(path)).numpy()
    assert np.abs(trained.astype(int) - expected).max() <= 10


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(jpeg(NOISE)[:3000] + END, id="ended"),
        pytest.param(jpeg(NOISE)[:3000] + bytes(3000), id="filled with zeros"),
        pytest.param(jpeg(NOISE)[:3000] + END + PIXELS.tobytes(), id="with a film"),
        pytest.param(jpeg(NOISE, progressive=True)[:3000] + END, id="progressive"),
        pytest.param(jpeg(NOISE, progressive=True)[:3000] + bytes(3000), id="progressive, zeros"),
        pytest.param(one_scan_for_each_color(scans=2), id="a colour is missing"),
        pytest.param(jpeg(NOISE)[:-2], id="without its end"),
    ],
)
def test_cut_jpegs_are_refused(tmp_path, content):
    path = saved(tmp_path, content)
    with pytest.raises(InputError, match=r"a\.jpg (is cut off|cannot be read)"):
        open_picture(path)
    with pytest.raises(InputError, match=r"a\.jpg is cut off"):
        check_whole(path)


def test_every_scan_of_a_progressive_file_is_needed():
    whole = jpeg(NOISE, progressive=True)
    begins = [i for i in range(len(whole)) if whole[i : i + 2] == b"\xff\xda"]
    assert len(begins) > 5 and not jpeg_end(whole).lacks_detail
    for begin in begins[1:]:
        assert jpeg_end(whole[:begin] + END).lacks_detail


def test_any_bytes_have_an_answer():
    whole, rng = jpeg(SMOOTH, progressive=True), np.random.default_rng(0)
    for _ in range(300):
        spoilt = bytearray(whole)
        for at in rng.integers(2, len(whole), 4):
            spoilt[at] = rng.integers(0, 256)
        jpeg_end(bytes(spoilt[: rng.integers(2, len(whole))]))

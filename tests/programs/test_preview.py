"""The contact sheet: rows of what a preset makes, and of what a teacher sees of it."""

from __future__ import annotations

import os

import keras
import numpy as np
import pytest
from PIL import Image

from std_keras.errors import InputError
from std_keras.programs import preview

GAP, LINE = 4, 18


@pytest.fixture
def pictures(tmp_path):
    """Two of 24x24 pixels."""
    found = np.random.default_rng(0).integers(0, 256, (2, 24, 24, 3), dtype=np.uint8)
    (tmp_path / "photos").mkdir()
    for number, pixels in enumerate(found):
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{number}.png")
    return found


def sheet(tmp_path, *flags):
    common = ["--image_size=8", "--columns=2", "--steps=1", "--augmentation=none"]
    output = tmp_path / "sheet.png"
    preview.main(
        [f"--images={tmp_path / 'photos'}", f"--output={output}", *common, *flags], lambda: False
    )
    return np.asarray(Image.open(output))


def row(pixels, number, side):
    """The two pictures of a row."""
    top = number * (LINE + side + GAP) + LINE
    return [pixels[top : top + side, GAP + i * (side + GAP) :][:, :side] for i in range(2)]


def test_a_teacher_sees_the_pictures(pictures, tmp_path):
    """`none` changes nothing, so a view of the pictures' own size is the pictures."""
    inputs = keras.Input((24, 24, 3))
    keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(inputs)).save(tmp_path / "t.keras")
    pixels = sheet(tmp_path, f"--teacher={tmp_path / 't.keras'},input=byte")
    assert pixels.shape == (3 * (LINE + 24 + GAP), GAP + 2 * (24 + GAP), 3)
    for own, expected in zip(row(pixels, 2, 24), pictures, strict=True):
        np.testing.assert_array_equal(own, expected)
    for own in row(pixels, 1, 24):  # The student's pixels, drawn as squares of three.
        np.testing.assert_array_equal(own, np.kron(own[1::3, 1::3], np.ones((3, 3, 1), np.uint8)))


def test_without_a_teacher_there_is_no_other_row(pictures, tmp_path):
    assert sheet(tmp_path).shape == (2 * (LINE + 8 + GAP), GAP + 2 * (8 + GAP), 3)


def refusal(tmp_path, *flags):
    with pytest.raises(InputError) as caught:
        sheet(tmp_path, *flags)
    return str(caught.value)


def test_a_sheet_that_no_memory_holds(pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(preview, "_rows", lambda *_: pytest.fail("it was begun"))
    assert "--scale=9999: the sheet would have" in refusal(tmp_path, "--scale=9999")


def test_no_pictures_and_too_few(pictures, tmp_path):
    assert "--columns=3" in refusal(tmp_path, "--columns=3")
    assert "need at least 2" in refusal(tmp_path, "--columns=1")
    (tmp_path / "empty").mkdir()
    assert "no pictures in it" in refusal(tmp_path, f"--images={tmp_path / 'empty'}")


def test_a_pipe_is_left_out_and_a_link_is_followed(pictures, tmp_path):
    os.mkfifo(tmp_path / "photos" / "0.jpg")
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "class").symlink_to(tmp_path / "photos")
    assert sheet(tmp_path, f"--images={tmp_path / 'links'}").shape == sheet(tmp_path).shape


def test_a_place_that_cannot_be_written(pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(preview, "_rows", lambda *_: pytest.fail("it was begun"))
    (tmp_path / "file").touch()
    assert f"{tmp_path / 'file'}" in refusal(tmp_path, f"--output={tmp_path / 'file' / 'a.png'}")

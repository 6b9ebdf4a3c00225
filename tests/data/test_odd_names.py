"""Folders of images whose names are not plain ASCII."""

from __future__ import annotations

import os

import numpy as np
import pytest
from PIL import Image

from std_keras import data
from std_keras.errors import InputError

NFC, NFD = "caf\u00e9", "cafe\u0301"


def picture(path, value=9):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:  # Pillow's own open encodes the name strictly.
        Image.fromarray(np.full((4, 4, 3), value, np.uint8)).save(file, "png")


def load(folder, **options):
    return data.load(f"folder:{folder}", image_size=4, **options)


@pytest.mark.parametrize("cache_gb", [1.0, 0.0])
@pytest.mark.parametrize("folder", ["a[1] *", "back\\slash", os.fsdecode(b"caf\xe9")])
def test_names_of_files_and_of_the_folder_may_be_anything(tmp_path, folder, cache_gb):
    names = ["a,b.png", "lr=[1].png", "q?*.png", "ü.png", os.fsdecode(b"\xe9.png"), " x .png"]
    for part in ("train", "val"):
        for index, name in enumerate(names):
            picture(tmp_path / folder / part / "x y" / name, index)
    loaded = load(tmp_path / folder, cache_gb=cache_gb)
    images, _ = loaded.train.take()
    assert sorted(images[:, 0, 0, 0]) == list(range(len(names)))
    assert loaded.label_names == ("x y",)


def test_a_damaged_file_with_a_name_that_is_not_utf8_is_named(tmp_path):
    for part in ("train", "val"):
        picture(tmp_path / part / "x" / "1.png")
    (tmp_path / "train" / "x" / os.fsdecode(b"\xe9.png")).write_bytes(b"nothing")
    with pytest.raises(InputError, match="1 of 3 images cannot be decoded"):
        load(tmp_path)
    skipped = load(tmp_path, corrupt_images="skip").skipped
    assert [os.fsencode(name)[-5:] for name in skipped] == [b"\xe9.png"]


def test_two_spellings_of_one_class_are_one_class(tmp_path):
    """The order is that of the normalized names, or labels of train/ and val/ would differ."""
    for part, name in (("train", NFC), ("val", NFD)):
        picture(tmp_path / part / name / "1.png", 1)
        picture(tmp_path / part / "caff" / "1.png", 2)
    loaded = load(tmp_path)
    assert loaded.label_names == ("caff", NFC)
    for part in (loaded.train, loaded.test):
        images, labels = part.take()
        assert {int(k): int(i[0, 0, 0]) for k, i in zip(labels, images, strict=True)} == {
            0: 2,
            1: 1,
        }


def test_both_spellings_side_by_side_are_refused(tmp_path):
    for part in ("train", "val"):
        for name in (NFC, NFD):
            picture(tmp_path / part / name / "1.png")
    with pytest.raises(InputError, match="two class folders called"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("name", "words"), [(b"caf\xe9", r"caf\\xe9.*not UTF-8; rename"), (b"a\nb", "line break")]
)
def test_a_class_whose_name_labels_txt_cannot_hold_is_refused(tmp_path, name, words):
    for part in ("train", "val"):
        picture(tmp_path / part / os.fsdecode(name) / "1.png")
    with pytest.raises(InputError, match=words):
        load(tmp_path)

"""Class names without the images."""

from __future__ import annotations

import pytest
from PIL import Image

from std_keras.data import load
from std_keras.data.class_names import class_names
from std_keras.errors import InputError


def test_they_are_those_of_the_loaded_data(tmp_path):
    rows = ["path,label,split"]
    for split in "train", "val":
        for name in "b", "a":
            folder = tmp_path / split / name
            folder.mkdir(parents=True)
            Image.new("RGB", (8, 8)).save(folder / "x.png")
            rows.append(f"{split}/{name}/x.png,{name},{split}")
    (tmp_path / "list.csv").write_text("\n".join(rows))
    for name in "digits", f"folder:{tmp_path}", f"csv:{tmp_path / 'list.csv'}":
        assert class_names(name) == load(name, image_size=8).label_names


def test_tfds_says_what_its_code_knows(tmp_path):
    names = class_names("imagenet2012", data_dir=str(tmp_path))
    assert (len(names), names[0], names[-1]) == (1000, "n01440764", "n15075141")


@pytest.mark.parametrize("name", ["cifar100", "folder:/nowhere", "csv:/nowhere.csv", "cifar1000"])
def test_names_that_are_not_here_get_a_sentence(tmp_path, name):
    with pytest.raises(InputError, match=f"dataset={name}"):
        class_names(name, data_dir=str(tmp_path))

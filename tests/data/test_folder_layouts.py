"""Data as people have it: without a split, with test/, with copies, as a table."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from PIL import Image

from std_keras.data import load, summary
from std_keras.data.files import FileSource
from tests.data.refusal import refusal

NUMBERS = {"ant": range(20), "bee": range(20, 30), "train": range(30, 34)}


def picture(path, number):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (20 + number % 3, 24), (number * 5, 0, 77)).save(path)


@pytest.fixture
def classes(tmp_path):
    """Class folders without a split, one of them called train."""
    for name, numbers in NUMBERS.items():
        for number in numbers:
            picture(tmp_path / "photos" / name / f"{number}.png", number)
    return tmp_path / "photos"


def seen(source) -> set[int]:
    return set((source.take()[0][:, 0, 0, 0].astype(int) // 5).tolist())


def counts(source) -> list[int]:
    return np.bincount(source.labels(), minlength=3).tolist()


@pytest.mark.parametrize("cache_gb", [4.0, 0.0])
def test_class_folders_are_cut_into_parts(classes, cache_gb):
    options = {"image_size": 16, "test_fraction": 0.25, "cache_gb": cache_gb}
    data = load(f"folder:{classes}", **options, validation_fraction=0.2)
    assert data.label_names == ("ant", "bee", "train")
    assert counts(data.test)[0] == 5 and counts(data.test)[2] == 1 and data.test.size == 8
    assert counts(data.validation) == [3, 1, 1] or counts(data.validation) == [3, 2, 0]
    parts = [seen(part) for part in (data.train, data.validation, data.test)]
    assert set().union(*parts) == set(range(34)) and sum(map(len, parts)) == 34
    assert data.origins["test"] == (
        "test_fraction=0.25 of each class of the class folders, test_seed=0"
    )
    again = load(f"folder:{classes}", **options, data_seed=5)
    assert seen(again.test) == seen(data.test)
    assert seen(load(f"folder:{classes}", **options, test_seed=1).test) != seen(data.test)


def test_streamed_and_held_folders_have_the_same_parts(classes):
    options = {"image_size": 16, "test_fraction": 0.25, "validation_fraction": 0.3}
    held, streamed = (load(f"folder:{classes}", **options, cache_gb=gb) for gb in (4.0, 0.0))
    assert isinstance(streamed.validation, FileSource)
    for part in ("train", "validation", "test"):
        assert seen(getattr(held, part)) == seen(getattr(streamed, part))


def test_without_a_fraction_it_says_which_to_give(classes):
    message = refusal(f"folder:{classes}")
    assert "has class folders, but no" in message and "test_fraction=0.2" in message
    whole = classes.parent / "whole"
    whole.mkdir()
    classes.rename(whole / "train")
    assert f"no directory {whole / 'val'} nor test/; pass test_fraction=0.2" in refusal(
        f"folder:{whole}"
    )
    assert load(f"folder:{whole}", image_size=16, test_fraction=0.5).test.size == 17


def test_other_data_is_evaluated_as_a_whole(classes):
    data = load(f"folder:{classes}", image_size=16, whole_as_test=True)
    assert data.test.size == data.train.size == 34
    assert data.origins["test"] == "the class folders, all of it"


def test_copies_of_a_picture_are_in_one_part(classes):
    for number in NUMBERS["ant"]:
        shutil.copy(classes / "ant" / f"{number}.png", classes / "ant" / f"copy_{number}.png")
    options = {"image_size": 16, "test_fraction": 0.2, "validation_fraction": 0.2}
    data = load(f"folder:{classes}", **options)
    parts = [seen(part) for part in (data.train, data.validation, data.test)]
    assert data.test.size == 10 or data.test.size == 11
    assert sum(map(len, parts)) == 34 and all(parts)


def test_the_test_part_may_be_called_test(image_folder):
    (image_folder / "val").rename(image_folder / "test")
    data = load(f"folder:{image_folder}", image_size=16)
    assert data.test.size == 6 and data.origins == {"train": "train/", "test": "test/"}
    message = refusal(f"folder:{image_folder}", test_fraction=0.2)
    assert message.startswith("test_fraction=0.2: ") and "of its own (test/)" in message
    (image_folder / "test" / "bee").rename(image_folder / "test" / "dog")
    assert "only test/ has dog" in refusal(f"folder:{image_folder}")


def test_val_stays_the_test_part_beside_test(image_folder, caplog):
    shutil.copytree(image_folder / "val", image_folder / "test")
    assert load(f"folder:{image_folder}", image_size=16).origins["test"] == "val/"
    assert "val/ is the test split, and test/ is not used" in caplog.text


@pytest.fixture
def table(classes):
    """Writes a CSV file beside the pictures; returns the name of the data set."""

    def write(*lines, encoding="utf-8-sig"):
        file = classes / "labels.csv"
        file.write_text("\n".join(lines) + "\n", encoding=encoding)
        return f"csv:{file}"

    return write


def lines_of(name, numbers, split=""):
    return [f"{name}/{n}.png,{name}{split}" for n in numbers]


def test_a_table_of_paths_and_labels(table):
    name = table("path,label", *lines_of("bee", range(20, 30)), *lines_of("ant", range(20)))
    data = load(name, image_size=16, test_fraction=0.2)
    assert data.label_names == ("ant", "bee")
    assert (counts(data.test)[:2], data.train.size) == ([4, 2], 24)
    assert seen(data.train) | seen(data.test) == set(range(30))
    assert "pass test_fraction=0.2" in refusal(name)


def test_a_table_with_splits(table):
    ant, bee = lines_of("ant", range(8), ",train"), lines_of("bee", range(20, 24), ",train")
    held = lines_of("ant", [8, 9], ",val") + lines_of("bee", [24], ",validation")
    test = lines_of("ant", [10], ",test") + lines_of("bee", [25, 26], ",Test")
    data = load(table("path, label, split", *ant, *bee, *held, *test), image_size=16)
    assert [p.size for p in (data.train, data.validation, data.test)] == [12, 3, 3]
    assert seen(data.validation) == {8, 9, 24}
    name = table("path,label,split", *ant, *bee, *held)
    data = load(name, image_size=16)
    assert data.validation is None and seen(data.test) == {8, 9, 24}
    assert data.origins["test"] == "the lines with split validation"
    assert "of its own" in refusal(name, test_fraction=0.2)
    name = table("path,label,split", *ant, *bee, *held, *test)
    assert "has a validation part of its own" in refusal(name, validation_fraction=0.2)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["ant/0.png,ant"], "the first line must name the columns"),
        (["path,label"], "has no lines but the first"),
        (["path,label", "ant/0.png,"], "line 2 lacks a path or a label"),
        (["path,label", "ant/0.png"], "line 2 lacks a path or a label"),
        (["path,label,split", "ant/0.png,ant,dev"], "line 2 has the split 'dev'"),
        (["path,label,split", "ant/0.png,ant,test"], "no line has the split train"),
        (["path,label", "ant/0.png,ant", "no.png,ant"], "1 of 2 files are not there"),
    ],
)
def test_tables_that_cannot_be_used(table, lines, words):
    assert words in refusal(table(*lines), test_fraction=0.2)


def test_a_table_that_is_no_text(classes):
    for size in (None, 8):
        assert "cannot be read" in refusal(f"csv:{classes}/none.csv", image_size=size)
        assert "write dataset=csv:PATH" in refusal("csv:", image_size=size)
    (classes / "latin.csv").write_bytes("path,label\nant/0.png,Fl\xfcgel\n".encode("latin-1"))
    assert "is not a CSV file in UTF-8" in refusal(f"csv:{classes}/latin.csv")


# What the log says of it


def test_the_block_at_the_start(classes):
    data = load(f"folder:{classes}", image_size=16, test_fraction=0.25)
    lines = summary.lines(data)
    assert lines[0] == (
        f"data: folder:{classes}: 34 images in 3 classes, used at 16x16 pixels; short side of the "
        "pictures 20 to 22, median 21"
    )
    assert lines[1].startswith("data: train images by class: ant 15, bee ")
    assert lines[3].startswith("data: test: 8 images, test_fraction=0.25")
    assert summary.warnings(data, weighted=True) == []


def test_many_classes_are_shown_by_the_largest_and_the_smallest(tmp_path):
    for name in range(13):
        for number in range(2 + (name == 4) - (name == 7)):
            picture(tmp_path / "train" / f"c{name}" / f"{number}.png", number)
            picture(tmp_path / "val" / f"c{name}" / f"{number}.png", number)
    lines = summary.lines(load(f"folder:{tmp_path}", image_size=16))
    assert "data: largest class in train c4 (3), smallest c7 (1)" in lines


def test_classes_that_a_part_lacks_are_named(classes):
    data = load(f"folder:{classes}", image_size=16, test_fraction=0.06)
    assert counts(data.test) == [1, 1, 0]
    assert summary.warnings(data, weighted=True) == [
        f"dataset=folder:{classes}: a class has no image in the test part: train (4 in train)"
    ]


def test_unbalanced_classes_are_said_unless_they_are_weighted(tmp_path):
    for name, count in (("many", 7), ("some", 4), ("few", 2)):
        for part in ("train", "val"):
            for number in range(count if part == "train" else 1):
                picture(tmp_path / part / name / f"{number}.png", number)
    data = load(f"folder:{tmp_path}", image_size=16)
    (line,) = summary.warnings(data)
    assert "many has 7 training images, few 2 (ratio 3.5)" in line
    assert "class_weights=balanced" in line
    assert summary.warnings(data, weighted=True) == []


def test_one_class_is_said(tmp_path):
    for number in range(10):
        picture(tmp_path / "only" / f"{number}.png", number)
    (line,) = summary.warnings(load(f"folder:{tmp_path}", image_size=16, test_fraction=0.2))
    assert "has one class only (only)" in line

"""Parquet files as data sets: lists of paths, and image sets of the Hugging Face hub."""

from __future__ import annotations

import io
import json
import os
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from std_keras.data import folder_content, load
from std_keras.data.class_names import class_names
from std_keras.errors import InputError, MachineError
from tests.data.refusal import refusal

NAMES = ("zebra", "ant")  # The hub's order, which is not that of the alphabet.


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Where pictures are unpacked."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def picture(seed, *, ending=".png", orientation=None):
    """The bytes of a picture of 12 x 8 pixels; a photograph lies on its side."""
    pixels = np.random.default_rng(seed).integers(0, 255, (8, 12, 3), np.uint8)
    exif = Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, {".png": "PNG", ".jpg": "JPEG"}[ending], exif=exif)
    return file.getvalue()


def hub_file(path, images, labels, *, names=NAMES, column="image", **more):
    """A file of the hub: pictures as bytes, and the names of the classes in its metadata."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [{"bytes": content, "path": f"{i}.png"} for i, content in enumerate(images)]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    arrays = {column: pa.array(rows, kind), "label": pa.array(labels), **more}
    about = {"info": {"features": {"label": {"names": list(names or ()), "_type": "ClassLabel"}}}}
    metadata = {b"huggingface": json.dumps(about).encode()} if names else None
    pq.write_table(pa.table(arrays).replace_schema_metadata(metadata), path)
    return path


def images_of(source):
    (images, _), labels = source.decode(np.arange(source.size)), source.labels()
    return np.asarray(images), labels


@pytest.fixture
def repository(tmp_path):
    """A folder as the hub has it, with two files of train."""
    data = tmp_path / "set" / "data"
    pictures = [picture(seed) for seed in range(10)]
    hub_file(data / "train-00000-of-00002.parquet", pictures[:4], [0, 1, 0, 1])
    hub_file(data / "train-00001-of-00002.parquet", pictures[4:6], [1, 0])
    hub_file(data / "validation-00000-of-00001.parquet", pictures[6:8], [1, 0])
    hub_file(data / "test-00000-of-00001.parquet", pictures[8:], [-1, -1])  # As in ImageNet.
    (data / "README.parquet").write_bytes(b"another file")
    return tmp_path / "set"


def test_a_set_of_the_hub_is_that_of_the_same_files_in_folders(repository, tmp_path):
    found = load(f"parquet:{repository}", image_size=8)
    labels = {"train": [0, 1, 0, 1, 1, 0], "val": [1, 0]}
    seed = 0
    for part, numbers in labels.items():
        for number in numbers:
            file = tmp_path / "folders" / part / NAMES[number] / f"{seed}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(picture(seed))
            seed += 1
    expected = load(f"folder:{tmp_path / 'folders'}", image_size=8)
    assert found.label_names == NAMES and expected.label_names == ("ant", "zebra")
    assert found.sizes == expected.sizes == {"train": 6, "validation": 0, "test": 2}
    for part in ("train", "test"):
        mine, theirs = images_of(getattr(found, part)), images_of(getattr(expected, part))
        order = [np.lexsort(images.reshape(len(images), -1).T) for images in (mine[0], theirs[0])]
        np.testing.assert_array_equal(mine[0][order[0]], theirs[0][order[1]])
        np.testing.assert_array_equal(mine[1][order[0]], 1 - theirs[1][order[1]])


def test_pictures_that_are_left_out_are_not_unpacked(repository, cache):
    """The test part of ImageNet has 100,000 of them, and no labels."""
    load(f"parquet:{repository}", image_size=8)
    written = [file.read_bytes() for file in cache.rglob("*.png")]
    assert sorted(written) == sorted(picture(seed) for seed in range(8))


def test_pictures_are_unpacked_once_and_again_when_the_file_is_another(tmp_path, cache):
    file = hub_file(tmp_path / "a.parquet", [picture(seed) for seed in range(10)], [0, 1] * 5)
    name = f"parquet:{file}"
    first = load(name, image_size=8, test_fraction=0.4)
    folders = list((cache / "std_keras" / "pictures").iterdir())
    states = {path: path.stat().st_mtime_ns for path in folders[0].rglob("*")}
    second = load(name, image_size=8, test_fraction=0.4)
    assert {path: path.stat().st_mtime_ns for path in folders[0].rglob("*")} == states
    for left, right in zip(images_of(first.train), images_of(second.train), strict=True):
        np.testing.assert_array_equal(left, right)
    facts = folder_content.facts(name)
    hub_file(file, [picture(seed) for seed in range(1, 11)], [0, 1] * 5)
    assert images_of(load(name, image_size=8, test_fraction=0.4).train)[0].shape == (6, 8, 8, 3)
    assert len(list((cache / "std_keras" / "pictures").iterdir())) == 2
    assert not folder_content.has_content_of(name, facts)


@pytest.mark.parametrize("way", ["a file where the folder belongs", "a folder in the way"])
def test_a_cache_that_takes_no_pictures(tmp_path, cache, monkeypatch, way):
    file = hub_file(tmp_path / "a.parquet", [picture(seed) for seed in range(10)], [0, 1] * 5)
    if way.startswith("a file"):
        cache.write_text("")
    else:

        def in_the_way(source, target):
            raise OSError(39, "Directory not empty")

        monkeypatch.setattr(os, "rename", in_the_way)
    with pytest.raises(MachineError, match=f"cannot be kept in {cache}.*XDG_CACHE_HOME"):
        load(f"parquet:{file}", image_size=8, test_fraction=0.4)
    if cache.is_dir():
        assert not list((cache / "std_keras" / "pictures").iterdir())


def test_another_process_that_unpacked_the_same_file_first(tmp_path, monkeypatch):
    file = hub_file(tmp_path / "a.parquet", [picture(seed) for seed in range(10)], [0, 1] * 5)
    rename = os.rename

    def second(source, target):
        shutil.copytree(source, target)
        rename(source, target)

    monkeypatch.setattr(os, "rename", second)
    assert load(f"parquet:{file}", image_size=8, test_fraction=0.4).train.size == 6


def test_a_moved_file_has_the_same_fingerprint(tmp_path):
    file = hub_file(tmp_path / "a.parquet", [picture(0), picture(1)], [0, 1])
    facts = folder_content.facts(f"parquet:{file}")
    (tmp_path / "moved").mkdir()
    moved = file.rename(tmp_path / "moved" / "a.parquet")
    assert folder_content.has_content_of(f"parquet:{moved}", facts)


def test_photographs_are_upright(tmp_path):
    content = picture(3, ending=".jpg", orientation=6)
    file = hub_file(tmp_path / "a.parquet", [content, picture(1)], [0, 1])
    found = load(f"parquet:{file}", image_size=8, whole_as_test=True, cache_gb=0)
    raw = Image.open(io.BytesIO(content))
    (tmp_path / "folder" / "a").mkdir(parents=True)
    (tmp_path / "folder" / "a" / "0.jpg").write_bytes(content)
    expected = load(f"folder:{tmp_path / 'folder'}", image_size=8, whole_as_test=True)
    assert raw.size == (12, 8)
    images, _ = found.train.decode(np.arange(2))
    np.testing.assert_array_equal(images[0], images_of(expected.train)[0][0])


@pytest.mark.parametrize("broken", [None, b"", b"no picture"])
def test_unreadable_pictures_are_refused_or_skipped(tmp_path, broken):
    images = [picture(0), broken, picture(2)]
    file = hub_file(tmp_path / "a.parquet", images, [0, 1, 1])
    options = {"image_size": 8, "whole_as_test": True}
    with pytest.raises(InputError, match="1 of 6 images cannot") as info:
        load(f"parquet:{file}", **options)
    assert "a/2_" in str(info.value)
    found = load(f"parquet:{file}", corrupt_images="skip", **options)
    assert found.train.size == 2 and len(found.skipped) == 1


def test_a_list_of_paths_is_that_of_a_csv_file(tmp_path):
    rows = {"path": [], "label": [], "split": []}
    for seed in range(6):
        (tmp_path / f"{seed}.png").write_bytes(picture(seed))
        rows["path"].append(f"{seed}.png")
        rows["label"].append(("b", "a")[seed % 2])
        rows["split"].append(("train", "train", "val")[seed // 2])
    pq.write_table(pa.table(rows), tmp_path / "list.parquet")
    lines = [",".join(row) for row in zip(*rows.values(), strict=True)]
    (tmp_path / "list.csv").write_text("\n".join(["path,label,split", *lines]))
    mine = load(f"parquet:{tmp_path / 'list.parquet'}", image_size=8)
    theirs = load(f"csv:{tmp_path / 'list.csv'}", image_size=8)
    assert mine.label_names == theirs.label_names == ("a", "b")
    for part in ("train", "test"):
        left, right = images_of(getattr(mine, part)), images_of(getattr(theirs, part))
        for a, b in zip(left, right, strict=True):
            np.testing.assert_array_equal(a, b)


def test_names_of_classes(tmp_path):
    images = [picture(seed) for seed in range(3)]
    named = hub_file(tmp_path / "named.parquet", images, [1, 0, 1])
    assert class_names(f"parquet:{named}") == NAMES
    numbered = hub_file(tmp_path / "numbered.parquet", images, [10, 9, 10], names=None)
    assert class_names(f"parquet:{numbered}") == ("9", "10")
    strings = hub_file(tmp_path / "strings.parquet", images, ["b", "a", "b"], names=None)
    assert class_names(f"parquet:{strings}") == ("a", "b")


def test_what_cannot_be_used(tmp_path, repository, monkeypatch):
    images = [picture(seed) for seed in range(3)]
    for size in (None, 8):
        assert "is not there" in refusal(f"parquet:{tmp_path / 'none'}", image_size=size)
        assert "write dataset=parquet:PATH" in refusal("parquet:", image_size=size)
    assert "called after a split" in refusal(f"parquet:{tmp_path}")
    assert "`image_size` is needed" in refusal(f"parquet:{repository}", image_size=None)
    file = hub_file(tmp_path / "a.parquet", images, [0, 1, 2])
    assert "label 2, but 2 class names" in refusal(f"parquet:{file}")
    file = hub_file(tmp_path / "b.parquet", images, [0, 1, -1])
    assert "1 of 3 rows of the split train have no label" in refusal(f"parquet:{file}")
    file = hub_file(tmp_path / "c.parquet", images, [0.5, 1.0, 0.0])
    assert "row 1 has the label 0.5" in refusal(f"parquet:{file}")
    file = hub_file(tmp_path / "d.parquet", images, [0, 1, 1], split=pa.array(["x"] * 3))
    assert "row 1 has the split 'x'" in refusal(f"parquet:{file}")
    file = hub_file(tmp_path / "e.parquet", images, [0, 1, 1])
    assert "test_fraction=0.2" in refusal(f"parquet:{file}")
    pq.write_table(pa.table({"path": ["no.png"], "label": ["a"]}), tmp_path / "f.parquet")
    assert "1 of 1 files are not there: no.png" in refusal(f"parquet:{tmp_path / 'f.parquet'}")
    pq.write_table(pa.table({"name": ["no.png"], "kind": ["a"]}), tmp_path / "g.parquet")
    assert "has the columns name, kind; it must" in refusal(f"parquet:{tmp_path / 'g.parquet'}")


def test_damaged_files_are_refused_and_leave_nothing(tmp_path, cache):
    file = hub_file(tmp_path / "a.parquet", [picture(seed) for seed in range(30)], [0, 1] * 15)
    content = file.read_bytes()
    random = np.random.default_rng(0)
    for cut in random.integers(0, len(content), 8):
        file.write_bytes(content[:cut])
        assert "cannot be read as Parquet" in refusal(f"parquet:{file}", whole_as_test=True)
    for _ in range(20):  # Whatever a changed byte does: one sentence, or pictures.
        changed = bytearray(content)
        changed[random.integers(len(content))] ^= 1 << random.integers(8)
        file.write_bytes(changed)
        try:
            load(f"parquet:{file}", image_size=8, whole_as_test=True, corrupt_images="skip")
        except InputError as error:
            assert "\n" not in str(error)
    pictures = cache / "std_keras" / "pictures"
    assert not pictures.exists() or not list(pictures.glob(".part*"))

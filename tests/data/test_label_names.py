"""Class names from tables and arrays: one spelling of each, and such that labels.txt holds them."""

from __future__ import annotations

import json
import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from std_keras import data
from std_keras.data.class_names import class_names
from std_keras.data.label_names import usable
from std_keras.errors import InputError
from std_keras.runs.run_directory import RunDirectory

NFC, NFD = "caf\u00e9", "cafe\u0301"


@pytest.fixture(params=["csv", "parquet", "npz", "folder"])
def labelled(request, tmp_path):
    """Makes a data set of pictures with these labels, whose pixels are their numbers."""

    def pictures(labels):
        for index, _ in enumerate(labels):
            Image.fromarray(np.full((4, 4, 3), index, np.uint8)).save(tmp_path / f"{index}.png")
        return [f"{index}.png" for index in range(len(labels))]

    def make(labels):
        if request.param == "folder":
            for path, label in zip(pictures(labels), labels, strict=True):
                folder = tmp_path / "set" / label
                folder.mkdir(parents=True, exist_ok=True)
                os.rename(tmp_path / path, folder / path)
            return f"folder:{tmp_path / 'set'}"
        if request.param == "npz":
            images = np.zeros((len(labels), 4, 4, 3), np.uint8)
            images += np.arange(len(labels), dtype=np.uint8)[:, None, None, None]
            np.savez(tmp_path / "set.npz", images=images, labels=np.array(labels))
            return f"{tmp_path / 'set.npz'}"
        if request.param == "parquet":
            table = pa.table({"path": pictures(labels), "label": labels})
            pq.write_table(table, tmp_path / "set.parquet")
            return f"parquet:{tmp_path / 'set.parquet'}"
        rows = zip(pictures(labels), labels, strict=True)
        lines = ["path,label", *(f'{path},"{label}"' for path, label in rows)]
        (tmp_path / "set.csv").write_text("\n".join(lines), encoding="utf-8")
        return f"csv:{tmp_path / 'set.csv'}"

    make.kind = request.param
    return make


def test_numbers_are_in_the_order_of_their_values(labelled):
    """Folders are in the order of their names, as torchvision and Keras take them."""
    given = [str(number) for number in range(12)]
    found = load(labelled(given)).label_names
    assert found == tuple(sorted(given) if labelled.kind == "folder" else given)


def load(name, **options):
    return data.load(name, image_size=4, whole_as_test=True, **options)


def test_two_spellings_in_a_list_are_one_class(labelled):
    name = labelled(["bee", NFC, NFD, "caff"])
    if labelled.kind == "folder":
        with pytest.raises(InputError, match="two spellings of Unicode"):
            load(name)
        return
    loaded = load(name)
    images, labels = loaded.train.take()
    assert loaded.label_names == class_names(name) == ("bee", "caff", NFC)
    assert dict(zip(images[:, 0, 0, 0].tolist(), labels.tolist(), strict=True)) == {
        0: 0,
        1: 2,
        2: 2,
        3: 1,
    }


@pytest.mark.parametrize("label", ["a\nb", "a\n", "a\x85b", "a\u2028b", "a\x1cb", "a\x0bb"])
def test_a_name_that_would_be_two_lines_is_refused(labelled, label):
    """labels.txt would name more classes than there are."""
    name = labelled([f"x{label}y", "bee", f"x{label}y", "bee"])
    for look in (load, class_names):
        with pytest.raises(InputError, match=r"has a line break in it; rename it"):
            look(name)


def test_other_names_come_back_from_labels_txt(labelled, tmp_path):
    odd = ["#a", "a b", "a,b", "'a", "\ufeffa", "a\tb", "\u200b", "数"]
    given = ["bee", *(f"x{label}x" for label in odd)]
    names = load(labelled(given)).label_names
    assert sorted(names) == sorted(given)
    run = RunDirectory(tmp_path / "run")
    run.path.mkdir()
    run.labels_file.write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    assert run.read_labels() == names


def test_names_of_numbers(tmp_path):
    """The two cranes of ImageNet, a bird and a machine, stay two classes."""
    images = np.zeros((3, 4, 4, 3), np.uint8)

    def names(label_names, labels=(0, 1, 2)):
        path = str(tmp_path / "set.npz")
        np.savez(path, images=images, labels=np.array(labels), label_names=label_names)
        return load(path).label_names

    assert names(np.array(["crane", NFD, "crane"])) == ("crane", NFC, "crane")
    assert names(np.array([NFC.encode(), b"b", b"c"])) == (NFC, "b", "c")
    assert names(["x", "x"], np.array([b"b", b"a", b"b"])) == ("a", "b")
    with pytest.raises(InputError, match=r"called b'caf\\xe9', which is not UTF-8"):
        names(np.array([os.fsdecode(b"caf\xe9"), "b", "c"]))
    with pytest.raises(InputError, match="not UTF-8"):
        names(np.array([b"caf\xe9", b"b", b"c"]))
    with pytest.raises(InputError, match="class 1 is called 'a\\\\nb', which has a line break"):
        names(np.array(["a", "a\nb", "c"]))


def test_a_name_that_no_text_can_hold_is_a_sentence():
    """JSON can spell half of a character, which is no byte of a file's name either."""
    with pytest.raises(InputError, match=r"w 'a\\ud800', which is not UTF-8; rename it"):
        usable("a\ud800", what="w")


def test_names_that_the_hub_gives(tmp_path):
    table = pa.table({"path": ["0.png", "0.png", "0.png"], "label": [0, 1, 2]})
    Image.new("RGB", (4, 4)).save(tmp_path / "0.png")

    def names(*label_names):
        about = {"info": {"features": {"label": {"names": label_names}}}}
        file = tmp_path / "set.parquet"
        pq.write_table(
            table.replace_schema_metadata({b"huggingface": json.dumps(about).encode()}), file
        )
        loaded = load(f"parquet:{file}")
        np.testing.assert_array_equal(loaded.train.labels(), [0, 1, 2])
        return loaded.label_names

    assert names("crane", NFD, "crane") == ("crane", NFC, "crane")
    with pytest.raises(InputError, match="class 1 is called 'a\\\\nb', which has a line break"):
        names("a", "a\nb", "c")


@pytest.mark.parametrize(("on_disk", "in_table"), [(NFC, NFD), (NFD, NFC)])
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_table_of_another_system_names_a_file_in_the_other_spelling(
    tmp_path, kind, on_disk, in_table
):
    Image.new("RGB", (4, 4)).save(tmp_path / f"{on_disk}.png")
    if kind == "csv":
        (tmp_path / "set.csv").write_text(f"path,label\n{in_table}.png,a\n", encoding="utf-8")
    else:
        table = pa.table({"path": [f"{in_table}.png"], "label": ["a"]})
        pq.write_table(table, tmp_path / "set.parquet")
    assert load(f"{kind}:{tmp_path}/set.{kind}").train.size == 1


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_table_as_spreadsheets_write_it(tmp_path, encoding, end):
    for name in (NFC, "b"):
        Image.new("RGB", (4, 4)).save(tmp_path / f"{name}.png")
    lines = ["path,label", f"{NFC}.png,{NFC}", "b.png,b", ""]
    (tmp_path / "set.csv").write_bytes(end.join(lines).encode(encoding))
    assert load(f"csv:{tmp_path}/set.csv").label_names == ("b", NFC)


def test_a_place_with_a_null_character_is_a_sentence(tmp_path):
    for kind in ("csv", "parquet", "folder"):
        with pytest.raises(InputError):
            load(f"{kind}:{tmp_path}/a\0b")

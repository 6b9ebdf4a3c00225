"""Decoded images that are kept for the next start: used, never stale, and harmless if damaged."""

from __future__ import annotations

import os
import shutil

import numpy as np
import pytest
from PIL import Image

from std_keras.data import decoded_images, load
from std_keras.data.decoded_images import DecodedImages
from std_keras.data.files import FileSource
from std_keras.data.records import RecordSource


@pytest.fixture(autouse=True)
def any_size_is_worth_it(monkeypatch):
    monkeypatch.setattr(decoded_images, "_SMALLEST", 1)


@pytest.fixture
def decodings(monkeypatch) -> list[str]:
    """A line for each example or file that is decoded."""
    done: list[str] = []
    take, read = RecordSource.take, FileSource._read_file

    def counted_take(self, n=None, **options):
        if n is None:  # Else it is a look at the first label.
            done.extend(file.path for file in self.files)
        return take(self, n, **options)

    def counted_read(self, path):
        done.append(path)
        return read(self, path)

    monkeypatch.setattr(RecordSource, "take", counted_take)
    monkeypatch.setattr(FileSource, "_read_file", counted_read)
    return done


def arrays(data):
    return [array for part in (data.train, data.test) for array in part.take()]


def assert_same(left, right):
    for one, other in zip(arrays(left), arrays(right), strict=True):
        np.testing.assert_array_equal(one, other)


def test_records_are_decoded_at_the_first_start_only(prepared_tfds, tmp_path, decodings):
    def start(**options):
        decodings.clear()
        return load(
            "tiny_animals",
            data_dir=str(prepared_tfds),
            decoded_dir=str(tmp_path / "kept"),
            **options,
        )

    first = start()
    assert decodings
    again = start()
    assert not decodings
    assert_same(first, again)
    start(image_size=5)  # Other pixels.
    assert decodings
    plain = load("tiny_animals", data_dir=str(prepared_tfds), decoded_dir="none")
    assert_same(first, plain)


def test_other_records_of_the_same_name_are_decoded(prepared_tfds, tmp_path, decodings):
    """The test part takes the place of a part of train, with its size and time."""
    home = tmp_path / "tfds"
    shutil.copytree(prepared_tfds, home)
    options = {"data_dir": str(home), "decoded_dir": str(tmp_path / "kept")}
    load("tiny_animals", **options)
    folder = next(home.glob("tiny_animals/*"))
    parts = sorted(folder.glob("*-train.tfrecord-*"))
    same_size = [p for p in parts[1:] if p.stat().st_size == parts[0].stat().st_size]
    assert same_size
    before = parts[0].stat()
    shutil.copyfile(same_size[0], parts[0])
    os.utime(parts[0], ns=(before.st_atime_ns, before.st_mtime_ns))
    decodings.clear()
    changed = load("tiny_animals", **options)
    assert decodings
    assert_same(changed, load("tiny_animals", data_dir=str(home)))


@pytest.mark.parametrize("cache_gb", [1.0, 0.0])
def test_files_are_decoded_at_the_first_start_only(image_folder, tmp_path, decodings, cache_gb):
    """Held in memory, and looked through for unreadable ones."""
    bad = image_folder / "train" / "ant" / "broken.png"
    bad.write_bytes(b"no picture")

    def start():
        decodings.clear()
        return load(
            f"folder:{image_folder}",
            image_size=8,
            corrupt_images="skip",
            cache_gb=cache_gb,
            decoded_dir=str(tmp_path / "kept"),
        )

    first = start()
    assert len(decodings) == 16 and first.skipped == (str(bad),)
    again = start()
    assert not decodings and again.skipped == first.skipped
    assert_same(first, again)
    Image.new("RGB", (9, 9), (1, 2, 3)).save(bad)
    mended = start()
    assert str(bad) in decodings and not mended.skipped
    assert mended.train.size == first.train.size + 1


@pytest.mark.parametrize("damage", ["cut", "flipped", "foreign", "empty"])
def test_a_damaged_entry_is_made_again(tmp_path, damage):
    picture = tmp_path / "file"
    picture.write_bytes(b"content")
    made = []

    def make():
        made.append(1)
        return {"images": np.arange(3000, dtype=np.uint8)}

    kept = DecodedImages(tmp_path / "kept")
    options = {"files": [str(picture)], "pixels": 3000, "asked": {}}
    kept.get(make, **options)
    (entry,) = (tmp_path / "kept").iterdir()
    content = bytearray(entry.read_bytes())
    if damage == "cut":
        content = content[: len(content) // 2]
    elif damage == "flipped":
        content[len(content) // 2] ^= 1
    else:
        content = bytearray(b"foreign" if damage == "foreign" else b"")
    entry.write_bytes(content)
    found = kept.get(make, **options)
    assert len(made) == 2
    np.testing.assert_array_equal(found["images"], np.arange(3000, dtype=np.uint8))
    kept.get(make, **options)
    assert len(made) == 2  # It was mended.


def test_a_start_that_is_interrupted_leaves_no_entry(tmp_path, monkeypatch):
    def killed(file, **_):
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez", killed)
    kept = DecodedImages(tmp_path / "kept")
    with pytest.raises(KeyboardInterrupt):
        kept.get(lambda: {"a": np.zeros(3)}, files=[], pixels=3, asked={})
    assert not list((tmp_path / "kept").iterdir())


@pytest.mark.parametrize(("module", "name"), [(np, "savez"), (os, "replace")])
def test_a_full_disk_is_no_reason_to_fail(tmp_path, monkeypatch, caplog, module, name):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, name, full)
    kept = DecodedImages(tmp_path / "kept")
    for size in (3, 4):
        found = kept.get(lambda n=size: {"a": np.ones(n)}, files=[], pixels=size, asked={})
        assert found["a"].sum() == size
    assert not list((tmp_path / "kept").iterdir())
    (said,) = [line for line in caplog.messages if str(tmp_path / "kept") in line]
    assert "No space left on device" in said


def test_the_oldest_entries_make_room(tmp_path, monkeypatch):
    monkeypatch.setattr(decoded_images, "_ROOM", 3500)
    kept = DecodedImages(tmp_path / "kept")
    made = []

    def get(number, day):
        def make():
            made.append(number)
            return {"a": np.full(1000, number, np.uint8)}

        kept.get(make, files=[], pixels=1000, asked={"number": number})
        for path in (tmp_path / "kept").iterdir():
            if path.stat().st_mtime > 1e9:  # Just touched.
                os.utime(path, (day, day))

    for day, number in enumerate([0, 1, 0, 2, 0, 1], start=1):
        get(number, day)
    assert made == [0, 1, 2, 1]  # 1 was the one that had not been used for longest.
    assert sum(path.stat().st_size for path in (tmp_path / "kept").iterdir()) <= 3500


def test_little_and_very_much_is_not_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(decoded_images, "_SMALLEST", 10)
    monkeypatch.setattr(decoded_images, "_LARGEST", 20)
    kept = DecodedImages(tmp_path / "kept")
    for pixels in (9, 21):
        kept.get(lambda: {"a": np.zeros(3)}, files=[], pixels=pixels, asked={})
    assert not (tmp_path / "kept").exists()


def test_where_they_are(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert decoded_images.decoded_images("auto").folder == tmp_path / "std_keras" / "decoded"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert decoded_images.decoded_images("auto").folder == tmp_path / ".cache/std_keras/decoded"
    assert decoded_images.decoded_images("none").folder is None
    assert decoded_images.decoded_images("~/here").folder == tmp_path / "here"

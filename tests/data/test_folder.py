from __future__ import annotations

import os
import shutil

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from std_keras.data import files, load
from std_keras.data.arrays import ArraySource
from std_keras.data.files import FileSource
from std_keras.data.smaller_copy import write_smaller_copy
from std_keras.errors import InputError
from std_keras.exporting.classifying import center_square, open_picture
from std_keras.files.picture_folder import list_pictures


def refusal(folder, **options) -> str:
    """The one sentence with which `load` refuses."""
    with pytest.raises(InputError) as caught:
        load(f"folder:{folder}", **{"image_size": 16, **options})
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("cache_gb, kind", [(4.0, ArraySource), (0.0, FileSource)])
def test_a_folder_becomes_a_data_set(image_folder, cache_gb, kind):
    (image_folder / "train" / "ant" / "notes.txt").write_text("not an image")
    (image_folder / "train" / ".hidden").mkdir()
    data = load(f"folder:{image_folder}", image_size=16, cache_gb=cache_gb)
    assert isinstance(data.train, kind) and isinstance(data.test, kind)
    assert data.label_names == ("ant", "bee", "cow") and data.num_classes == 3
    assert (data.train.size, data.test.size, data.image_shape) == (9, 6, (16, 16, 3))
    images, labels = data.train.take()
    assert images.shape == (9, 16, 16, 3) and labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert data.horizontal_flip and data.mean == (0.485, 0.456, 0.406) and data.skipped == ()


def test_streamed_and_held_images_are_the_same(image_folder):
    held = load(f"folder:{image_folder}", image_size=16)
    streamed = load(f"folder:{image_folder}", image_size=16, cache_gb=0)
    for left, right in zip(held.train.take(), streamed.train.take(), strict=True):
        np.testing.assert_array_equal(left, right)
    orders = [
        next(source.shuffled(seed=1, batch_size=9).as_numpy_iterator()).tolist()
        for source in (held.train, streamed.train)
    ]
    assert orders[0] == orders[1]


def test_images_and_labels_match_their_files(image_folder):
    for i, name in enumerate(("ant", "bee", "cow")):
        for path in (image_folder / "val" / name).iterdir():
            path.unlink()
        Image.new("RGB", (20, 20), (40 * i, 0, 0)).save(image_folder / "val" / name / "x.BMP")
    images, labels = load(f"folder:{image_folder}", image_size=16).test.take()
    assert labels.tolist() == [0, 1, 2]
    assert images[:, 3, 3, 0].tolist() == [0, 40, 80]


def test_a_validation_part_comes_from_train(image_folder):
    data = load(f"folder:{image_folder}", image_size=16, validation_fraction=0.34, cache_gb=0)
    assert (data.train.size, data.validation.size, data.test.size) == (6, 3, 6)


def damage(image_folder) -> list[str]:
    """One empty, one cut off, one that is no image; the readable ones stay 7 and 5."""
    whole = (image_folder / "train" / "ant" / "0.JPG").read_bytes()
    cut, empty = image_folder / "train" / "bee" / "0.JPG", image_folder / "train" / "cow" / "1.png"
    cut.write_bytes(whole[:-40])
    empty.write_bytes(b"")
    foreign = image_folder / "val" / "ant" / "0.JPG"
    foreign.write_text("<html>404</html>")
    return [str(cut), str(empty), str(foreign)]


@pytest.mark.parametrize("cache_gb", [4.0, 0.0])
def test_unreadable_images_are_refused_by_name(image_folder, cache_gb):
    names = damage(image_folder)
    message = refusal(image_folder, cache_gb=cache_gb)
    assert "3 of 15 images cannot be decoded" in message and "corrupt_images=skip" in message
    assert all(name in message for name in names)


@pytest.mark.parametrize("cache_gb", [4.0, 0.0])
def test_unreadable_images_are_skipped_and_reported(image_folder, cache_gb):
    names = damage(image_folder)
    data = load(f"folder:{image_folder}", image_size=16, cache_gb=cache_gb, corrupt_images="skip")
    assert data.skipped == tuple(names)
    assert (data.train.size, data.test.size) == (7, 5)
    assert data.train.take()[1].tolist() == [0, 0, 0, 1, 1, 2, 2]
    assert data.test.take()[1].tolist() == [0, 1, 1, 2, 2]


def test_long_lists_of_unreadable_images_are_cut(image_folder):
    for path in image_folder.glob("train/*/*"):
        path.write_bytes(b"")
    assert "9 of 15 images cannot be decoded" in refusal(image_folder)
    assert "and 6 more" in refusal(image_folder)
    assert "none of the images of the train part (train/)" in refusal(
        image_folder, corrupt_images="skip"
    )


def test_a_thorough_check_finds_what_the_quick_one_cannot(image_folder):
    path = image_folder / "train" / "ant" / "0.JPG"
    contents = bytearray(path.read_bytes())
    contents[2:200] = bytes(198)  # begins and ends like a JPEG
    path.write_bytes(contents)
    source = load(f"folder:{image_folder}", image_size=16, cache_gb=0).train
    assert source.find_corrupt() == []
    assert source.find_corrupt(thorough=True) == [str(path)]
    with pytest.raises(tf.errors.InvalidArgumentError):
        source.take()


def test_missing_size(image_folder):
    assert "`image_size` is needed for folder:" in refusal(image_folder, image_size=None)


@pytest.mark.parametrize("size", [None, 8])
def test_what_is_not_there_is_not_asked_for_a_size(size):
    assert "no directory /nowhere;" in refusal("/nowhere", image_size=size)
    assert "names no path; write dataset=folder:PATH" in refusal("", image_size=size)


@pytest.mark.parametrize("missing", ["", "train", "val"])
def test_missing_directories_are_named(image_folder, missing):
    shutil.rmtree(image_folder / missing)
    assert f"no directory {image_folder / missing}" in refusal(image_folder)


def test_no_class_folders(image_folder):
    shutil.rmtree(image_folder / "train")
    (image_folder / "train").mkdir()
    (image_folder / "train" / "loose.png").write_bytes(b"")
    assert f"{image_folder / 'train'} has no class folders" in refusal(image_folder)


def test_a_class_without_images(image_folder):
    shutil.rmtree(image_folder / "val" / "bee")
    (image_folder / "val" / "bee").mkdir()
    assert f"{image_folder / 'val' / 'bee'} has no images" in refusal(image_folder)


def test_differing_classes_are_named(image_folder):
    (image_folder / "val" / "bee").rename(image_folder / "val" / "dog")
    message = refusal(image_folder)
    assert "only train/ has bee" in message and "only val/ has dog" in message


@pytest.mark.parametrize("cache_gb", [4.0, 0.0])
def test_photographs_stand_upright_as_in_classify(image_folder, cache_gb):
    exif = Image.Exif()
    exif[0x0112] = 3
    for path in image_folder.glob("*/*/*"):
        with Image.open(path) as image:
            image.load()
        image.save(path, exif=exif)
    data = load(f"folder:{image_folder}", image_size=16, cache_gb=cache_gb)
    images, _ = data.train.take()
    paths = [
        path
        for name in ("ant", "bee", "cow")
        for path in sorted((image_folder / "train" / name).iterdir())
    ]
    assert len(paths) == len(images)
    for path, pixels in zip(paths, images, strict=True):
        expected = center_square(open_picture(path), 16).astype(int)
        assert np.abs(pixels - expected).max() <= 16  # Decoders of JPEG differ, and it is noise.
        assert np.abs(pixels - expected[::-1, ::-1]).max() > 100


def test_more_formats_are_read_and_the_rest_is_counted(image_folder, monkeypatch):
    ant = image_folder / "train" / "ant"
    for name in ("a.webp", "b.tif", "c.jfif"):
        Image.new("RGB", (20, 20), (0, 90, 0)).save(ant / name)
    for name in ("a.heyc", "b.heyc", "c.txt", "Thumbs.db", ".hidden"):
        (ant / name).write_bytes(b"something")
    lines: list[str] = []
    monkeypatch.setattr("std_keras.progress.warn", lines.append)
    data = load(f"folder:{image_folder}", image_size=16)
    assert data.train.size == 12 and data.skipped == ()
    assert len(lines) == 1 and "left out 3 files" in lines[0] and "2 .heyc, 1 .txt" in lines[0]


def test_folders_of_systems_are_no_classes(image_folder):
    for part in ("train", "val"):
        (image_folder / part / "__MACOSX" / "ant").mkdir(parents=True)
        (image_folder / part / "__MACOSX" / "ant" / "._0.jpg").write_bytes(b"\0")
    inside = image_folder / "train" / "ant" / "__MACOSX"
    inside.mkdir()
    (inside / "0.jpg").write_bytes(b"\0")
    data = load(f"folder:{image_folder}", image_size=16)
    assert data.label_names == ("ant", "bee", "cow") and data.train.size == 9


def test_links_are_followed_but_not_in_circles(image_folder, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    Image.new("RGB", (20, 20)).save(elsewhere / "0.png")
    ant = image_folder / "train" / "ant"
    (ant / "more").symlink_to(elsewhere)
    (elsewhere / "back").symlink_to(ant)
    assert load(f"folder:{image_folder}", image_size=16).train.size == 10
    copy = write_smaller_copy(image_folder, tmp_path / "copy", size=8)
    assert copy.total == 16 and copy.complete
    assert len(list_pictures(str(ant)).pictures) == 4


def test_what_is_no_file_or_a_systems_is_no_picture(image_folder, tmp_path):
    """To open the pipe would wait for ever; the link that leads nowhere is named."""
    train = image_folder / "train"
    before = len(list_pictures(str(train)).pictures)
    os.mkfifo(train / "ant" / "pipe.jpg")
    for name in ("@eaDir", "lost+found"):
        (train / name).mkdir()
        (train / name / "0.jpg").write_bytes(b"no picture")
    found = list_pictures(str(train))
    assert len(found.pictures) == before
    assert found.left_out == {"pipe, socket or device": 1}
    link = train / "ant" / "link.jpg"
    link.symlink_to("nowhere.jpg")
    assert str(link) in refusal(image_folder)
    copy = write_smaller_copy(image_folder, tmp_path / "copy", size=8)
    assert copy.corrupt == (str(link),) and copy.complete


def cut_but_ended(path) -> None:
    """A JPEG without its second half, with its end marker, as a careless repair leaves it."""
    noise = np.random.default_rng(1).integers(0, 256, (90, 90, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path, "JPEG")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] + b"\xff\xd9")


@pytest.mark.parametrize("whole_pictures", [False, True])
@pytest.mark.parametrize("cache_gb", [4.0, 0.0])
def test_what_the_quick_check_misses_is_skipped_too(image_folder, cache_gb, whole_pictures):
    train = image_folder / "train"
    cut_but_ended(train / "bee" / "0.JPG")
    spoilt = bytearray((train / "ant" / "0.JPG").read_bytes())
    spoilt[2:200] = bytes(198)  # Begins and ends like a JPEG.
    (train / "ant" / "0.JPG").write_bytes(spoilt)
    data = load(
        f"folder:{image_folder}",
        image_size=16,
        cache_gb=cache_gb,
        corrupt_images="skip",
        whole_pictures=whole_pictures,
    )
    assert data.skipped == (str(train / "ant" / "0.JPG"), str(train / "bee" / "0.JPG"))
    images, labels = data.train.take()
    assert labels.tolist() == [0, 0, 1, 1, 2, 2, 2] and len(images) == 7


def test_a_jpeg_that_was_cut_and_ended_is_refused(image_folder):
    path = image_folder / "val" / "bee" / "0.JPG"
    cut_but_ended(path)
    assert str(path) in refusal(image_folder)
    with pytest.raises(InputError, match="truncated"):
        open_picture(path)


def test_all_parts_are_read_by_one_graph(image_folder):
    files._reader.cache_clear()
    loaded = load(f"folder:{image_folder}", image_size=11)
    assert loaded.train.size and loaded.test.size
    assert files._reader.cache_info().misses == 1
    assert files._reader(11, 1.0).experimental_get_tracing_count() == 1

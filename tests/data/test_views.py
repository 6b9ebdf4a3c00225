"""Larger views of a batch: the same part of the same pictures, from one decoding."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from std_keras.data import Augmentation, Shard, evaluation_batches, load, training_batches
from std_keras.data import files as files_module
from std_keras.data.arrays import ArraySource
from std_keras.data.augmentation import Mixing, ResizedCrop
from std_keras.data.files import FileSource
from std_keras.data.records import RecordArraySource, RecordFile, RecordSource
from std_keras.files.picture_file import read_pixels
from tests.data.numbered import numbered_source

SIDE, LARGER = 16, (24, 40)
PADDED = Augmentation(crop_padding=2, horizontal_flip=True, mixing=Mixing(0.8, 1.0))
WHOLE = Augmentation(resized_crop=ResizedCrop(), horizontal_flip=True, mixing=Mixing(0.8, 1.0))


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    """Pictures of 60x40 and 40x60 pixels; one is turned by its EXIF block."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    found = []
    for i in range(12):
        coarse = Image.fromarray(rng.integers(0, 256, (5, 7, 3), dtype=np.uint8))
        picture = coarse.resize(((60, 40), (40, 60))[i % 2], Image.Resampling.BICUBIC)
        exif = Image.Exif()
        if i == 3:
            exif[0x0112] = 6
        found.append(str(folder / f"{i:02d}.{('jpg', 'png')[i // 6]}"))
        picture.save(found[-1], exif=exif)
    return found


@pytest.fixture(scope="module")
def records(tmp_path_factory, paths):
    """The same pictures in a TFRecord file: the picture as a PNG, and a byte of its label."""
    path = str(tmp_path_factory.mktemp("records") / "some.tfrecord")
    with tf.io.TFRecordWriter(path) as writer:
        for number, name in enumerate(paths):
            encoded = tf.io.encode_png(read_pixels(name)).numpy()
            writer.write(bytes([number % 4]) + encoded)

    def parse(record):
        image = tf.io.decode_png(tf.strings.substr(record, 1, 1 << 30), channels=3)
        return image, tf.io.decode_raw(tf.strings.substr(record, 0, 1), tf.uint8)[0]

    return RecordSource([RecordFile(path, 12, 1 << 20)], parse, image_shape=(SIDE, SIDE, 3))


def batches(source, recipe, *, start_step=0, shard=None, sizes=(40,), steps=2):
    shard = shard or Shard()
    made = training_batches(
        source,
        batch_size=8,
        num_classes=4,
        data_seed=1,
        augmentation=recipe,
        start_step=start_step,
        shard=shard,
        view_sizes=sizes,
    )
    return list(made.take(steps * shard.local_replicas).as_numpy_iterator())


def sources(paths, records):
    labels = np.arange(12) % 4
    files = FileSource(paths, labels, image_size=SIDE)
    held, _ = files.read_all()
    return {"files": files, "held": held, "records": records, "encoded": records.in_memory()}


@pytest.mark.parametrize(
    ("kind", "recipe"),
    [
        ("files", PADDED),
        ("files", WHOLE),
        ("held", PADDED),
        ("records", PADDED),
        ("encoded", WHOLE),
    ],
)
def test_the_student_sees_what_it_sees_without_views(paths, records, kind, recipe):
    """Pixels, targets and everything else, to the last bit."""
    source = sources(paths, records)[kind]
    assert (
        type(source)
        is {
            "files": FileSource,
            "held": ArraySource,
            "records": RecordSource,
            "encoded": RecordArraySource,
        }[kind]
    )
    for plain, both in zip(batches(source, recipe, sizes=()), batches(source, recipe), strict=True):
        assert list(plain) == ["images", "targets"]
        assert list(both) == ["images", "images_40", "targets"]
        for name, values in plain.items():
            np.testing.assert_array_equal(both[name], values)
        assert both["images_40"].shape == (8, 40, 40, 3)


@pytest.mark.parametrize("recipe", [PADDED, WHOLE], ids=["padded", "whole"])
def test_views_are_those_of_a_student_of_that_size(paths, recipe):
    """Of what depends on proportions only: the resized crop, the flip and mixup's weights."""
    only = Augmentation(
        resized_crop=recipe.resized_crop, horizontal_flip=True, mixing=Mixing(0.8, 0.0)
    )
    labels = np.arange(12) % 4
    small = batches(FileSource(paths, labels, image_size=SIDE), only, sizes=LARGER)
    for size in LARGER:
        large = batches(FileSource(paths, labels, image_size=size), only, sizes=())
        for own, other in zip(small, large, strict=True):
            np.testing.assert_array_equal(own[f"images_{size}"], other["images"])
            np.testing.assert_array_equal(own["targets"], other["targets"])


def test_held_and_streamed_views_are_the_same(paths):
    """What does not fit into memory is read again and again."""
    held, _ = FileSource(paths, np.arange(12) % 4, image_size=SIDE).read_all()
    streamed = batches(held, PADDED, sizes=LARGER)
    held.hold((40,))
    assert held.bytes == 12 * 3 * (SIDE**2 + 40**2)
    half = batches(held, PADDED, sizes=LARGER)
    held.hold(LARGER)
    assert held.bytes == 12 * 3 * (SIDE**2 + 24**2 + 40**2)
    whole = batches(held, PADDED, sizes=LARGER)
    part = held.subset(np.arange(2, 11))
    for one, two, three in zip(streamed, half, whole, strict=True):
        for name, values in one.items():
            np.testing.assert_array_equal(values, two[name])
            np.testing.assert_array_equal(values, three[name])
    (view,), _ = part.decode_views(tf.constant([0, 5], tf.int64), (40,))
    (expected,), _ = held.decode_views(tf.constant([2, 7], tf.int64), (40,))
    np.testing.assert_array_equal(view, expected)


@pytest.mark.parametrize("recipe", [PADDED, WHOLE], ids=["padded", "whole"])
def test_any_devices_and_any_start_give_the_same_views(paths, recipe):
    source = FileSource(paths, np.arange(12) % 4, image_size=SIDE)
    whole = batches(source, recipe, steps=3)
    for shard in (Shard(0, 2, 2), Shard(1, 1, 4)):
        parts = batches(source, recipe, start_step=1, shard=shard)
        local = 8 // shard.replicas
        for step in (0, 1):
            own = parts[step * shard.local_replicas :][: shard.local_replicas]
            for name, values in whole[1 + step].items():
                wanted = values[shard.first_replica * local :][: local * shard.local_replicas]
                np.testing.assert_array_equal(np.concatenate([o[name] for o in own]), wanted)


def test_test_images_have_views(paths):
    """The centre squares, with their part of the picture, as a data set of that size has them."""
    labels = np.arange(12) % 4
    of = {s: FileSource(paths, labels, image_size=s, crop_ratio=0.8) for s in (SIDE, *LARGER)}
    seen = list(evaluation_batches(of[SIDE], batch_size=5, view_sizes=LARGER).as_numpy_iterator())
    for size in LARGER:
        alone = list(evaluation_batches(of[size], batch_size=5).as_numpy_iterator())
        for own, other in zip(seen, alone, strict=True):
            np.testing.assert_array_equal(own[f"images_{size}"], other["images"])
            np.testing.assert_array_equal(own["labels"], other["labels"])


def test_a_source_without_pictures_has_no_other_sizes():
    with pytest.raises(ValueError, match="no pictures larger than"):
        batches(numbered_source(12), PADDED)


def test_each_picture_is_decoded_once(paths, monkeypatch):
    """However many views there are."""
    read = []
    usual = files_module.read_image
    monkeypatch.setattr(files_module, "read_image", lambda *a: read.append(a) or usual(*a))
    source = FileSource(paths, np.arange(12) % 4, image_size=SIDE)
    source.decode_views(tf.constant([1, 4], tf.int64), (SIDE, *LARGER))
    assert len(read) == 2, "once a picture"


def test_pictures_are_as_large_as_the_largest(image_folder, prepared_tfds):
    """Short sides of 20, 21 and 22 pixels, and a set of 6x6 ones."""
    folder = load(f"folder:{image_folder}", image_size=8)
    assert (folder.sides[0], folder.picture_side) == (20, 22)
    assert load(f"folder:{image_folder}", image_size=64).picture_side == 64
    tiny = {"data_dir": str(prepared_tfds)}
    assert load("tiny_animals", **tiny).picture_side == 6
    assert load("tiny_animals", **tiny, image_size=4).picture_side == 6
    assert load("tiny_animals", **tiny, image_size=9).picture_side == 9
    assert load("digits").picture_side == 8


@pytest.mark.parametrize("cache_gb", [4.0, 0.0])
def test_prepared_sets_have_views(prepared_tfds, cache_gb):
    """Example i has every pixel (i, 0, 77) at every size."""
    data = load(
        "tiny_animals",
        data_dir=str(prepared_tfds),
        image_size=4,
        cache_gb=cache_gb,
        validation_fraction=0.25,
    )
    for source in (data.train, data.validation, data.test):
        batch = next(iter(evaluation_batches(source, batch_size=9, view_sizes=(6,))))
        numbers = batch["images"].numpy()[:, 0, 0, 0]
        assert len(set(numbers.tolist())) == 9
        expected = np.broadcast_to(numbers[:, None, None], (9, 6, 6))
        np.testing.assert_array_equal(batch["images_6"][..., 0], expected)
        np.testing.assert_array_equal(batch["labels"], numbers % 3)

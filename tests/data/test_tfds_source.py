from __future__ import annotations

import itertools
import os

import numpy as np
import pytest

from std_keras.data import Augmentation, load, training_batches
from std_keras.data.arrays import ArraySource
from std_keras.data.records import RecordArraySource, RecordSource
from std_keras.errors import InputError
from tests.data.numbered import numbers


def load_tiny(directory, **options):
    return load("tiny_animals", data_dir=str(directory), **options)


def refusal(directory, name="tiny_animals", **options) -> str:
    with pytest.raises(InputError) as caught:
        load(name, data_dir=str(directory), **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("cache_gb, kind", [(4.0, ArraySource), (0.0, RecordSource)])
def test_a_prepared_set_is_read_from_its_metadata(prepared_tfds, cache_gb, kind):
    """The class that made the set is not registered, so its code cannot be what is used."""
    data = load_tiny(prepared_tfds, cache_gb=cache_gb)
    assert isinstance(data.train, kind) and isinstance(data.test, kind)
    assert data.label_names == ("ant", "bee", "cow") and data.image_shape == (6, 6, 3)
    for source, expected in ((data.train, range(40)), (data.test, range(40, 51))):
        images, labels = source.take()
        assert sorted(numbers(images)) == list(expected)
        assert labels.tolist() == [n % 3 for n in numbers(images)]
        assert (images[..., 2] == 77).all()


@pytest.mark.parametrize("name", ["tiny_animals:1.0.0", "tiny_animals"])
def test_streamed_and_held_sets_are_in_the_same_order(prepared_tfds, name):
    held = load(name, data_dir=str(prepared_tfds))
    streamed = load(name, data_dir=str(prepared_tfds), cache_gb=0)
    for left, right in zip(held.train.take(), streamed.train.take(), strict=True):
        np.testing.assert_array_equal(left, right)


def test_for_an_evaluation_the_training_images_are_not_decoded(prepared_tfds):
    whole = load_tiny(prepared_tfds, validation_fraction=0.25)
    data = load_tiny(prepared_tfds, validation_fraction=0.25, test_only=True)
    assert isinstance(data.test, ArraySource) and isinstance(data.train, RecordSource)
    assert data.validation is None
    for one, other in zip(data.test.take(), whole.test.take(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_other_sizes_are_resized(prepared_tfds):
    data = load_tiny(prepared_tfds, image_size=9, cache_gb=0)
    images, _ = data.train.take(3)
    assert images.shape == (3, 9, 9, 3) and (images[..., 2] == 77).all()


def stream(directory, *, steps, start_step=0, batch_size=7, seed=2):
    batches = training_batches(
        load_tiny(directory, cache_gb=0).train,
        batch_size=batch_size,
        num_classes=3,
        data_seed=seed,
        augmentation=Augmentation(),
        start_step=start_step,
    )
    return [numbers(b["images"]) for b in batches.take(steps).as_numpy_iterator()]


def test_a_stream_has_every_example_once_per_epoch_in_changing_order(prepared_tfds):
    steps = stream(prepared_tfds, steps=12, batch_size=10)
    epochs = [list(itertools.chain(*steps[first : first + 4])) for first in (0, 4, 8)]
    assert all(sorted(epoch) == list(range(40)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    assert stream(prepared_tfds, steps=1, batch_size=10, seed=3)[0] != steps[0]


@pytest.mark.parametrize("start", [1, 4, 5, 6, 13])
def test_a_stream_resumes_where_it_was(prepared_tfds, start):
    """5 steps of 7 are an epoch of the 40 examples."""
    assert (
        stream(prepared_tfds, steps=4, start_step=start)
        == (stream(prepared_tfds, steps=start + 4)[start:])
    )


def test_windows_smaller_than_the_set_keep_every_example_once(prepared_tfds):
    whole = load_tiny(prepared_tfds, cache_gb=0).train
    source = RecordSource(whole.files, whole._parse, image_shape=whole.image_shape, window=9)
    raw = source.shuffled(seed=0, batch_size=20).take(4).as_numpy_iterator()
    orders = [numbers(source.decode(records)[0]) for records in raw]
    assert sorted(orders[0] + orders[1]) == sorted(orders[2] + orders[3]) == list(range(40))
    assert orders[0] != orders[2]


def test_validation_of_a_stream_is_whole_files(prepared_tfds):
    data = load_tiny(prepared_tfds, cache_gb=0, validation_fraction=0.25, data_seed=1)
    assert len(data.train.files) == 3 and len(data.validation.files) == 1
    chosen = numbers(data.validation.take()[0])
    assert sorted(numbers(data.train.take()[0]) + chosen) == list(range(40))
    again = load_tiny(prepared_tfds, cache_gb=0, validation_fraction=0.25, data_seed=1)
    assert numbers(again.validation.take()[0]) == chosen


def test_too_few_files_for_a_validation_part(prepared_tfds):
    message = refusal(prepared_tfds, cache_gb=0, validation_fraction=0.1)
    assert "validation_fraction=0.1" in message and "`cache_gb`" in message


def test_code_serves_where_the_metadata_cannot(own_tfds):
    """Without features.json the registered class tells the features."""
    import tensorflow_datasets as tfds

    directory, edit = own_tfds
    edit("dataset_info.json", lambda info: info.update(name="tiny_coded"))
    (directory / "tiny_animals").rename(directory / "tiny_coded")
    folder = directory / "tiny_coded" / "1.0.0"
    (folder / "features.json").unlink()
    for path in folder.glob("tiny_animals-*"):
        path.rename(folder / path.name.replace("tiny_animals", "tiny_coded"))

    class TinyCoded(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            return tfds.core.DatasetInfo(
                builder=self,
                features=tfds.features.FeaturesDict(
                    {
                        "image": tfds.features.Image(shape=(6, 6, 3)),
                        "label": tfds.features.ClassLabel(names=["ant", "bee", "cow"]),
                    }
                ),
                supervised_keys=("image", "label"),
            )

        def _split_generators(self, dl_manager):
            raise AssertionError("must not be prepared again")

        def _generate_examples(self):
            raise AssertionError("must not be prepared again")

    data = load("tiny_coded", data_dir=str(directory))
    assert sorted(numbers(data.train.take()[0])) == list(range(40))


def test_a_set_that_is_not_there_says_how_to_get_it(tmp_path):
    message = refusal(tmp_path, name="cifar100")
    assert message.startswith(f"dataset=cifar100: no prepared data in {tmp_path}/cifar100")
    assert f"tfds.load('cifar100', data_dir='{tmp_path}')" in message


def test_tfds_data_dir_is_the_default(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    with pytest.raises(InputError, match=str(tmp_path)):
        load("cifar10")


@pytest.mark.parametrize(
    "name, hint",
    [
        ("cifra100", "cifar100"),
        ("CIFAR100", "cifar100"),
        ("digit", "digits"),
        ("tiny_animal", "tiny_animals"),
        ("imagenette/161px-v2", "imagenette/160px-v2"),
    ],
)
def test_unknown_names_suggest_close_ones(prepared_tfds, name, hint):
    message = refusal(prepared_tfds, name=name)
    assert f"dataset={name}" in message and hint in message.split("did you mean")[1]


@pytest.mark.parametrize("name", ["", "no such set", "../etc", "cifar100/x/y"])
def test_impossible_names(prepared_tfds, name):
    assert "nor a name that TensorFlow Datasets knows" in refusal(prepared_tfds, name=name)


def test_a_version_that_is_not_there(prepared_tfds):
    message = refusal(prepared_tfds, name="tiny_animals:9.0.0")
    assert "version 9.0.0 is not in" in message and "1.0.0" in message


def test_sets_without_image_and_label(own_tfds):
    directory, edit = own_tfds
    edit("dataset_info.json", lambda info: info.pop("supervisedKeys"))
    assert "not an image-classification set" in refusal(directory)


@pytest.mark.parametrize(
    "dropped, words", [("train", "has no train split"), ("test", "test or validation split")]
)
def test_sets_without_a_needed_part(own_tfds, dropped, words):
    directory, edit = own_tfds

    def drop(info):
        info["splits"] = [split for split in info["splits"] if split["name"] != dropped]

    edit("dataset_info.json", drop)
    assert words in refusal(directory)


def test_validation_serves_as_test_where_there_is_none(own_tfds):
    directory, edit = own_tfds

    def rename(info):
        for split in info["splits"]:
            split["name"] = {"test": "validation"}.get(split["name"], split["name"])

    edit("dataset_info.json", rename)
    for path in (directory / "tiny_animals" / "1.0.0").glob("*-test.*"):
        path.rename(path.with_name(path.name.replace("-test.", "-validation.")))
    assert sorted(numbers(load_tiny(directory).test.take()[0])) == list(range(40, 51))


@pytest.fixture
def train_only(own_tfds):
    directory, edit = own_tfds

    def drop(info):
        info["splits"] = [split for split in info["splits"] if split["name"] == "train"]

    edit("dataset_info.json", drop)
    return directory


@pytest.mark.parametrize("whole_pictures", [False, True])
def test_a_test_part_is_cut_from_train_where_there_is_none(train_only, whole_pictures):
    assert "pass test_fraction=0.2" in refusal(train_only)
    options = {"test_fraction": 0.3, "whole_pictures": whole_pictures}
    data = load_tiny(train_only, **options, validation_fraction=0.25)
    parts = [source.take() for source in (data.train, data.validation, data.test)]
    assert [len(labels) for _, labels in parts] == [21, 7, 12]
    assert sorted(n for images, _ in parts for n in numbers(images)) == list(range(40))
    assert np.bincount(parts[2][1]).tolist() == [4, 4, 4]
    assert isinstance(data.train, RecordArraySource if whole_pictures else ArraySource)
    assert isinstance(data.test, ArraySource)
    again = load_tiny(train_only, **options, data_seed=3)
    assert numbers(again.test.take()[0]) == numbers(parts[2][0])
    assert data.origins["test"] == "test_fraction=0.3 of each class of the train split, test_seed=0"


def test_a_streamed_test_part_is_whole_files(train_only):
    data = load_tiny(train_only, test_fraction=0.25, cache_gb=0)
    assert len(data.train.files) == 3 and len(data.test.files) == 1
    assert "of the files of the train split" in data.origins["test"]
    assert "test_fraction=0.1: streamed" in refusal(train_only, test_fraction=0.1, cache_gb=0)


def test_other_data_without_a_test_part_is_evaluated_as_a_whole(train_only):
    assert load_tiny(train_only, whole_as_test=True).test.size == 40


def test_a_set_with_a_test_part_is_not_cut(prepared_tfds):
    message = refusal(prepared_tfds, test_fraction=0.2)
    assert message.startswith("test_fraction=0.2: ") and "its test split" in message


def test_images_of_many_sizes_need_an_image_size(own_tfds):
    directory, edit = own_tfds

    def free(features):
        image = features["featuresDict"]["features"]["image"]["image"]
        image["shape"]["dimensions"] = ["-1", "-1", "3"]

    edit("features.json", free)
    assert "`image_size` is needed" in refusal(directory)
    assert load_tiny(directory, image_size=6).train.take(2)[0].shape == (2, 6, 6, 3)


def test_files_of_another_format(own_tfds):
    directory, edit = own_tfds
    edit("dataset_info.json", lambda info: info.update(fileFormat="array_record"))
    assert "the prepared files are array_record, and only tfrecord" in refusal(directory)


def test_a_missing_file_is_named(own_tfds):
    directory, _ = own_tfds
    path = sorted((directory / "tiny_animals" / "1.0.0").glob("*-train*"))[2]
    path.unlink()
    assert f"the file {path} is missing" in refusal(directory)


def test_a_file_that_is_a_pipe_is_not_waited_for(own_tfds):
    directory, _ = own_tfds
    path = sorted((directory / "tiny_animals" / "1.0.0").glob("*-train*"))[1]
    path.unlink()
    os.mkfifo(path)
    assert f"{path} is a pipe, a device or a folder" in refusal(directory)


@pytest.mark.parametrize("part", ["train", "test"])
def test_a_cut_off_file_is_a_sentence(own_tfds, part):
    directory, _ = own_tfds
    path = sorted((directory / "tiny_animals" / "1.0.0").glob(f"*-{part}*"))[0]
    path.write_bytes(path.read_bytes()[:-20])
    assert "are damaged" in refusal(directory)


def test_metadata_that_cannot_be_read(own_tfds):
    directory, _ = own_tfds
    (directory / "tiny_animals" / "1.0.0" / "features.json").write_text("{")
    assert "cannot read the metadata" in refusal(directory)

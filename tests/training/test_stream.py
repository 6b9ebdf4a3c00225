"""The stream repeats as `--augmentation_views` says, and is known again by what shapes it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from PIL import Image

from std_keras.config import resolve
from std_keras.data import Shard
from std_keras.errors import InputError
from std_keras.training import build, stream
from std_keras.training.augmentation import create_augmentation
from tests.training.tiny import config

MIXED = {"augmentation": "deit", "auto_augment": "none", "random_erasing": 0.0}  # Compiles.


@pytest.fixture(scope="module")
def dataset():
    return build.load_data(config())


def resolved(**changes):
    return resolve(config(**changes), image_size=8, horizontal_flip=False)


def images(batches, count):
    return [b["images"] for b in batches.take(count).as_numpy_iterator()]


def test_two_views_are_repeated(dataset):
    """Three steps an epoch: step k has the batch of step k mod 6, wherever the stream begins."""
    endless = images(stream.training_stream(resolved(), dataset, start_step=0, shard=Shard()), 14)
    repeated = resolved(augmentation_views=2)
    for start in (0, 4, 6, 11):
        some = stream.training_stream(repeated, dataset, start_step=start, shard=Shard())
        for step, found in enumerate(images(some, 14 - start), start):
            np.testing.assert_array_equal(found, endless[step % 6], err_msg=f"{start} {step}")
    assert not np.array_equal(endless[0], endless[6])


def test_replicas_share_repeated_batches(dataset):
    repeated = resolved(augmentation_views=1)
    whole = images(stream.training_stream(repeated, dataset, start_step=2, shard=Shard()), 3)
    both = Shard(local_replicas=2, replicas=2)
    parts = images(stream.training_stream(repeated, dataset, start_step=2, shard=both), 6)
    for step in range(3):
        np.testing.assert_array_equal(np.concatenate(parts[2 * step : 2 * step + 2]), whole[step])


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"data_seed": 1}, "--data_seed"),
        ({"batch_size": 16}, "--batch_size"),
        ({"cutmix_alpha": 0.5}, "augmentation mixing.cutmix_alpha"),
        ({"crop": "none"}, "augmentation crop_padding"),
        ({"repeated_augmentation": 2}, "--repeated_augmentation"),
        ({"max_train_examples": 99}, "training images"),
        ({"validation_fraction": 0.2}, "--validation_fraction"),
        ({"validation_fraction": 0.2}, "held out"),
    ],
)
def test_what_shapes_pixels_is_among_the_facts(changes, name):
    usual, other = resolved(**MIXED), resolved(**MIXED, **changes)
    facts = [stream.facts(c, build.load_data(c)) for c in (usual, other)]
    assert facts[0].get(name) != facts[1].get(name)


def test_pictures_are_known_by_their_content_wherever_they_are(tmp_path):
    def facts(place):
        config = resolved(dataset=f"folder:{place}", image_size=8, batch_size=2)
        return stream.facts(config, build.load_data(config))

    for part in ("train", "val"):
        for name in ("cafe\u0301", "ant"):
            folder = tmp_path / "here" / part / name
            folder.mkdir(parents=True)
            for number in range(2):
                Image.new("RGB", (8, 8)).save(folder / f"{number}.png")
    before = facts(tmp_path / "here")
    moved = (tmp_path / "here").rename(tmp_path / "moved")
    for part in ("train", "val"):
        (moved / part / "cafe\u0301").rename(moved / part / "caf\u00e9")
    assert facts(moved) == before
    Image.effect_noise((8, 8), 9).convert("RGB").save(moved / "train" / "ant" / "0.png")
    assert facts(moved) != before


def test_the_parts_of_older_runs_have_the_facts_of_their_time():
    """A cache for the images that were left by the older choice serves it, and no newer run."""
    config = resolved(validation_fraction=0.2)
    older = stream.facts(config, build.load_data(config, stratified=False))
    newer = stream.facts(config, build.load_data(config))
    assert newer == older | {"held out": "of each class"}


def test_what_does_not_shape_pixels_is_not(dataset):
    usual = stream.facts(resolved(), dataset)
    for changes in (
        {"seed": 3, "width": 32, "learning_rate": 0.1},
        {"epochs": 9, "augmentation_views": 2},
        {"label_smoothing": 0.3},
    ):
        assert stream.facts(resolved(**changes), dataset) == usual


def test_a_new_option_that_is_off_changes_nothing():
    @dataclasses.dataclass(frozen=True)
    class Old:
        crop: int = 0

    @dataclasses.dataclass(frozen=True)
    class New(Old):
        shine: float = 0.0

    assert stream._differing(New(crop=2)) == stream._differing(Old(crop=2)) == {"crop": 2}


def test_alternating_flips_do_not_go_with_repeated_images(dataset):
    options = {"horizontal_flip": "alternate", "repeated_augmentation": 3}
    with pytest.raises(InputError, match="repeated_augmentation=3 an epoch holds"):
        create_augmentation(resolved(**options).augmentation, dataset, batch_size=32)

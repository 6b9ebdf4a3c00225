"""The whole recipe as a pure function of (data seed, step), and its work under starved threads."""

from __future__ import annotations

import functools
import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from std_keras.data import Augmentation, Shard, training_batches
from std_keras.data.arrays import ArraySource
from std_keras.data.augmentation import Mixing, RandAugment, ResizedCrop
from std_keras.data.files import FileSource
from tests import processes

SIDE = 24
RECIPE = Augmentation(
    resized_crop=ResizedCrop(),
    horizontal_flip=True,
    rand_augment=RandAugment(),
    color_jitter=0.3,
    erasing=0.5,
    erasing_count=2,
    mixing=Mixing(0.8, 1.0),
)
CIFAR_RECIPE = Augmentation(
    crop_padding=2, crop_twice=True, auto_augment=True, mixing=Mixing(0.0, 1.0, probability=0.5)
)
RECIPES = {"deit": RECIPE, "cifar": CIFAR_RECIPE}


def pixels():
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (40, 6, 6, 3)).astype(np.uint8)
    return np.kron(coarse, np.ones((1, 4, 4, 1), np.uint8))


def write_files(folder):
    """The images as files; returns their paths."""
    paths = [str(Path(folder) / f"{i:02d}.{('jpg', 'png')[i % 2]}") for i in range(40)]
    for path, image in zip(paths, pixels(), strict=True):
        Image.fromarray(image).resize((40, 30)).save(path)
    return paths


def stream(source, recipe=RECIPE, *, steps=4, **options):
    options = {"batch_size": 12, "num_classes": 5, "data_seed": 3, "repeats": 3, **options}
    batches = training_batches(source, augmentation=recipe, label_smoothing=0.1, **options)
    return batches.take(steps)


@functools.cache
def undisturbed(kind):
    """Eight steps of a recipe, in this process, with nothing special: what others must equal."""
    source = ArraySource(pixels(), np.arange(40) % 5)
    return list(stream(source, RECIPES[kind], steps=8).as_numpy_iterator())


def digest(batches):
    total = hashlib.sha256()
    for batch in batches:
        total.update(batch["images"].tobytes() + batch["targets"].tobytes())
    return total.hexdigest()


def of_files(folder):
    files = FileSource(write_files(folder), np.arange(40) % 5, image_size=SIDE)
    return digest(stream(files).as_numpy_iterator())


def digests(folder):
    """Of one recipe from files, of the other from memory."""
    return [of_files(folder), digest(undisturbed("cifar"))]


def in_process(folder, **variables):
    """The digests in a new process; it must not take longer than its time."""
    script = f"from {__name__} import digests; print(*digests({str(folder)!r}))"
    done = processes.run("-c", script, env={**os.environ, **variables})
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.split()


def test_a_process_with_a_single_thread_does_not_hang_and_gives_the_same(tmp_path):
    """One thread for everything: whatever waits for a second one would wait for ever."""
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    starved = {"TF_NUM_INTEROP_THREADS": "1", "TF_NUM_INTRAOP_THREADS": "1"}
    assert in_process(tmp_path / "there", **starved) == digests(tmp_path / "here")


@pytest.mark.parametrize("kind", RECIPES)
def test_pools_of_threads_make_no_difference(kind):
    source = ArraySource(pixels(), np.arange(40) % 5)
    expected = digest(undisturbed(kind)[:4])
    for pool, parallel in ((1, 1), (2, 1), (7, 2)):
        options = tf.data.Options()
        options.threading.private_threadpool_size = pool
        options.threading.max_intra_op_parallelism = parallel
        options.autotune.enabled = pool == 7
        found = stream(source, RECIPES[kind]).with_options(options)
        assert digest(found.as_numpy_iterator()) == expected


@pytest.mark.parametrize(("workers", "kind"), [((2,), "cifar"), ((1, 2), "deit")])
def test_replicas_together_make_the_same_batch(kind, workers):
    source = ArraySource(pixels(), np.arange(40) % 5)
    expected = undisturbed(kind)[:4]
    first, parts = 0, [[] for _ in expected]
    for local in workers:
        shard = Shard(first_replica=first, local_replicas=local, replicas=sum(workers))
        own = stream(source, RECIPES[kind], shard=shard, steps=len(expected) * local)
        for i, batch in enumerate(own.as_numpy_iterator()):
            parts[i // local].append(batch)
        first += local
    for whole, pieces in zip(expected, parts, strict=True):
        for key in whole:
            np.testing.assert_array_equal(np.concatenate([p[key] for p in pieces]), whole[key])


def test_a_resumed_stream_goes_on(start=3):
    source = ArraySource(pixels(), np.arange(40) % 5)
    whole = undisturbed("deit")[:7]
    rest = list(stream(source, steps=7 - start, start_step=start).as_numpy_iterator())
    for expected, got in zip(whole[start:], rest, strict=True):
        np.testing.assert_array_equal(got["images"], expected["images"])
        np.testing.assert_array_equal(got["targets"], expected["targets"])


def test_targets_sum_to_one_and_every_step_differs():
    batches = undisturbed("deit")
    for batch in batches:
        np.testing.assert_allclose(batch["targets"].sum(axis=1), 1, atol=1e-6)
        assert (batch["targets"] >= 0).all()
    assert len({batch["images"].tobytes() for batch in batches}) == len(batches)

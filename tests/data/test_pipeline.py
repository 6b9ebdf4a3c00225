from __future__ import annotations

import hashlib
import os
import threading

import numpy as np
import pytest
import tensorflow as tf

from std_keras.data import Augmentation, Shard, evaluation_batches, load, training_batches
from std_keras.data.arrays import ArraySource
from std_keras.data.pipeline import smoothed_targets
from std_keras.errors import InputError
from tests import processes
from tests.data.numbered import numbered_source, numbers

RECIPE = Augmentation(crop_padding=2, horizontal_flip=True)


def train(source=None, *, steps, augmentation=RECIPE, **options):
    """`steps` elements as NumPy."""
    options = {"batch_size": 12, "num_classes": 5, "data_seed": 3, **options}
    source = source or numbered_source(100)
    batches = training_batches(source, augmentation=augmentation, **options)
    return list(batches.take(steps).as_numpy_iterator())


def assert_same(left, right):
    assert len(left) == len(right)
    for a, b in zip(left, right, strict=True):
        assert a.keys() == b.keys()
        for key in a:
            np.testing.assert_array_equal(a[key], b[key])


def digits_digest(*, start_step: int) -> str:
    digest = hashlib.sha256()
    batches = training_batches(
        load("digits").train,
        batch_size=64,
        num_classes=10,
        data_seed=11,
        augmentation=RECIPE,
        label_smoothing=0.1,
        start_step=start_step,
    )
    for batch in batches.take(3).as_numpy_iterator():
        digest.update(batch["images"].tobytes() + batch["targets"].tobytes())
    return digest.hexdigest()


def test_batches_are_made_before_they_are_asked_for():
    made = threading.Event()

    class Heard(ArraySource):
        def decode(self, raw):
            tf.py_function(made.set, [], [])
            return super().decode(raw)

    source = Heard(np.zeros((24, 4, 4, 1), np.uint8), np.zeros(24, np.int32))
    batches = iter(
        training_batches(
            source, batch_size=12, num_classes=5, data_seed=3, augmentation=Augmentation()
        )
    )
    assert made.wait(timeout=60)
    assert next(batches)["images"].shape == (12, 4, 4, 1)


def test_same_batches_in_another_process():
    """Of another seed of Python's hashes, and with a thread less."""
    script = f"from {__name__} import digits_digest; print(hash('x'), digits_digest(start_step=21))"
    done = processes.run("-c", script, env={**os.environ, "TF_NUM_INTRAOP_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    salt, found = done.stdout.split()
    assert int(salt) != hash("x")
    assert found == digits_digest(start_step=21)


@pytest.mark.parametrize("start", [1, 7, 8, 9, 21])
def test_start_step_continues_the_same_stream(start):
    """8 steps are an epoch here: within one, at its end, and in later ones."""
    assert_same(train(steps=3, start_step=start), train(steps=start + 3)[start:])


def test_thread_counts_and_the_global_seed_make_no_difference():
    expected = train(steps=10)
    tf.random.set_seed(17)
    batches = training_batches(
        numbered_source(100), batch_size=12, num_classes=5, data_seed=3, augmentation=RECIPE
    )
    options = tf.data.Options()
    options.threading.private_threadpool_size = 1
    options.autotune.enabled = False
    assert_same(list(batches.with_options(options).take(10).as_numpy_iterator()), expected)


def test_other_data_seeds_give_other_batches():
    orders = [
        numbers(train(steps=1, augmentation=Augmentation(), data_seed=seed)[0]["images"])
        for seed in (0, 1, 2)
    ]
    assert orders[0] != orders[1] != orders[2] != orders[0]


@pytest.mark.parametrize("workers", [(2,), (1, 1), (4,), (2, 2), (1, 2, 1), (3, 3)])
def test_any_sharding_gives_the_same_global_batches(workers):
    replicas = sum(workers)
    expected = train(steps=10, label_smoothing=0.1)
    per_worker = []
    for first, local in zip(np.cumsum((0, *workers)), workers, strict=False):
        shard = Shard(first_replica=int(first), local_replicas=local, replicas=replicas)
        elements = train(steps=10 * local, label_smoothing=0.1, shard=shard)
        assert {len(e["images"]) for e in elements} == {12 // replicas}
        per_worker.append([elements[step * local : (step + 1) * local] for step in range(10)])
    merged = [
        {
            key: np.concatenate([e[key] for worker in per_worker for e in worker[step]])
            for key in ("images", "targets")
        }
        for step in range(10)
    ]
    assert_same(merged, expected)


def test_every_example_at_most_once_per_epoch_and_each_epoch_in_its_own_order():
    batches = train(numbered_source(96), steps=16, augmentation=Augmentation())
    epochs = [
        [n for batch in batches[first : first + 8] for n in numbers(batch["images"])]
        for first in (0, 8)
    ]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(96))
    assert epochs[0] != epochs[1]


def test_targets_belong_to_their_images():
    for batch in train(numbered_source(300), steps=3, augmentation=Augmentation(), num_classes=5):
        labels = np.array(numbers(batch["images"])) % 5
        np.testing.assert_array_equal(batch["targets"], np.eye(5, dtype=np.float32)[labels])


def test_shapes_are_static():
    spec = training_batches(
        numbered_source(100), batch_size=12, num_classes=5, data_seed=0, augmentation=RECIPE,
        shard=Shard(first_replica=1, local_replicas=2, replicas=3),
    ).element_spec  # fmt: skip
    assert spec["images"] == tf.TensorSpec((4, 4, 4, 3), tf.uint8)
    assert spec["targets"] == tf.TensorSpec((4, 5), tf.float32)


def test_label_smoothing_is_timms():
    # timm.data.mixup.one_hot: off = eps / K, on = 1 - eps + eps / K.
    expected = np.full((2, 4), 0.2 / 4)
    expected[0, 3] = expected[1, 0] = 1 - 0.2 + 0.2 / 4
    targets = smoothed_targets(tf.constant([3, 0]), num_classes=4, smoothing=0.2)
    np.testing.assert_allclose(targets, expected, rtol=1e-6)


@pytest.mark.parametrize("size", [23, 24, 25, 5])
@pytest.mark.parametrize("workers", [(1,), (2,), (1, 1), (1, 3)])
def test_evaluation_sees_every_example_once(size, workers):
    replicas = sum(workers)
    seen, lengths = [], []
    for first, local in zip(np.cumsum((0, *workers)), workers, strict=False):
        shard = Shard(first_replica=int(first), local_replicas=local, replicas=replicas)
        batches = evaluation_batches(numbered_source(size), batch_size=8, shard=shard)
        assert batches.element_spec["images"].shape == (8 // replicas, 4, 4, 3)
        elements = list(batches.as_numpy_iterator())
        lengths.append(len(elements) / local)
        for element in elements:
            assert element["weights"].shape == element["labels"].shape == (8 // replicas,)
            real = element["weights"] == 1
            assert set(element["weights"]) <= {0, 1}
            some = numbers(element["images"][real])
            assert element["labels"][real].tolist() == [n % 5 for n in some]
            seen += some
    assert sorted(seen) == list(range(size))
    assert set(lengths) == {-(-size // 8)}


@pytest.mark.parametrize("batch_size, replicas", [(10, 4), (3, 4), (0, 1), (-4, 2)])
def test_batches_that_cannot_be_shared_out_are_refused(batch_size, replicas):
    shard = Shard(replicas=replicas)
    with pytest.raises(InputError, match=f"batch_size={batch_size}: "):
        train(steps=1, batch_size=batch_size, shard=shard)
    with pytest.raises(InputError, match=f"batch_size={batch_size}: "):
        evaluation_batches(numbered_source(100), batch_size=batch_size, shard=shard)


def test_a_batch_larger_than_the_set_is_refused():
    with pytest.raises(InputError, match="batch_size=101: larger than the training set of 100"):
        train(steps=1, batch_size=101)


@pytest.mark.parametrize("shard", [(0, 2, 1), (-1, 1, 2), (0, 0, 1)])
def test_impossible_shards_are_refused(shard):
    with pytest.raises(ValueError, match="not a part"):
        Shard(*shard)


def test_nothing_of_tensorflow_tunes_the_threads():
    """Its thread holds an iterator that is let go, for up to a minute; seen after 20 s."""
    source = numbered_source(100)
    batches = training_batches(
        source, batch_size=8, num_classes=100, data_seed=0, augmentation=RECIPE
    )
    labels = tf.data.Dataset.range(5)
    for dataset in (
        batches,
        evaluation_batches(source, batch_size=8),
        tf.data.Dataset.zip(batches, labels).map(lambda batch, _: batch).prefetch(2),
    ):
        assert dataset.options().autotune.enabled is False


def test_only_a_few_batches_are_made_ahead():
    """Not the ever more that TensorFlow would hold of a stream that was waited for many times."""
    made, one_more = [], threading.Condition()

    def count_one(raw):
        with one_more:
            made.append(1)
            one_more.notify()
        return raw

    class Counting(ArraySource):
        def decode(self, raw):
            (count,) = tf.numpy_function(count_one, [raw], [tf.int64])
            return super().decode(tf.ensure_shape(count, raw.shape))

    source = Counting(np.zeros((24, 4, 4, 3), np.uint8), np.zeros(24, int))
    batches = training_batches(
        source, batch_size=12, num_classes=5, data_seed=0, augmentation=Augmentation()
    )
    iterator = iter(batches)
    for _ in range(200):
        next(iterator)
    # What must not come cannot be waited for: a second, which ends early if it comes.
    most = 200 + 4 + 2 * os.cpu_count()
    with one_more:
        assert not one_more.wait_for(lambda: len(made) > most, timeout=1)


def test_alternating_flips_follow_the_image_and_not_its_place():
    """Every image comes mirrored in one of two epochs and as it is in the other, by any sharding
    and from any step on."""
    images = np.zeros((24, 1, 2, 1), np.uint8)
    images[:, 0, 0, 0] = np.arange(1, 25)  # The number of an image, on its left.
    source = ArraySource(images, np.zeros(24, np.int32))
    recipe = Augmentation(horizontal_flip=True, alternate_flip=True)
    batches = train(source, steps=8, augmentation=recipe)
    mirrored = {}
    for step, batch in enumerate(batches):
        left, right = batch["images"][:, 0, 0, 0], batch["images"][:, 0, 1, 0]
        for number, is_mirrored in zip(np.maximum(left, right), left == 0, strict=True):
            mirrored.setdefault(int(number), []).append((step // 2, bool(is_mirrored)))
    assert len(mirrored) == 24
    for seen in mirrored.values():
        flags = [is_mirrored for _, is_mirrored in sorted(seen)]
        assert flags in ([True, False] * 2, [False, True] * 2)
    assert_same(train(source, steps=3, augmentation=recipe, start_step=5), batches[5:])

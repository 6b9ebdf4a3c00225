"""Repeated augmentation against DeiT's sampler."""

from __future__ import annotations

import numpy as np
import pytest

from std_keras.data import Augmentation, training_batches
from std_keras.data.arrays import ArraySource
from std_keras.data.augmentation import ResizedCrop
from std_keras.data.randomness import Purpose, derive_seed, permutation
from tests.data.numbered import numbered_source


def deits_sampler(order, *, replicas, repeats=3):
    """`RASampler` of facebookresearch/deit (samplers.py): the rows of each replica, in order."""
    indices = [index for index in order for _ in range(repeats)]
    per_replica = -(-len(order) * repeats // replicas)
    indices += indices[: per_replica * replicas - len(indices)]
    selected = len(order) // replicas
    return [indices[rank::replicas][:selected] for rank in range(replicas)]


def raw_batches(*, size, batch_size, steps, repeats=3, seed=4):
    source = numbered_source(size)
    raw = source.shuffled(seed=seed, batch_size=batch_size, repeats=repeats)
    return [batch.tolist() for batch in raw.take(steps).as_numpy_iterator()]


@pytest.mark.parametrize("replicas", [1, 2, 3, 6])
def test_a_global_batch_has_the_images_of_deits(replicas):
    size, batch_size = 120, 12
    order = permutation(size, seed=derive_seed(4, Purpose.EXAMPLE_ORDER, 0)).numpy().tolist()
    theirs = deits_sampler(order, replicas=replicas)
    local = batch_size // replicas
    for step, ours in enumerate(raw_batches(size=size, batch_size=batch_size, steps=10)):
        together = [i for own in theirs for i in own[step * local : (step + 1) * local]]
        assert sorted(ours) == sorted(together)


def test_each_image_three_times_and_the_epoch_keeps_its_length():
    steps = 100 // 12
    batches = raw_batches(size=100, batch_size=12, steps=2 * steps)
    for epoch in (batches[:steps], batches[steps:]):
        seen, counts = np.unique(np.concatenate(epoch), return_counts=True)
        assert len(seen) == 32 and (counts == 3).all()
    assert set(np.concatenate(batches[:steps])) != set(np.concatenate(batches[steps:]))


@pytest.mark.parametrize("replicas", [3, 6])
def test_copies_go_to_different_replicas(replicas):
    for batch in raw_batches(size=120, batch_size=12, steps=10):
        for own in np.reshape(batch, (replicas, -1)):
            assert len(set(own)) == len(own)


def test_copies_are_distinct_views():
    pixels = np.random.default_rng(0).integers(0, 256, (60, 12, 12, 3)).astype(np.uint8)
    source = ArraySource(pixels, np.zeros(60, int))
    batches = training_batches(
        source,
        batch_size=12,
        num_classes=5,
        data_seed=0,
        augmentation=Augmentation(resized_crop=ResizedCrop(), horizontal_flip=True),
        repeats=3,
    ).take(3)
    raw = source.shuffled(seed=0, batch_size=12, repeats=3).take(3)
    for batch, rows in zip(batches, raw, strict=True):
        images, rows = batch["images"].numpy(), rows.numpy()
        for row in set(rows.tolist()):
            assert len({copy.tobytes() for copy in images[rows == row]}) == 3

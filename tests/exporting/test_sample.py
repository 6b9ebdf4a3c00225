from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from std_keras.data import Source
from std_keras.exporting.sample import different_images, sample


class Streamed(Source):
    """Example i is an image full of i % 256 with label i; entries cannot be reached by number."""

    image_shape = (2, 2, 1)

    def __init__(self, size: int) -> None:
        self.size = size
        self.decoded = 0

    def sequential(self, *, batch_size):
        return tf.data.Dataset.range(self.size).batch(batch_size)

    def decode(self, raw):
        self.decoded += len(raw)
        images = tf.cast(raw % 256, tf.uint8)[:, None, None, None]
        return tf.tile(images, (1, 2, 2, 1)), tf.cast(raw, tf.int32)

    def shuffled(self, *, seed, batch_size, start_step=0):
        raise NotImplementedError

    def split(self, *, fraction, seed):
        raise NotImplementedError


@pytest.mark.parametrize("count", [1, 3, 10, 256, 999, 1000])
def test_examples_lie_at_equal_distances_and_no_other_is_decoded(count):
    source = Streamed(1000)
    images, labels = sample(source, count)
    np.testing.assert_array_equal(labels, [i * 1000 // count for i in range(count)])
    np.testing.assert_array_equal(images[:, 1, 1, 0], labels % 256)
    assert images.shape == (count, 2, 2, 1)
    assert images.dtype == np.uint8
    assert source.decoded == count


@pytest.mark.parametrize("count", [0, 300, 5000])
def test_all_of_them(count):
    images, labels = sample(Streamed(300), count)
    np.testing.assert_array_equal(labels, np.arange(300))
    assert len(images) == 300


def test_images_of_one_colour_and_those_that_come_again_are_not_counted():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (5, 4, 4, 3)).astype(np.uint8)
    assert different_images(images) == 5
    assert different_images(np.concatenate([images, images[::-1]])) == 5
    colours = np.broadcast_to(images[:, :1, :1], images.shape)
    assert different_images(colours) == 0
    assert different_images(np.concatenate([colours, images])) == 5

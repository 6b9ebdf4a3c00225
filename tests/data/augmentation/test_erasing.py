"""Random erasing against its definition, and against timm's own boxes."""

from __future__ import annotations

import importlib
import random

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from std_keras.data.augmentation.erasing import draw_boxes, draw_noise_keys, erase, noise
from tests.oracles import import_timm

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SHAPE = (64, 48, 3)


def boxes(*, probability=1.0, count=1, batch_size=4000, shape=SHAPE):
    return draw_boxes(
        probability=probability,
        count=count,
        batch_size=batch_size,
        seed=2,
        step=7,
        image_shape=shape,
    ).numpy()


def timm_boxes(n):
    """Heights and widths as `timm.data.random_erasing.RandomErasing` draws them."""
    import_timm()
    timm = importlib.import_module("timm.data.random_erasing")
    torch = importlib.import_module("torch")
    random.seed(0)
    eraser = timm.RandomErasing(probability=1.0, mode="const", device="cpu")
    height, width, _ = SHAPE
    found = []
    for _ in range(n):
        image = torch.ones((3, height, width))
        eraser(image)
        erased = (image[0] == 0).numpy()
        found.append((erased.any(1).sum(), erased.any(0).sum()))
    return np.array(found)


def test_areas_and_shapes_are_timms():
    top, left, height, width = boxes()[:, 0].T
    assert (top + height <= 64).all() and (left + width <= 48).all()
    assert (top >= 0).all() and (left >= 0).all() and (height > 0).all()
    heights, widths = timm_boxes(4000).T
    for ours, theirs in (
        (height * width, heights * widths),
        (height / width, heights / widths),
        (height, heights),
        (width, widths),
    ):
        # Both are of few whole numbers: the distance of the distributions counts, not its p-value.
        assert scipy.stats.ks_2samp(ours, theirs).statistic < 0.045
    area = height * width / (64 * 48)
    assert area.min() > 0.017 and area.max() < 0.345


def test_places_are_uniform():
    top, _, height, _ = boxes()[:, 0].T
    room = 64 - height
    inner = room > 8
    assert scipy.stats.kstest((top[inner] + 0.5) / (room[inner] + 1), "uniform").statistic < 0.03


def test_how_often_and_how_many():
    assert (boxes(probability=0.25)[:, 0, 2] > 0).mean() == pytest.approx(0.25, abs=0.03)
    several = boxes(count=3)
    number = (several[..., 2] > 0).sum(axis=1)
    shares = np.bincount(number, minlength=4) / len(number)
    np.testing.assert_allclose(shares, [0, 1 / 3, 1 / 3, 1 / 3], atol=0.04)
    area = several[..., 2] * several[..., 3] / (64 * 48)
    for n in (1, 2, 3):
        assert area[number == n].max() <= 1 / 3 / n + 0.02


def test_only_the_box_is_filled_and_with_normal_noise():
    image = tf.zeros((200, 200, 3), tf.uint8)
    key = draw_noise_keys(batch_size=2, seed=0, step=0)
    box = tf.constant([[20, 30, 150, 120]])
    erased = erase(image, box, key[0], mean=MEAN, std=STD).numpy()
    outside = np.ones((200, 200), bool)
    outside[20:170, 30:150] = False
    assert (erased[outside] == 0).all()
    values = erased[20:170, 30:150].reshape(-1, 3) / 255
    for channel in range(3):
        own, mean, std = values[:, channel], MEAN[channel], STD[channel]
        normal = scipy.stats.norm(mean, std)
        # Cut off at black and white.
        for quantile in (0.1, 0.3, 0.5, 0.7, 0.9):
            assert np.quantile(own, quantile) == pytest.approx(normal.ppf(quantile), abs=0.01)
        assert (own == 0).mean() == pytest.approx(normal.cdf(0.5 / 255), abs=0.005)
    assert np.abs(np.corrcoef(values.T) - np.eye(3)).max() < 0.03
    beside = np.corrcoef(values[:-1, 0], values[1:, 0])[0, 1]
    assert abs(beside) < 0.03


def test_every_image_has_its_own_noise():
    keys = draw_noise_keys(batch_size=2, seed=0, step=0)
    first, second = (noise(key, (64, 64, 3), mean=MEAN, std=STD).numpy() for key in keys)
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.05


def test_no_box_changes_nothing():
    image = tf.constant(np.arange(8 * 8 * 3, dtype=np.uint8).reshape(8, 8, 3))
    erased = erase(image, tf.zeros((2, 4), tf.int32), tf.constant([3, 4]), mean=MEAN, std=STD)
    np.testing.assert_array_equal(erased, image)

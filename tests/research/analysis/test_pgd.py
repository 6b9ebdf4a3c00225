"""Projected gradient ascent where the best image is known: linear and concave objectives."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from std_keras.research.analysis import pgd

SHAPE = (3, 4, 4, 2)


@pytest.fixture
def images():
    """Far from 0 and 255, so that the box does not matter."""
    return np.random.default_rng(1).uniform(100, 150, SHAPE).astype(np.float32)


@pytest.fixture
def slopes():
    """One linear objective for each image; 2 is steep and 0 is flat."""
    slopes = np.random.default_rng(2).normal(size=SHAPE).astype(np.float32)
    slopes[2] = 0.0
    return slopes


def linear(slopes):
    return lambda x: tf.reduce_sum(x * slopes, axis=(1, 2, 3))


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("steps", [1, 7])
def test_linf_on_a_linear_objective(images, slopes, momentum, steps):
    attack = pgd.Attack(8.0, steps, momentum=momentum)
    found = pgd.maximize(linear(slopes), images, attack)
    np.testing.assert_allclose(found, images + 8.0 * np.sign(slopes), atol=1e-4)


@pytest.mark.parametrize("steps", [1, 7])
def test_l2_on_a_linear_objective(images, slopes, steps):
    found = pgd.maximize(linear(slopes), images, pgd.Attack(20.0, steps, norm="l2"))
    length = np.sqrt((slopes**2).sum((1, 2, 3), keepdims=True))
    expected = images + 20.0 * slopes / np.maximum(length, 1e-12)
    np.testing.assert_allclose(found, expected, atol=1e-3)


@pytest.mark.parametrize("norm", pgd.NORMS)
def test_pixels_stay_pixels_and_the_ball_is_kept(slopes, norm):
    images = np.random.default_rng(3).choice([0.0, 3.0, 252.0, 255.0], SHAPE).astype(np.float32)
    found = pgd.maximize(linear(slopes), images, pgd.Attack(8.0, 5, norm=norm)).numpy()
    assert found.min() >= 0 and found.max() <= 255
    difference = found - images
    if norm == "linf":
        assert np.abs(difference).max() <= 8.0 + 1e-4
        # The exact answer with a box: each pixel by itself.
        np.testing.assert_allclose(found, np.clip(images + 8.0 * np.sign(slopes), 0, 255))
    else:
        assert np.sqrt((difference**2).sum((1, 2, 3))).max() <= 8.0 + 1e-3


def test_the_best_of_all_steps_is_kept(images):
    """A step of 25 jumps over a peak that is 1 away; the image itself is better than that."""
    peak = images + 1.0

    def objective(x):
        return -tf.reduce_sum(tf.abs(x - peak), axis=(1, 2, 3))

    found = pgd.maximize(objective, images, pgd.Attack(25.0, 1, reach=1.0))
    np.testing.assert_array_equal(found, images)
    near = pgd.maximize(objective, images, pgd.Attack(25.0, 50, reach=1.0))
    assert (objective(near).numpy() > objective(images).numpy()).all()


def test_in_a_graph_and_without_a_gradient_through_it(images, slopes):
    scale = tf.Variable(1.0)

    @tf.function
    def gradient():
        with tf.GradientTape() as tape:
            found = pgd.maximize(lambda x: scale * linear(slopes)(x), images, pgd.Attack(8.0, 3))
            loss = tf.reduce_sum(found * scale)
        return found, tape.gradient(loss, scale)

    found, slope = gradient()
    np.testing.assert_allclose(found, images + 8.0 * np.sign(slopes), atol=1e-4)
    np.testing.assert_allclose(slope, np.sum(found), rtol=1e-5)


@pytest.mark.parametrize(
    "bad", [{"norm": "l1"}, {"epsilon": -1.0}, {"steps": 0}, {"momentum": 1.0}, {"reach": 0.0}]
)
def test_bad_arguments(bad):
    with pytest.raises(ValueError):
        pgd.Attack(**{"epsilon": 8.0, "steps": 3, **bad})

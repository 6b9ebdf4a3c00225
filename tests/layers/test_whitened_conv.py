"""What whitening means, in NumPy: the filters' answers are uncorrelated and of variance one."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from std_keras.layers import WhitenedConv2D


@pytest.fixture
def images(rng):
    """Smooth ones, whose neighbouring pixels are alike, as photographs' are."""
    noise = rng.normal(size=(200, 9, 9, 3))
    return (noise[:, 1:] + noise[:, :-1] + noise[..., ::-1][:, 1:]).astype(np.float32)


def built(images, **options):
    layer = WhitenedConv2D(**options)
    layer.build((None, *images.shape[1:]))
    return layer


def test_answers_are_white(images):
    layer = built(images)
    layer.whiten(images, epsilon=0.0)
    answers = np.asarray(layer(images), np.float64)
    assert answers.shape == (200, 7, 8, 24)
    half = answers[..., :12].reshape(-1, 12)
    np.testing.assert_allclose(half.T @ half / len(half), np.eye(12), atol=2e-4)
    np.testing.assert_allclose(answers[..., 12:], -answers[..., :12], atol=1e-6)


def test_epsilon_keeps_directions_without_variance_small(images):
    flat = images.copy()
    flat[..., 2] = 0.0
    layer = built(flat)
    layer.whiten(flat, epsilon=1e-2)
    assert np.abs(layer.kernel.numpy()).max() <= 1 / np.sqrt(1e-2) + 1e-5


def test_the_kernel_does_not_learn_and_the_bias_does(images):
    layer = built(images, kernel_size=3)
    assert [v.name for v in layer.trainable_variables] == ["bias"]
    assert layer.kernel.shape == (3, 3, 3, 54)


def test_before_whitening_the_filters_are_orthonormal(images):
    kernel = built(images).kernel.numpy().reshape(12, 24)
    np.testing.assert_allclose(kernel[:, :12].T @ kernel[:, :12], np.eye(12), atol=1e-5)
    np.testing.assert_array_equal(kernel[:, 12:], -kernel[:, :12])


def test_images_smaller_than_a_patch(images):
    with pytest.raises(ValueError, match="no patch of 2x2"):
        built(images).whiten(images[:, :1])


def test_saved_and_loaded(images, reload):
    inputs = keras.Input((9, 9, 3))
    model = keras.Model(inputs, WhitenedConv2D(name="stem")(inputs))
    padded = np.pad(images, ((0, 0), (0, 1), (0, 0), (0, 0)))
    model.get_layer("stem").whiten(padded)
    again = reload(model)
    np.testing.assert_array_equal(again(padded), model(padded))
    assert [v.name for v in again.trainable_variables] == ["bias"]

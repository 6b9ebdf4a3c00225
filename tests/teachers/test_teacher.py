"""What a teacher does to images before its network sees them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from std_keras.errors import InputError
from std_keras.teachers import INPUT_RANGES, Teacher
from std_keras.teachers.teacher import check_labels

MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def seen_by(images, *, image_shape, input_range="byte"):
    """What the network of such a teacher gets to see."""
    kept = []

    def network(pixels):
        kept.append(pixels.numpy())
        return tf.zeros((len(images), 3))

    made = Teacher(
        name="t",
        site="last",
        network=network,
        scale=INPUT_RANGES[input_range],
        image_shape=image_shape,
        probabilities=False,
        compilable=True,
        label_names=None,
    )
    made.logits(tf.constant(images))
    return kept[0]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("byte", lambda v: v),
        ("unit", lambda v: v / 255),
        ("signed", lambda v: v / 127.5 - 1),
        ("imagenet", lambda v: (v / 255 - MEAN) / STD),
    ],
)
def test_input_ranges(name, expected):
    images = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3), dtype=np.uint8)
    got = seen_by(images, image_shape=(4, 4, 3), input_range=name)
    np.testing.assert_allclose(got, expected(images.astype(np.float64)), rtol=1e-5, atol=1e-5)
    assert set(INPUT_RANGES) == {"byte", "unit", "signed", "imagenet"}


@pytest.mark.parametrize("size", [(20, 20), (5, 5), (8, 11)], ids=str)
def test_resizing_is_that_of_pillow(size):
    """Pillow's bicubic filter is the same kernel, widened when it shrinks an image."""
    pixels = np.random.default_rng(1).integers(0, 256, (8, 8), dtype=np.uint8)
    got = seen_by(pixels[None, :, :, None], image_shape=(*size, 1))[0, :, :, 0]
    picture = Image.fromarray(pixels.astype(np.float32), mode="F")
    expected = np.array(picture.resize(size[::-1], Image.Resampling.BICUBIC)).clip(0, 255)
    np.testing.assert_allclose(got, expected, atol=0.05)


def test_the_overshoot_of_cubic_interpolation_is_cut():
    pixels = np.zeros((1, 8, 8, 1), np.uint8)
    pixels[:, :, 4:] = 255
    got = seen_by(pixels, image_shape=(32, 32, 1))
    assert (got.min(), got.max()) == (0.0, 255.0)


def test_an_image_of_the_right_size_is_not_touched():
    pixels = np.random.default_rng(2).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    np.testing.assert_array_equal(seen_by(pixels, image_shape=(8, 8, 3)), pixels)


def test_grey_becomes_three_equal_channels():
    pixels = np.random.default_rng(2).integers(0, 256, (3, 8, 8, 1), dtype=np.uint8)
    got = seen_by(pixels, image_shape=(8, 8, 3))
    np.testing.assert_array_equal(got, np.repeat(pixels, 3, axis=-1))


@pytest.fixture
def linear():
    """A teacher without hidden parts: logits are the first three pixels times a weight."""
    weight = tf.Variable(2.0)
    made = Teacher(
        name="t",
        site="last",
        network=lambda pixels: weight * tf.reshape(pixels, (tf.shape(pixels)[0], -1))[:, :3],
        scale=INPUT_RANGES["byte"],
        image_shape=(2, 2, 1),
        probabilities=False,
        compilable=True,
        label_names=None,
    )
    return made, weight


def test_no_gradient_flows_into_the_teacher_or_through_it(linear):
    made, weight = linear
    images = tf.Variable(tf.ones((1, 2, 2, 1)))
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(made.logits(images))
    assert tape.gradient(total, [weight, images]) == [None, None]


def test_probabilities_become_logits_of_the_same_distribution(linear):
    made, _ = linear
    p = np.array([[0.7, 0.3, 0.0]], np.float32)
    certain = dataclasses.replace(made, network=lambda _: tf.constant(p), probabilities=True)
    logits = certain.logits(tf.zeros((1, 2, 2, 1)))
    assert np.isfinite(logits).all()
    np.testing.assert_allclose(tf.nn.softmax(logits), p, atol=1e-6)


def test_compiled_gives_the_same_logits(linear, monkeypatch):
    made, _ = linear
    assert made.compiled() is made, "XLA does not pay on a CPU"
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [kind])
    assert dataclasses.replace(made, compilable=False).compiled().network is made.network
    assert made.compiled().network is not made.network
    images = tf.constant(np.arange(8, dtype=np.float32).reshape(2, 2, 2, 1))
    np.testing.assert_allclose(made.compiled().logits(images), made.logits(images))
    assert made.logits(images).dtype == tf.float32


# Labels

WANTED = ("ant", "bee", "cow")


@pytest.mark.parametrize("known", [WANTED, None])
def test_labels_that_fit(known):
    check_labels(name="t", num_classes=3, label_names=known, wanted=WANTED)


def test_another_number_of_classes():
    with pytest.raises(InputError, match="teacher=t has 4 classes, the data set has 3"):
        check_labels(name="t", num_classes=4, label_names=None, wanted=WANTED)


@pytest.mark.parametrize(
    ("own", "shown"),
    [
        (("ant", "cow", "bee"), "class 1 'cow', the data set names it 'bee'"),
        (("ant", "bee", "Cow"), "class 2 'Cow', the data set names it 'cow'"),
    ],
)
def test_other_names_or_another_order(own, shown):
    with pytest.raises(InputError, match=f"teacher=t names {shown}"):
        check_labels(name="t", num_classes=3, label_names=own, wanted=WANTED)

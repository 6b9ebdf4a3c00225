from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from std_keras.data.augmentation import Augmentation
from std_keras.data.augmentation.padded_crop import draw_alternating_flips


def reference(images, *, padding=0, corner=None, flip=None):
    """Pad, cut, mirror, one image at a time."""
    results = []
    for i, image in enumerate(images):
        height, width = image.shape[:2]
        if corner is not None:
            padded = np.pad(image, [(padding, padding), (padding, padding), (0, 0)])
            top, left = corner[i]
            image = padded[top : top + height, left : left + width]
        if flip is not None and flip[i]:
            image = np.fliplr(image)
        results.append(image)
    return np.stack(results)


@pytest.mark.parametrize("padding, flip", [(0, True), (4, False), (4, True), (2, True)])
def test_pixels_against_numpy(padding, flip):
    images = np.random.default_rng(0).integers(0, 256, (64, 9, 7, 3), dtype=np.uint8)
    augmentation = Augmentation(crop_padding=padding, horizontal_flip=flip)
    parameters = augmentation.draw(batch_size=64, seed=1, step=5, image_shape=(9, 7, 3))
    result = augmentation.apply(tf.constant(images), parameters)
    assert result.dtype == tf.uint8
    expected = reference(
        images, padding=padding, **{name: value.numpy() for name, value in parameters.items()}
    )
    np.testing.assert_array_equal(result, expected)


def test_nothing_switched_on_changes_nothing():
    images = tf.zeros((2, 4, 4, 1), tf.uint8)
    parameters = Augmentation().draw(batch_size=2, seed=0, step=0, image_shape=(4, 4, 1))
    assert parameters == {}
    assert Augmentation().apply(images, parameters) is images


def test_draws_are_uniform_over_all_corners_and_both_directions():
    augmentation = Augmentation(crop_padding=2, horizontal_flip=True)
    drawn = augmentation.draw(batch_size=50_000, seed=0, step=0, image_shape=(8, 8, 3))
    corners = drawn["corner"].numpy()
    counts = np.bincount(corners[:, 0] * 5 + corners[:, 1], minlength=25)
    chi_square = ((counts - 2000) ** 2 / 2000).sum()
    assert len(counts) == 25 and chi_square < 52.6  # 24 degrees of freedom, p = 0.0006
    assert drawn["flip"].numpy().mean() == pytest.approx(0.5, abs=0.01)
    assert abs(np.corrcoef(drawn["flip"], corners[:, 0])[0, 1]) < 0.02


def test_draws_depend_on_seed_and_step_alone():
    augmentation = Augmentation(crop_padding=4, horizontal_flip=True)

    def corners(seed, step):
        drawn = augmentation.draw(batch_size=32, seed=seed, step=step, image_shape=(8, 8, 3))
        return drawn["corner"].numpy().tolist()

    first = corners(0, 0)
    tf.random.set_seed(99)
    assert corners(0, 0) == first
    assert corners(0, 1) != first
    assert corners(1, 0) != first
    assert corners(1, 0) != corners(0, 1)


def test_negative_padding_is_refused():
    with pytest.raises(ValueError, match="-1"):
        Augmentation(crop_padding=-1)


# Alternating flips


@pytest.mark.parametrize("raw", [tf.range(4000), tf.strings.as_string(tf.range(4000))])
def test_each_image_is_mirrored_in_every_other_epoch(raw):
    first, second, third = (
        draw_alternating_flips(raw, seed=3, epoch=epoch).numpy() for epoch in range(3)
    )
    np.testing.assert_array_equal(second, ~first)
    np.testing.assert_array_equal(third, first)
    assert first.mean() == pytest.approx(0.5, abs=0.03)
    assert abs(np.corrcoef(first[1:], first[:-1])[0, 1]) < 0.06
    other = draw_alternating_flips(raw, seed=4, epoch=0).numpy()
    assert abs(np.corrcoef(first, other)[0, 1]) < 0.06

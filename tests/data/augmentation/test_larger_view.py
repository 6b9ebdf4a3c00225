"""A larger view shows what the student sees, with more pixels."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from std_keras.data.augmentation import Augmentation, Mixing, RandAugment
from std_keras.data.augmentation.larger_view import scaled_padding, scaled_parameters
from std_keras.data.augmentation.operations import Operation

SMALL, COUNT = 12, 24
GEOMETRY = {
    "padded crop": Augmentation(crop_padding=3),
    "two padded crops and a flip": Augmentation(
        crop_padding=2, crop_twice=True, horizontal_flip=True
    ),
    "mixup and CutMix": Augmentation(mixing=Mixing(0.8, 1.0)),
    "both": Augmentation(crop_padding=2, horizontal_flip=True, mixing=Mixing(0.0, 1.0)),
}


def enlarged(images, factor):
    """Every pixel as a square of factor x factor pixels."""
    return np.repeat(np.repeat(images, factor, axis=1), factor, axis=2)


def augmented(recipe, images, drawn):
    images = recipe.apply(tf.constant(images), drawn)
    partners = recipe.partners(COUNT)
    if partners is not None:
        images = recipe.mix_images(images, tf.gather(images, partners), drawn)
    return images.numpy()


@pytest.mark.parametrize("factor", [2, 3])
@pytest.mark.parametrize("recipe", GEOMETRY.values(), ids=GEOMETRY.keys())
def test_geometry_and_mixing_are_those_of_the_images(recipe, factor):
    """At a multiple of the size, with every pixel enlarged, all places are exact."""
    images = np.random.default_rng(0).integers(0, 256, (COUNT, SMALL, SMALL, 3), dtype=np.uint8)
    for step in range(6):  # Mixup, CutMix and unmixed batches.
        drawn = recipe.draw(batch_size=COUNT, seed=1, step=step, image_shape=(SMALL, SMALL, 3))
        larger, scaled = recipe.at_size(drawn, image_size=SMALL, size=factor * SMALL)
        np.testing.assert_array_equal(
            augmented(larger, enlarged(images, factor), scaled),
            enlarged(augmented(recipe, images, drawn), factor),
        )


def test_the_size_of_the_images_changes_nothing():
    recipe = Augmentation(crop_padding=2, rand_augment=RandAugment(), mixing=Mixing(0.0, 1.0))
    drawn = recipe.draw(batch_size=8, seed=0, step=0, image_shape=(SMALL, SMALL, 3))
    same, parameters = recipe.at_size(drawn, image_size=SMALL, size=SMALL)
    assert same is recipe and parameters is drawn


def test_places_are_rounded_to_the_nearest_pixel_and_stay_inside():
    """From 64 to 160 pixels, 2.5 for one."""
    corners = np.array([[0, 8], [4, 5], [3, 1]])
    boxes = np.array([[[0, 0, 0, 0], [1, 2, 3, 63]]])
    found = scaled_parameters(
        {
            "corner": tf.constant(corners),
            "erase_boxes": tf.constant(boxes),
            "mix_box": tf.constant([[0, 3, 64, 31]]),
        },
        padding=4,
        whole_shifts=False,
        image_size=64,
        size=160,
    )
    assert scaled_padding(4, image_size=64, size=160) == 10
    np.testing.assert_array_equal(
        found["corner"], 10 + np.floor((corners - 4) * 2.5 + 0.5).astype(int)
    )
    np.testing.assert_array_equal(found["mix_box"], [[0, 8, 160, 78]])
    # Rows 1 to 4 become 3 to 10 (2.5 and 10); columns 2 to 65 become 5 to 163 (162.5).
    np.testing.assert_array_equal(found["erase_boxes"], [[[0, 0, 0, 0], [3, 5, 7, 158]]])


@pytest.mark.parametrize("size", [17, 24, 29])
def test_every_shift_finds_pixels(size):
    padding = 3
    corners = np.arange(2 * padding + 1)[:, None].repeat(2, 1)
    found = scaled_parameters(
        {"corner": tf.constant(corners)},
        padding=padding,
        whole_shifts=False,
        image_size=SMALL,
        size=size,
    )["corner"].numpy()
    around = scaled_padding(padding, image_size=SMALL, size=size)
    assert found.min() >= 0 and found.max() <= 2 * around
    assert (found[padding] == around).all(), "no shift stays none"


@pytest.mark.parametrize("whole", [False, True])
def test_only_moves_grow_among_operations(whole):
    operations = [Operation.TRANSLATE_X, Operation.TRANSLATE_Y, Operation.ROTATE, Operation.SHEAR_X]
    found = scaled_parameters(
        {
            "operations": tf.constant([operations]),
            "arguments": tf.constant([[3.0, -1.0, 20.0, 0.25]]),
        },
        padding=0,
        whole_shifts=whole,
        image_size=64,
        size=160,
    )
    moved = [8.0, -2.0] if whole else [7.5, -2.5]
    np.testing.assert_array_equal(found["arguments"], [[*moved, 20.0, 0.25]])


def test_operations_and_erasing_show_the_same_picture():
    """Smooth images, so that both sizes are near what the other gives when it is scaled."""
    coarse = np.random.default_rng(2).uniform(0, 255, (COUNT, 4, 4, 3))
    views = {
        side: tf.cast(tf.clip_by_value(tf.image.resize(coarse, (side, side)), 0, 255), tf.uint8)
        for side in (32, 96)
    }
    recipe = Augmentation(
        rand_augment=RandAugment(probability=1.0), horizontal_flip=True, mixing=Mixing(0.8, 0.0)
    )
    drawn = recipe.draw(batch_size=COUNT, seed=5, step=0, image_shape=(32, 32, 3))
    larger, scaled = recipe.at_size(drawn, image_size=32, size=96)
    small = augmented(recipe, views[32], drawn).astype(float)
    large = augmented(larger, views[96], scaled).astype(float)
    reduced = large.reshape(COUNT, 32, 3, 32, 3, 3).mean(axis=(2, 4))
    apart = np.abs(reduced - small).mean(axis=(1, 2, 3))
    other = np.abs(np.roll(reduced, 1, axis=0) - small).mean(axis=(1, 2, 3))
    assert np.median(apart) < 4 < 30 < np.median(other)

    erased = dataclasses.replace(Augmentation(), erasing=1.0, erasing_count=2)
    drawn = erased.draw(batch_size=COUNT, seed=5, step=0, image_shape=(32, 32, 3))
    larger, scaled = erased.at_size(drawn, image_size=32, size=96)
    hidden = [
        (recipe.apply(images, parameters).numpy() != images.numpy()).any(-1)
        for recipe, images, parameters in (
            (erased, views[32], drawn),
            (larger, views[96], scaled),
        )
    ]
    # Noise may hit the value that is there.
    assert (enlarged(hidden[0][..., None], 3)[..., 0] == hidden[1]).mean() > 0.99

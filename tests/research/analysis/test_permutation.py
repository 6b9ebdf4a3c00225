"""The exact identity of permuted weights; shuffles are permutations; trainings start alike."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from std_keras import models
from std_keras.errors import InputError, Interrupted
from std_keras.research.analysis import permutation
from std_keras.research.analysis.small_training import SmallTraining


def make(teacher_sites=("both",), *, size=8, seed=0, **options):
    keras.utils.set_random_seed(seed)
    model = models.create_student(
        "mixer_s16",
        input_shape=(size, size, 3),
        num_classes=3,
        patch_size=2,
        width=6,
        depth=2,
        mean=(0.2, 0.5, 0.7),  # Normalisation differs by channel, not by place.
        teacher_sites=list(teacher_sites),
        **options,
    )
    rng = np.random.default_rng(seed)
    for variable in model.trainable_variables:
        variable.assign(variable.numpy() + rng.normal(0, 0.3, variable.shape))
    return model


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3)).astype(np.float32)


def test_a_patch_shuffle_by_loops(images):
    shuffle = permutation.PatchShuffle.draw(image_size=8, patch_size=2, seed=1)
    found = permutation.shuffle_patches(images, shuffle)
    for place in range(16):
        for pixel in range(4):
            source, inner = int(shuffle.patches[place]), int(shuffle.pixels[pixel])
            row, column = 2 * (place // 4) + pixel // 2, 2 * (place % 4) + pixel % 2
            from_row = 2 * (source // 4) + inner // 2
            from_column = 2 * (source % 4) + inner % 2
            np.testing.assert_array_equal(found[:, row, column], images[:, from_row, from_column])


def test_a_global_shuffle_is_one_permutation_for_all_images(images):
    found = permutation.shuffle_pixels(images, seed=3)
    assert not np.array_equal(found, images)
    flat, changed = images.reshape(5, 64, 3), found.reshape(5, 64, 3)
    order = [np.flatnonzero((flat[0] == pixel).all(axis=1))[0] for pixel in changed[0]]
    np.testing.assert_array_equal(changed, flat[:, order])


@pytest.mark.parametrize(
    "options",
    [
        {"token_mlps": 2},
        {"propagate_tokens": True},
        {"tokens": "channel", "teacher_sites": ["last", "intermediate"]},
        {"tokens": "spatial"},
        {"tokens": "none", "teacher_sites": ["last"]},
    ],
)
def test_permuted_weights_undo_the_shuffle(images, options):
    options = dict(options)
    model = make(options.pop("teacher_sites", ("both",)), **options)
    before = [w.copy() for w in model.get_weights()]
    shuffle = permutation.PatchShuffle.draw(image_size=8, patch_size=2, seed=5)
    permuted = permutation.permuted_weights(model, shuffle)
    shuffled = permutation.shuffle_patches(images, shuffle)
    heads = models.heads_model(model)
    ours, lost, theirs = heads(images), heads(shuffled), models.heads_model(permuted)(shuffled)
    for head in ours:
        np.testing.assert_allclose(theirs[head], ours[head], atol=2e-4, rtol=1e-4)
        assert np.abs(lost[head] - ours[head]).max() > 1e-2
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_other_models_are_refused():
    resnet = models.create("cifar_resnet20", input_shape=(8, 8, 3), num_classes=3)
    with pytest.raises(InputError, match="not an MLP-Mixer"):
        permutation.mixer_patch_size(resnet)


def test_small_training_starts_alike_and_learns():
    model = models.create(
        "mixer_s16", input_shape=(4, 4, 1), num_classes=2, patch_size=2, width=8, depth=1
    )
    rng = np.random.default_rng(0)
    labels = np.arange(128) % 2
    images = (rng.uniform(0, 120, (128, 4, 4, 1)) + 120 * labels[:, None, None, None]).astype("u1")
    training = SmallTraining(model, learning_rate=0.01, batch_size=16)
    training.run(images, labels, epochs=4)
    first = [v.numpy() for v in training.model.trainable_variables]
    assert training.accuracy(images, labels) > 0.9
    training.run(images, labels[::-1].copy(), epochs=1)
    training.run(images, labels, epochs=4)
    for a, b in zip(first, training.model.trainable_variables, strict=True):
        np.testing.assert_allclose(a, b.numpy(), atol=1e-5)
    with pytest.raises(Interrupted):
        training.run(images, labels, epochs=1, stop=lambda: True)

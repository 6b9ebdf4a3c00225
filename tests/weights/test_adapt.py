from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from std_keras import models
from std_keras.weights.initialize import copy_weights

SMALL = {"patch_size": 4, "width": 6, "depth": 2}
DEIT = {"patch_size": 4, "width": 64, "depth": 1}


def create(name, side, **changes):
    return models.create(name, input_shape=(side, side, 3), num_classes=5, **changes)


def fill(model):
    rng = np.random.default_rng(7)
    for weight in model.weights:
        values = rng.normal(size=weight.shape) / max(np.prod(weight.shape[:-1]), 4) ** 0.5
        weight.assign(values + (1.0 if "gamma" in weight.path or "alpha" in weight.path else 0.0))
    return model


def images(count, side):
    return np.random.default_rng(0).uniform(0, 255, (count, side, side, 3)).astype(np.float32)


def tiles_of(pixels, side):
    k = pixels.shape[1] // side
    cut = pixels.reshape(len(pixels), k, side, k, side, 3).transpose(1, 3, 0, 2, 4, 5)
    return cut.reshape(k * k, len(pixels), side, side, 3)


@pytest.mark.parametrize("name", ["mixer_s16", "resmlp_s12", "gmlp_s16", "deit_s16"])
def test_patches_of_twice_the_size_see_the_picture_halved(name):
    """As many patches as before: everything but the stem stays."""
    options = DEIT if name == "deit_s16" else SMALL
    old, new = fill(create(name, 8, **options)), create(name, 16, **{**options, "patch_size": 8})
    done = copy_weights(new, old, path="x")
    assert done.adapted == "stem resampled from 4 to 8 pixels"
    pixels = images(3, 16)
    expected = old(tf.image.resize(pixels, (8, 8), "area"))
    assert np.std(expected) > 0.05
    np.testing.assert_allclose(new(pixels), expected, atol=1e-4)


@pytest.mark.parametrize("name", ["mixer_s16", "resmlp_s12", "gmlp_s16"])
def test_token_mixing_of_tiles_gives_the_mean_over_the_tiles(name):
    old = fill(create(name, 8, **SMALL))
    wider = {"token_mlp_dim": 3 * 4} if name == "mixer_s16" else {}
    new = create(name, 16, **SMALL, **wider)
    done = copy_weights(new, old, path="x")
    assert "2 x 2 to 4 x 4 patches" in done.adapted
    assert "block-diagonal over 2 x 2 tiles" in done.adapted
    pixels = images(3, 16)
    expected = np.mean([old(tile) for tile in tiles_of(pixels, 8)], axis=0)
    assert expected.std() > 0.05
    np.testing.assert_allclose(new(pixels), expected, atol=1e-4)


def bilinear(before, after):
    """Weights (after, before) of bilinear interpolation between the centres of enlarged pixels."""
    places = np.clip((np.arange(after) + 0.5) * before / after - 0.5, 0, before - 1)
    return np.maximum(0, 1 - np.abs(places[:, np.newaxis] - np.arange(before)))


@pytest.mark.parametrize("name", ["resmlp_s12", "gmlp_s16"])
def test_matrices_between_patches_are_interpolated_on_both_sides(name):
    old = fill(create(name, 8, **SMALL))
    new = create(name, 12, **SMALL)
    assert "interpolated" in copy_weights(new, old, path="x").adapted
    path = {"resmlp_s12": "block_0/token_dense/", "gmlp_s16": "block_0/gate/token_dense/"}[name]
    before, after = (
        {w.path: w.numpy() for w in model.weights if w.path.startswith(path)}
        for model in (old, new)
    )
    places = np.kron(bilinear(2, 3), bilinear(2, 3))  # (9, 4)
    kernel = places @ before[path + "kernel"] @ places.T * 4 / 9
    np.testing.assert_allclose(after[path + "kernel"], kernel, atol=1e-6)
    np.testing.assert_allclose(after[path + "bias"], places @ before[path + "bias"], atol=1e-6)


def test_position_embeddings_are_interpolated_and_tokens_kept():
    old = fill(create("deit_ti16_distilled", 8, **DEIT))
    new = create("deit_ti16_distilled", 16, **DEIT)
    copy_weights(new, old, path="x")
    before, after = (
        model.get_layer("position_embedding").position_embedding.numpy() for model in (old, new)
    )
    np.testing.assert_array_equal(after[:2], before[:2])
    places = np.kron(bilinear(2, 4), bilinear(2, 4))
    np.testing.assert_allclose(after[2:], places @ before[2:], atol=1e-6)


def test_a_pyramid_fits_other_images_as_it_is_and_its_token_sets_are_new():
    def student(side):
        return models.create_student(
            "cifar_resnet20",
            input_shape=(side, side, 3),
            num_classes=5,
            teacher_sites=["last"],
            depth=8,
        )

    done = copy_weights(student(32), student(16), path="x")
    assert not done.adapted
    assert {name.split("/")[0] for name in done.new} <= {"tokens_0_last", "distillation_0_last"}
    assert "distillation_0_last/kernel" in done.new

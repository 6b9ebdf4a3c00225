"""Which layers are compared, and weights as pictures, on the families of models."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from std_keras import models
from std_keras.research.analysis import mixing_filters
from std_keras.research.analysis.layer_features import layer_outputs

IMAGES = dict(input_shape=(8, 8, 3), num_classes=5)


@pytest.fixture(scope="module")
def mixer():
    keras.utils.set_random_seed(0)
    small = dict(patch_size=2, width=6, depth=2)
    return models.create_student("mixer_s16", teacher_sites=["last"], **small, **IMAGES)


def test_layers_of_a_student(mixer):
    found = layer_outputs(mixer)
    assert list(found.output) == [
        "stem",
        "block_0",
        "block_1",
        "final_norm",
        "tokens_0_last/channel",
        "tokens_0_last/spatial",
        "pool",
        "classification",
        "distillation_0_last",
        "average",
    ]
    images = np.zeros((2, 8, 8, 3), np.float32)
    values = found(images)
    assert values["tokens_0_last/channel"].shape == (2, 16)
    assert values["tokens_0_last/spatial"].shape == (2, 6)
    np.testing.assert_allclose(values["average"], mixer(images), atol=1e-6)


def test_layers_inside_of_blocks():
    resnet = models.create("cifar_resnet20", **IMAGES)
    blocks = [n for n in layer_outputs(resnet).output if "block" in n]
    assert blocks == [f"stage_{s}_block_{b}" for s in range(3) for b in range(3)]
    every = layer_outputs(resnet, which="all").output
    assert {"stage_0_block_0_conv_1", "stage_1_block_0_shortcut", "stem_relu"} <= set(every)
    assert not any("padding" in name for name in every)


def test_token_mixing_filters_of_a_mixer(mixer):
    found = mixing_filters.token_mixing_filters(mixer)
    assert list(found) == ["block_0", "block_1"]  # Not those of the token set.
    kernel = mixer.get_layer("block_1").token_mlp.hidden_dense.kernel.numpy()
    filters = found["block_1"]
    assert filters.shape == (kernel.shape[1], 4, 4)
    norms = np.linalg.norm(filters, axis=(1, 2))
    assert (np.diff(norms) <= 1e-6).all()
    strongest = np.linalg.norm(kernel, axis=0).argmax()
    np.testing.assert_array_equal(filters[0].ravel(), kernel[:, strongest])


@pytest.mark.parametrize("name", ["resmlp_s12", "gmlp_ti16"])
def test_token_mixing_filters_of_other_families(name):
    model = models.create(name, patch_size=2, width=8, depth=2, **IMAGES)
    found = mixing_filters.token_mixing_filters(model)
    assert {filters.shape for filters in found.values()} == {(16, 4, 4)}
    assert len(found) == 2


def test_a_convnet_mixes_no_patches():
    resnet = models.create("cifar_resnet20", **IMAGES)
    assert mixing_filters.token_mixing_filters(resnet) == {}
    assert mixing_filters.embedding_filters(resnet).shape == (16, 3, 3, 3)


def test_embedding_filters_as_pictures(mixer):
    filters = mixing_filters.embedding_filters(mixer)
    assert filters.shape == (6, 2, 2, 3)
    pictures = mixing_filters.as_pictures(filters)
    assert pictures.min() >= 0 and pictures.max() <= 1
    largest = np.abs(filters[0]).max()
    np.testing.assert_allclose(pictures[0], 0.5 + filters[0] / largest / 2)
    assert mixing_filters.as_pictures(filters[..., :1]).shape == (6, 2, 2)


def test_locality_in_closed_form():
    one, even = np.zeros((4, 4)), np.full((4, 4), -2.0)
    one[1, 2] = 5.0
    rng = np.random.default_rng(0)
    wide = rng.normal(size=(1, 100, 100))
    assert mixing_filters.locality(np.stack([one, even])) == pytest.approx([1 / 16, 1.0])
    assert mixing_filters.locality(wide)[0] == pytest.approx(1 / 3, rel=0.05)
    assert mixing_filters.locality(np.zeros((1, 2, 2)))[0] == 0.0


def test_norms(mixer):
    rows = mixing_filters.weight_norms(mixer)
    assert len(rows) == len(mixer.trainable_weights)
    row = next(r for r in rows if r["name"] == "stem/kernel")
    values = mixer.get_layer("stem").kernel.numpy()
    assert row["norm"] == pytest.approx(np.sqrt((values.astype(float) ** 2).sum()))
    assert row["rms"] == pytest.approx(row["norm"] / values.size**0.5)
    assert row["shape"] == [2, 2, 3, 6]

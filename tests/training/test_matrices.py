"""What Muon takes for a hidden matrix in every family: by what a variable is, not by its name."""

from __future__ import annotations

import keras
import pytest

from std_keras import models
from std_keras.layers import GroupedConv2D
from std_keras.training.matrices import hidden_matrices
from tests.training.tiny import student

SMALL = {
    "mixer_s16": {"patch_size": 4, "width": 16, "depth": 2},
    "resmlp_s12": {"patch_size": 4, "depth": 2},
    "gmlp_s16": {"patch_size": 4, "width": 16, "depth": 2},
    "deit_ti16": {"patch_size": 4, "depth": 2},
    "deit_ti16_distilled": {"patch_size": 4, "depth": 2},
    "cyclemlp_b1": {},
    "swin_t": {"window_size": 4, "patch_size": 1},
    "cifar_resnet20": {"depth": 8},
    "regnety_4gf": {},
}


def owner(model, variable):
    """The layer of a model that holds a variable, at any depth."""
    (found,) = [
        layer
        for layer in model._flatten_layers()
        if any(variable is own for own in layer._trainable_variables)
    ]
    return found


def by_kind(model):
    """The paths of the trainable variables that are hidden matrices, and of those that are not."""
    hidden = {id(v) for v in hidden_matrices(model)}
    ours = [v for v in model.trainable_variables if id(v) in hidden]
    return ours, [v for v in model.trainable_variables if id(v) not in hidden]


@pytest.mark.parametrize("name", SMALL)
def test_kernels_between_the_stem_and_the_head(name):
    size = 32 if name in ("cyclemlp_b1", "regnety_4gf") else 16
    model = models.create(name, input_shape=(size, size, 3), num_classes=5, **SMALL[name])
    ours, rest = by_kind(model)
    assert ours
    assert {v.name for v in ours} == {"kernel"}
    left = {owner(model, v).name for v in rest if v.name == "kernel"}
    heads = {layer.name for layer in model.layers if isinstance(layer, keras.layers.Dense)}
    layers = list(model._flatten_layers())
    grouped = {layer.name for layer in layers if isinstance(layer, GroupedConv2D)}
    stem = next(layer.name for layer in layers if hasattr(layer, "kernel"))
    assert heads
    assert left == {stem} | heads | grouped


@pytest.mark.parametrize("tokens", ["both", "spatial", "channel", "none", "deit"])
def test_mlps_of_token_sets_are_hidden_and_heads_and_tokens_are_not(tokens):
    model = student(["last", "last"], tokens=tokens)
    ours, rest = by_kind(model)
    sets = [layer for layer in model.layers if layer.name.startswith("tokens_")]
    inside = [v for layer in sets for v in layer.trainable_variables]
    assert all(v.name == "kernel" for v in ours)
    for variable in inside:
        assert (variable.name == "kernel") == any(variable is v for v in ours), variable.path
    kernels = {owner(model, v).name for v in rest if v.name == "kernel"}
    assert kernels == {"stem", "classification", "distillation_0_last", "distillation_1_last"}


def test_names_do_not_matter():
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, name="classification")(inputs)
    x = keras.layers.Conv2D(4, 3, name="embedding")(x)
    x = keras.layers.DepthwiseConv2D(3, name="conv")(x)
    x = keras.layers.Conv2D(4, 1, groups=2, name="grouped")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Dense(4, name="token")(x)
    frozen = keras.layers.Dense(4, trainable=False, name="hidden")
    x = keras.layers.Dense(3, name="stem")(frozen(x))
    ours, _ = by_kind(keras.Model(inputs, x))
    assert [v.path for v in ours] == ["embedding/kernel", "token/kernel"]


def test_a_lone_classifier_has_no_hidden_matrix():
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(3)])
    assert hidden_matrices(model) == []

"""Precisions are replaced in a configuration, at any depth, and nothing else is."""

from __future__ import annotations

from copy import deepcopy

import pytest
from keras import layers

from std_keras.layers.layer_config import with_precision


@pytest.fixture
def config():
    """Of a layer in float16 that holds one in float32."""
    inner = layers.Dense(3, dtype="float32", name="float32")
    return layers.TimeDistributed(inner, dtype="float16").get_config()


def precisions(config) -> tuple[str, str]:
    layer = layers.TimeDistributed.from_config(deepcopy(config))  # which takes entries out of it
    return layer.dtype_policy.name, layer.layer.dtype_policy.name


def test_all_precisions(config):
    assert precisions(config) == ("float16", "float32")
    assert precisions(with_precision(config, "mixed_bfloat16")) == ("mixed_bfloat16",) * 2


def test_one_precision(config):
    changed = with_precision(config, "mixed_bfloat16", instead_of="float32")
    assert precisions(changed) == ("float16", "mixed_bfloat16")
    assert precisions(config) == ("float16", "float32"), "the original is left as it was"


def test_nothing_else_changes(config):
    assert with_precision(config, "float64", instead_of="bfloat16") == config
    changed = with_precision(config, "float64")
    assert changed["layer"]["config"]["name"] == "float32"

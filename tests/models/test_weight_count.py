"""Models that ask for more weights than their files hold."""

from __future__ import annotations

import contextlib
import resource

import keras
import pytest
import tensorflow as tf

from std_keras import models
from std_keras.models import weight_count
from std_keras.models.weight_count import UnexplainedWeightsError, explained_weights


def dense(units):
    return keras.Sequential([keras.Input((8,)), keras.layers.Dense(units, use_bias=False)])


def test_the_limit(monkeypatch):
    monkeypatch.setattr(weight_count, "ALWAYS_ALLOWED", 800)
    with explained_weights(7):
        dense(100)
    with explained_weights(404):
        dense(101)
    message = "of 808 weights or more, but holds at most 403"
    with pytest.raises(UnexplainedWeightsError, match=message), explained_weights(403):
        dense(101)


def test_no_memory_is_taken():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UnexplainedWeightsError), explained_weights(0):
        dense(2**40)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024


def test_nobody_can_swallow_it():
    swallowed = contextlib.suppress(UnexplainedWeightsError)
    with pytest.raises(UnexplainedWeightsError), explained_weights(0), swallowed:
        dense(2**40)
    dense(3)  # Outside nothing is counted.


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("mixer_s16", {"width": 16, "depth": 2}),
        ("cifar_resnet20", {"depth": 8}),
        ("swin_t", {"window_size": 4}),
        ("deit_ti16", {"depth": 2}),
    ],
)
def test_models_of_all_kinds_are_counted(name, size, monkeypatch):
    """To the last weight, as Keras counts them; also inside of models, and on many devices."""
    monkeypatch.setattr(weight_count, "ALWAYS_ALLOWED", 0)

    def build():
        return models.create(name, input_shape=(32, 32, 3), num_classes=10, **size)

    count = build().count_params()
    with explained_weights((count + 1) // 2):
        build()
    most = (count - 1) // 2
    with pytest.raises(UnexplainedWeightsError, match="weights or more"), explained_weights(most):
        build()
    scope = tf.distribute.MirroredStrategy(["CPU:0"]).scope()
    with scope, pytest.raises(UnexplainedWeightsError), explained_weights(most):
        build()

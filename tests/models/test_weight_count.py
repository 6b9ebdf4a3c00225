"""Models that ask for more weights than their files hold."""

from __future__ import annotations

import resource

import keras
import pytest

from std_keras import models
from std_keras.models.weight_count import UnexplainedWeightsError, check_weight_count


def dense(units):
    return keras.Sequential([keras.Input((8,)), keras.layers.Dense(units, use_bias=False)])


def test_the_limit():
    count = 9 * 2**23  # More than 64 million.
    check_weight_count(lambda: dense(count // 8), stored=count // 2)
    with pytest.raises(UnexplainedWeightsError, match=f"of {count:,} weights, but holds at most 7"):
        check_weight_count(lambda: dense(count // 8), stored=7)
    check_weight_count(lambda: dense(2**23), stored=0)


def test_no_memory_is_taken():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UnexplainedWeightsError):
        check_weight_count(lambda: dense(2**40), stored=0)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024


def test_nothing_is_left_behind():
    """No variables that Keras would make afterwards, no other names, no other random numbers."""
    keras.utils.set_random_seed(1)
    expected = keras.layers.Dense(3)
    expected.build((2,))
    keras.utils.set_random_seed(1)
    with pytest.raises(UnexplainedWeightsError):
        check_weight_count(lambda: dense(2**40), stored=0)
    layer = keras.layers.Dense(3)
    layer.build((2,))
    assert int(layer.name.partition("_")[2]) == int(expected.name.partition("_")[2] or 0) + 1
    assert (layer.kernel.numpy() == expected.kernel.numpy()).all()
    keras.Sequential([keras.Input((8,)), keras.layers.Lambda(lambda x: x[:, :2])])


@pytest.mark.parametrize("name", ["mixer_s16", "cifar_resnet20", "swin_t", "deit_ti16"])
def test_models_of_all_kinds_are_counted(name):
    """Without variables as many as with them."""

    def build():
        return models.create(name, input_shape=(224, 224, 3), num_classes=10)

    with keras.StatelessScope(initialize_variables=False):
        on_paper = build().count_params()
    assert on_paper == build().count_params()

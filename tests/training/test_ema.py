"""The moving average against its closed form."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from std_keras import models
from std_keras.training.ema import WeightAverage, effective_decay
from tests.training.tiny import student, values


@pytest.fixture
def resnet():
    return models.create("cifar_resnet20", depth=8, input_shape=(8, 8, 1), num_classes=10)


def walk(model, average, count, *, seed=0):
    """Gives the model `count` random sets of weights, averaging each; returns them."""
    rng = np.random.default_rng(seed)
    iterates = []
    for done in range(count):
        for variable in model.variables:
            if "float" in str(variable.dtype):
                variable.assign(rng.uniform(0.5, 1.5, variable.shape))
        iterates.append(values(model.variables))
        average.update(tf.constant(done, tf.int64))
    return iterates


@pytest.mark.parametrize("decay", [0.5, 0.9, 0.9999])
def test_effective_decay(decay):
    got = [float(effective_decay(decay, t)) for t in range(200)]
    np.testing.assert_allclose(got, [min(decay, t / (t + 9)) for t in range(200)], rtol=1e-6)


def test_the_first_update_copies_the_weights(resnet):
    average = WeightAverage(resnet, decay=0.99)
    (iterate,) = walk(resnet, average, 1)
    for variable in resnet.variables:
        variable.assign(tf.zeros_like(variable.value))
    average.copy_to_model()
    for own, expected in zip(values(resnet.variables), iterate, strict=True):
        np.testing.assert_array_equal(own, expected)


def test_the_average_is_the_closed_form_batch_norm_included(resnet):
    """The weight of iterate i is (1 - d_i) times the product of all later decays d_j."""
    decay, count = 0.6, 25
    average = WeightAverage(resnet, decay=decay)
    iterates = walk(resnet, average, count)
    decays = np.minimum(decay, np.arange(count) / (np.arange(count) + 9.0))
    weights = [(1 - decays[i]) * np.prod(decays[i + 1 :]) for i in range(count)]
    assert sum(weights) == pytest.approx(1.0)
    assert decays[-1] == decay, "the warm-up must be over"
    average.copy_to_model()
    names = {v.name for v in resnet.variables}
    assert {"moving_mean", "moving_variance"} <= names
    for index, variable in enumerate(resnet.variables):
        expected = sum(w * it[index] for w, it in zip(weights, iterates, strict=True))
        np.testing.assert_allclose(variable.numpy(), expected, rtol=1e-5, err_msg=variable.path)


def test_in_place_restores_every_bit_also_after_an_error(resnet):
    average = WeightAverage(resnet, decay=0.9)
    walk(resnet, average, 3)
    before = values(resnet.variables)
    with pytest.raises(RuntimeError, match="stop"), average.in_place():
        inside = values(resnet.variables)
        raise RuntimeError("stop")
    assert any((a != b).any() for a, b in zip(before, inside, strict=True))
    for own, expected in zip(values(resnet.variables), before, strict=True):
        np.testing.assert_array_equal(own, expected)


def test_the_state_of_random_numbers_is_not_averaged():
    model = student(stochastic_depth=0.5)
    seeds = [v for v in model.variables if "float" not in str(v.dtype)]
    assert seeds, "stochastic depth keeps its random state as a weight"
    average = WeightAverage(model, decay=0.9)
    before = values(seeds)
    with average.in_place():
        for own, expected in zip(values(seeds), before, strict=True):
            np.testing.assert_array_equal(own, expected)


def test_update_works_in_a_graph(resnet):
    average, twin = WeightAverage(resnet, decay=0.9), WeightAverage(resnet, decay=0.9)
    walk(resnet, average, 2)
    graph = tf.function(twin.update)
    walk_again = np.random.default_rng(0)
    for done in range(2):
        for variable in resnet.variables:
            if "float" in str(variable.dtype):
                variable.assign(walk_again.uniform(0.5, 1.5, variable.shape))
        graph(tf.constant(done, tf.int64))
    with average.in_place():
        expected = values(resnet.variables)
    with twin.in_place():
        got = values(resnet.variables)
    for own, other in zip(got, expected, strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-6)

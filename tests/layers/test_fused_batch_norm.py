"""Values, gradients and moving averages against Keras' layer and NumPy in double precision."""

from __future__ import annotations

import types

import keras
import numpy as np
import pytest
import tensorflow as tf

from std_keras.layers import FusedBatchNorm

SHAPE = (6, 5, 4, 3)


@pytest.fixture
def x(rng):
    return (rng.standard_normal(SHAPE) * [1.0, 20.0, 0.1] + [0.0, 50.0, -3.0]).astype(np.float32)


def pair(rng, shape=SHAPE, **options):
    """Ours and Keras' with equal weights that are nothing special."""
    layers = (
        FusedBatchNorm(**options),
        keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5, synchronized=True, **options),
    )
    for layer in layers:
        layer.build(shape)
    weights = [rng.uniform(0.5, 2.0, weight.shape) for weight in layers[0].weights]
    for layer in layers:
        layer.set_weights(weights)
    return layers


def trained(layer, x, upstream):
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x, training=True)
    return y, *tape.gradient(y, [x, *layer.trainable_weights], upstream)


@pytest.fixture
def fused_calls(monkeypatch):
    """How often TensorFlow's fused operation was made."""
    calls = []
    original = tf.compat.v1.nn.fused_batch_norm

    def counted(*args, **kwargs):
        calls.append(1)
        return original(*args, **kwargs)

    monkeypatch.setattr(tf.compat.v1.nn, "fused_batch_norm", counted)
    return calls


@pytest.mark.parametrize("xla", [False, True])
@pytest.mark.parametrize("options", [{}, {"scale": False}, {"center": False}])
def test_training_equals_keras(rng, x, xla, options, fused_calls):
    own, keras_own = pair(rng, **options)
    upstream = rng.standard_normal(SHAPE).astype(np.float32)
    call = tf.function(trained, jit_compile=xla)
    found = call(own, tf.constant(x), tf.constant(upstream))
    assert fused_calls
    expected = trained(keras_own, tf.constant(x), tf.constant(upstream))
    for ours, theirs in zip(found, expected, strict=True):
        theirs = np.asarray(theirs)
        scale = np.abs(theirs).reshape(-1, SHAPE[-1]).max(axis=0)
        np.testing.assert_allclose(ours / scale, theirs / scale, atol=1e-4)
    for ours, theirs in zip(own.weights, keras_own.weights, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-5)


def test_in_bfloat16_a_graph_for_a_cpu_has_sums_in_float32(rng, x, fused_calls):
    own, keras_own = pair(rng, dtype="mixed_bfloat16", scale=False)
    narrow = tf.cast(x, tf.bfloat16)
    upstream = tf.cast(rng.standard_normal(SHAPE), tf.bfloat16)
    found = tf.function(trained)(own, narrow, upstream)
    assert fused_calls
    wide = trained(keras_own, tf.cast(narrow, tf.float32), upstream)
    assert found[0].dtype == tf.bfloat16
    for ours, theirs in zip(found, wide, strict=True):
        ours, theirs = (np.asarray(tf.cast(value, tf.float64)) for value in (ours, theirs))
        scale = np.abs(theirs).reshape(-1, SHAPE[-1]).max(axis=0)
        np.testing.assert_allclose(ours / scale, theirs / scale, atol=2e-2)
    for ours, theirs in zip(own.weights, keras_own.weights, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4)


def test_moving_averages_in_closed_form(rng, x):
    own, _ = pair(rng)
    mean, variance = (np.array(weight, np.float64) for weight in own.weights[2:])
    for _ in range(3):
        own(x, training=True)
        mean = 0.9 * mean + 0.1 * x.astype(np.float64).mean(axis=(0, 1, 2))
        variance = 0.9 * variance + 0.1 * x.astype(np.float64).var(axis=(0, 1, 2))
    np.testing.assert_allclose(own.moving_mean, mean, rtol=1e-5)
    np.testing.assert_allclose(own.moving_variance, variance, rtol=1e-5)


def test_a_single_value_for_each_channel(fused_calls):
    layer = FusedBatchNorm()
    y = layer(tf.fill((1, 1, 1, 2), 7.0), training=True)
    np.testing.assert_array_equal(y, np.zeros((1, 1, 1, 2)))
    np.testing.assert_allclose(layer.moving_variance, [0.9, 0.9])
    assert fused_calls


def test_inference_is_keras_own(rng, x, fused_calls):
    own, keras_own = pair(rng)
    np.testing.assert_array_equal(own(x, training=False), keras_own(x, training=False))
    own.trainable = keras_own.trainable = False
    np.testing.assert_array_equal(own(x, training=True), keras_own(x, training=True))
    assert not fused_calls


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((6, 3), {}),
        (SHAPE, {"dtype": "float64"}),
        (SHAPE, {"dtype": "mixed_bfloat16"}),
        (SHAPE, {"axis": 1}),
    ],
)
def test_what_the_operation_cannot_do_is_keras_own(rng, shape, options, fused_calls):
    own, keras_own = pair(rng, shape, **options)
    x = rng.standard_normal(shape)
    np.testing.assert_array_equal(
        tf.cast(own(x, training=True), "float64"), tf.cast(keras_own(x, training=True), "float64")
    )
    assert not fused_calls


def test_several_devices_use_keras_own(x, fused_calls, monkeypatch):
    """It sums over devices; tests/training/test_equality.py trains on several."""
    layer = FusedBatchNorm()
    assert layer.synchronized
    several = types.SimpleNamespace(num_replicas_in_sync=2)
    monkeypatch.setattr(tf.distribute, "get_strategy", lambda: several)
    layer.build(SHAPE)
    layer.call(tf.constant(x), training=True)
    assert not fused_calls


def test_saved_and_loaded(rng, x, reload):
    inputs = keras.Input(SHAPE[1:])
    model = keras.Model(inputs, FusedBatchNorm(name="norm")(inputs))
    model.set_weights([rng.uniform(0.5, 2.0, weight.shape) for weight in model.weights])
    again = reload(model)
    assert isinstance(again.get_layer("norm"), FusedBatchNorm)
    np.testing.assert_array_equal(again(x), model(x))
    assert again.get_layer("norm").get_config() == model.get_layer("norm").get_config()

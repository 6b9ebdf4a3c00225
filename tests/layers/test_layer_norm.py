"""Values and gradients against Keras' layer, and a closed form in NumPy's double precision."""

from __future__ import annotations

import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from std_keras.layers import LayerNorm

SHAPE = (4, 6, 5)
EPSILON = 1e-3


@pytest.fixture(autouse=True)
def _compile_small_ones_too(monkeypatch):
    monkeypatch.setattr(sys.modules["std_keras.layers.compiled"], "SMALLEST_COMPILED", 0)


@pytest.fixture
def x(rng):
    return rng.standard_normal(SHAPE) * [[[1.0]], [[20.0]], [[0.1]], [[3.0]]] + 2.0


def pair(rng, **options):
    """Ours and Keras' with equal weights that are nothing special."""
    layers = (
        LayerNorm(EPSILON, **options),
        keras.layers.LayerNormalization(epsilon=EPSILON, **options),
    )
    for layer in layers:
        layer.build(SHAPE)
    weights = [rng.uniform(0.5, 2.0, weight.shape) for weight in layers[0].weights]
    for layer in layers:
        layer.set_weights(weights)
    return layers


def trained(layer, x, upstream, **call):
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x, **call)
    return y, *tape.gradient(y, [x, *layer.trainable_weights], upstream)


def functions_called(call, *args):
    graph = call.get_concrete_function(*args).graph
    return [o.type for o in graph.get_operations() if o.type.endswith("PartitionedCall")]


@pytest.mark.parametrize("shape_known", [True, False])
@pytest.mark.parametrize("xla", [False, True])
@pytest.mark.parametrize(
    ("policy", "tolerance"),
    [("float64", 1e-12), ("float32", 2e-5), ("mixed_bfloat16", 3e-2), ("bfloat16", 3e-2)],
)
def test_training_equals_keras(rng, x, policy, tolerance, xla, shape_known):
    own, keras_own = pair(rng, dtype=policy)
    x = tf.cast(x, own.compute_dtype)
    upstream = tf.cast(rng.standard_normal(SHAPE), own.compute_dtype)
    spec = None if shape_known else [tf.TensorSpec((None, *SHAPE[1:]), x.dtype)] * 2

    def step(x, upstream):
        return trained(own, x, upstream, training=True)

    found = tf.function(step, jit_compile=xla, input_signature=spec)(x, upstream)
    expected = trained(keras_own, x, upstream)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == theirs.dtype
        scale = np.abs(theirs.numpy().astype(np.float64)).max()
        difference = np.abs(ours.numpy().astype(np.float64) - theirs.numpy().astype(np.float64))
        assert difference.max() <= tolerance * scale


def test_gradients_in_closed_form(rng, x):
    own, _ = pair(rng, dtype="float64")
    upstream = rng.standard_normal(SHAPE)
    step = tf.function(lambda x, u: trained(own, x, u, training=True))
    y, of_x, of_gamma, of_beta = step(tf.constant(x), tf.constant(upstream))
    gamma, beta = (np.asarray(weight) for weight in own.weights)
    deviation = np.sqrt(x.var(axis=-1, keepdims=True) + EPSILON)
    standardized = (x - x.mean(axis=-1, keepdims=True)) / deviation
    np.testing.assert_allclose(y, standardized * gamma + beta, atol=1e-12)
    np.testing.assert_allclose(of_gamma, (upstream * standardized).sum(axis=(0, 1)), atol=1e-12)
    np.testing.assert_allclose(of_beta, upstream.sum(axis=(0, 1)), atol=1e-12)
    # Row by row with the whole Jacobian, d y_i / d x_j.
    features = SHAPE[-1]
    for place in np.ndindex(SHAPE[:-1]):
        row, scale = standardized[place], deviation[place][0]
        jacobian = np.eye(features) - 1.0 / features - np.outer(row, row) / features
        expected = (upstream[place] * gamma) @ jacobian / scale
        np.testing.assert_allclose(of_x[place], expected, atol=1e-12)


def test_only_training_is_compiled_and_only_outside_of_xla(rng, x):
    own, _ = pair(rng)
    x = tf.constant(x, tf.float32)

    def calls(**options):
        training = options.pop("training")
        call = tf.function(lambda x: trained(own, x, x, training=training), **options)
        return functions_called(call, x)

    assert len(calls(training=True)) == 2  # The value and the gradient.
    assert calls(training=False) == []
    assert calls(training=True, jit_compile=True) == []


@pytest.mark.parametrize("training", [False, None])
@pytest.mark.parametrize(
    ("policy", "tolerance"),
    [("float64", 1e-12), ("float32", 2e-5), ("mixed_bfloat16", 3e-2), ("bfloat16", 3e-2)],
)
def test_inference_equals_keras(rng, x, policy, tolerance, training):
    own, keras_own = pair(rng, dtype=policy)
    x = tf.cast(x, own.compute_dtype)
    ours, theirs = own(x, training=training), keras_own(x)
    assert ours.dtype == theirs.dtype
    difference = np.abs(ours.numpy().astype(np.float64) - theirs.numpy().astype(np.float64))
    assert difference.max() <= tolerance * np.abs(theirs.numpy().astype(np.float64)).max()


def test_inference_takes_fewer_operators_than_keras(rng):
    def operators(layer):
        graph = tf.function(layer).get_concrete_function(tf.TensorSpec(SHAPE)).graph
        names = [o.type for o in graph.get_operations()]
        return [
            n for n in names if n in ("Mean", "Sub", "SquaredDifference", "Mul", "AddV2", "Neg")
        ]

    own, keras_own = map(operators, pair(rng))
    assert own == ["Mean", "Sub", "Mul", "Mean", "AddV2", "Mul", "Mul", "AddV2"]
    assert len(own) < len(keras_own)


@pytest.mark.parametrize("options", [{"axis": (1, 2)}, {"center": False}, {"scale": False}])
def test_what_it_does_not_know_is_keras_own(rng, x, options):
    own, keras_own = pair(rng, **options)
    x = tf.constant(x, tf.float32)
    found = tf.function(lambda x: trained(own, x, x, training=True))
    assert functions_called(found, x) == []
    for ours, theirs in zip(found(x), trained(keras_own, x, x), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


def test_configuration(rng):
    own, _ = pair(rng)
    again = LayerNorm.from_config(own.get_config())
    assert again.get_config() == own.get_config() and again.epsilon == EPSILON
    assert LayerNorm().epsilon == 1e-6


@pytest.mark.parametrize("epsilon", [0.0, -1e-6, float("nan")])
def test_an_epsilon_that_leaves_no_number_is_refused(epsilon):
    with pytest.raises(ValueError, match=f"^epsilon={epsilon} must be above 0"):
        LayerNorm(epsilon=epsilon)

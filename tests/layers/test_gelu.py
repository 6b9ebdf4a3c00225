"""Values and gradients of GELU against closed forms in NumPy's double precision and Keras'."""

from __future__ import annotations

import math
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from std_keras.layers import GELU, MLP
from std_keras.layers.gelu import biased_gelu, gelu


@pytest.fixture(autouse=True)
def _compile_small_ones_too(monkeypatch):
    monkeypatch.setattr(sys.modules["std_keras.layers.compiled"], "SMALLEST_COMPILED", 0)


X = np.concatenate([np.linspace(-9.0, 9.0, 181), [-40.0, 40.0, 0.0]])


# TensorFlow's own, which the tanh is, has constants in float32.
VALUE_TOLERANCE = {
    "exact": {"rtol": 1e-12, "atol": 1e-14},
    "tanh": {"rtol": 1e-6, "atol": 1e-8},
}


def values(x: np.ndarray, kind: str) -> np.ndarray:
    if kind == "exact":
        return x * np.vectorize(lambda x: 0.5 * math.erfc(-x / math.sqrt(2.0)))(x)
    return 0.5 * x * (1.0 + np.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3)))


def exact_slope(x: float) -> float:
    cumulative = 0.5 * math.erfc(-x / math.sqrt(2.0))
    return cumulative + x * math.exp(-x * x / 2.0) / math.sqrt(2.0 * math.pi)


def tanh_slope(x: float, step: float = 1e-5) -> float:
    def value(x: float) -> float:
        return 0.5 * x * (1.0 + math.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3)))

    return (value(x + step) - value(x - step)) / (2.0 * step)


def value_and_gradient(x, kind: str, *, upstream=None):
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = gelu(x, kind=kind, training=True)
    return y, tape.gradient(y, x, upstream)


@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize(("kind", "slope"), [("exact", exact_slope), ("tanh", tanh_slope)])
def test_slope_in_double_precision(kind, slope, graph):
    call = tf.function(value_and_gradient) if graph else value_and_gradient
    y, found = call(tf.constant(X, tf.float64), kind, upstream=tf.constant(2.0 * X, tf.float64))
    expected = 2.0 * X * np.vectorize(slope)(X)
    np.testing.assert_allclose(found, expected, atol=1e-13 if kind == "exact" else 1e-8)
    np.testing.assert_allclose(y, values(X, kind), **VALUE_TOLERANCE[kind])
    own = gelu(tf.constant(X, tf.float64), kind=kind, training=False)
    np.testing.assert_allclose(y, own, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("kind", ["exact", "tanh"])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 4e-6), ("bfloat16", 2e-2)])
@pytest.mark.parametrize("xla", [False, True])
def test_equals_the_automatic_gradient(kind, dtype, tolerance, xla):
    x = tf.cast(X, dtype)
    y, found = tf.function(value_and_gradient, jit_compile=xla)(x, kind)
    wide = tf.cast(x, tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(wide)
        expected = keras.activations.gelu(wide, approximate=kind == "tanh")
    assert y.dtype == found.dtype == x.dtype
    np.testing.assert_allclose(tf.cast(y, tf.float64), expected, rtol=tolerance, atol=tolerance)
    slope = tape.gradient(expected, wide)
    np.testing.assert_allclose(tf.cast(found, tf.float64), slope, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "bfloat16", "float64"])
def test_a_model_trains_as_with_keras_gelu(rng, policy):
    """The gradients of all weights of an MLP whose GELU Keras differentiates by itself."""
    mlp = MLP(7, 3, dtype=policy)
    mlp.build((None, 5))
    x = tf.cast(rng.normal(size=(6, 5)), mlp.compute_dtype)

    def plain(x):
        hidden = keras.activations.gelu(mlp.hidden_dense(x), approximate=False)
        return mlp.output_dense(hidden)

    @tf.function
    def gradients(call):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.square(tf.cast(call(x), tf.float64)))
        return tape.gradient(loss, [v.value for v in mlp.trainable_variables])

    tolerance = 5e-2 if "bfloat16" in policy else 1e-5
    found = gradients(lambda x: mlp(x, training=True))
    for own, other in zip(found, gradients(plain), strict=True):
        np.testing.assert_allclose(
            tf.cast(own, tf.float64), tf.cast(other, tf.float64), rtol=tolerance, atol=tolerance
        )


@pytest.mark.parametrize(("kind", "slope"), [("exact", exact_slope), ("tanh", tanh_slope)])
def test_the_bias_inside_in_double_precision(rng, kind, slope):
    bias, upstream = rng.standard_normal(2), np.stack([2.0 * X, 1.0 - X], axis=1)
    x = np.stack([X, X + 0.3], axis=1) - bias

    @tf.function
    def step(x, bias, upstream):
        with tf.GradientTape() as tape:
            tape.watch([x, bias])
            y = biased_gelu(x, bias, kind=kind)
        return y, *tape.gradient(y, [x, bias], upstream)

    y, of_x, of_bias = step(*(tf.constant(v, tf.float64) for v in (x, bias, upstream)))
    np.testing.assert_allclose(y, values(x + bias, kind), **VALUE_TOLERANCE[kind])
    expected = upstream * np.vectorize(slope)(x + bias)
    np.testing.assert_allclose(of_x, expected, atol=1e-12 if kind == "exact" else 1e-7)
    np.testing.assert_allclose(
        of_bias, expected.sum(axis=0), atol=1e-10 if kind == "exact" else 1e-5
    )


def test_bfloat16_is_rounded_once():
    """Value and slope are the nearest bfloat16 to the exact ones; in between is float32."""
    x = tf.cast(X, tf.bfloat16)
    y, found = tf.function(value_and_gradient)(x, "exact")
    wide = np.asarray(x, np.float64)
    for ours, exact in ((y, values(wide, "exact")), (found, np.vectorize(exact_slope)(wide))):
        exact = np.asarray(exact, np.float64)
        # Half a unit in the last of 8 bits, and what float32 loses of 1 + erf in the tail.
        rounding = 1.01 * 2.0**-8 * np.abs(exact) + 2e-7 * (1.0 + np.abs(wide))
        assert (np.abs(np.asarray(ours, np.float64) - exact) <= rounding).all()


def test_layers_of_equal_shape_share_one_program():
    """XLA compiles a function once, however many layers call it."""

    def calls(shape):
        @tf.function
        def twice(x):
            y = gelu(gelu(x, kind="exact", training=True), kind="exact", training=True)
            return tf.gradients(y, x)

        graph = twice.get_concrete_function(tf.TensorSpec(shape)).graph
        return [
            operation.get_attr("f").name
            for operation in graph.get_operations()
            if operation.type == "PartitionedCall"
        ]

    first, again, other = calls((3, 5)), calls((3, 5)), calls((3, 6))
    assert len(first) == 4
    assert len(set(first)) == 2  # The value and the gradient.
    assert set(again) == set(first)
    assert not set(other) & set(first)


def test_inference_has_the_operators_that_converters_know():
    def operators(training):
        call = tf.function(lambda x: gelu(x, kind="exact", training=training))
        graph = call.get_concrete_function(tf.TensorSpec((4,))).graph
        return [operation.type for operation in graph.get_operations()]

    keras_own = tf.function(lambda x: keras.activations.gelu(x, approximate=False))
    expected = keras_own.get_concrete_function(tf.TensorSpec((4,))).graph
    assert operators(False) == [operation.type for operation in expected.get_operations()]
    assert operators(True) != operators(False)


@pytest.mark.parametrize("loop", [False, True])
def test_xla_fuses_by_itself(loop):
    """In a function that XLA compiles as a whole nothing is a function of its own."""

    def twice(x):
        if not loop:
            return gelu(gelu(x, kind="exact", training=True), kind="exact", training=True)
        for _ in tf.range(2):
            x = gelu(x, kind="exact", training=True)
        return x

    def names(jit_compile):
        call = tf.function(twice, jit_compile=jit_compile)
        graph = call.get_concrete_function(tf.TensorSpec((3, 5))).graph
        return str(graph.as_graph_def())

    assert "PartitionedCall" not in names(True)
    assert "PartitionedCall" in names(False)


def test_small_arrays_are_not_worth_compiling(monkeypatch):
    monkeypatch.setattr(sys.modules["std_keras.layers.compiled"], "SMALLEST_COMPILED", 16)

    def operators(shape):
        call = tf.function(lambda x: gelu(x, kind="exact", training=True))
        graph = call.get_concrete_function(tf.TensorSpec(shape)).graph
        return {operation.type for operation in graph.get_operations()}

    assert "PartitionedCall" in operators((4, 4))
    assert "PartitionedCall" not in operators((3, 5))
    assert "PartitionedCall" not in operators((None, 4))


@pytest.mark.parametrize("kind", ["exact", "tanh"])
def test_the_layer_is_the_function(rng, reload, kind):
    x = rng.normal(size=(4, 3, 5)).astype(np.float32)
    inputs = keras.Input((3, 5))
    model = keras.Model(inputs, GELU(kind)(inputs))
    for training in (False, True):
        np.testing.assert_allclose(model(x, training=training), values(x, kind), atol=1e-6)
    np.testing.assert_array_equal(reload(model)(x), model(x))


def test_the_layer_refuses_an_unknown_kind():
    with pytest.raises(ValueError, match="'erf'"):
        GELU("erf")

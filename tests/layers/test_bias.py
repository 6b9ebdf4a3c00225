"""The bias and its gradient against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from std_keras.layers.bias import add_bias, column_sums


@pytest.mark.parametrize("shape", [(7, 3), (2, 4, 3), (2, 3, 4, 5)])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-14), ("bfloat16", 1e-2)])
@pytest.mark.parametrize("graph", [False, True])
def test_value_and_gradient(rng, shape, dtype, tolerance, graph):
    x, upstream = (tf.cast(rng.standard_normal(shape), dtype) for _ in range(2))
    bias = tf.cast(rng.standard_normal(shape[-1]), dtype)

    def step(x, bias, upstream):
        with tf.GradientTape() as tape:
            tape.watch([x, bias])
            y = add_bias(x, bias)
        return y, *tape.gradient(y, [x, bias], upstream)

    y, of_x, of_bias = (tf.function(step) if graph else step)(x, bias, upstream)
    wide_x, wide_bias, wide = (np.asarray(v, np.float64) for v in (x, bias, upstream))
    np.testing.assert_allclose(np.asarray(y, np.float64), wide_x + wide_bias, atol=3 * tolerance)
    np.testing.assert_array_equal(of_x, upstream)
    sums = wide.sum(axis=tuple(range(len(shape) - 1)))
    np.testing.assert_allclose(np.asarray(of_bias, np.float64), sums, rtol=tolerance, atol=1e-13)


def test_many_rows_are_summed_in_float32():
    """In bfloat16 alone, 256 + 1 is 256."""
    sums = column_sums(tf.ones((4096, 8), tf.bfloat16))
    np.testing.assert_array_equal(np.asarray(sums, np.float64), 4096.0)

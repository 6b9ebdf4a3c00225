from __future__ import annotations

import math

import keras
import numpy as np
import pytest

from std_keras.layers import MLP


def gelu_exact(x: np.ndarray) -> np.ndarray:
    return x * 0.5 * (1.0 + np.vectorize(math.erf)(x / math.sqrt(2.0)))


def gelu_tanh(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1.0 + np.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3)))


@pytest.mark.parametrize(("gelu", "reference"), [("exact", gelu_exact), ("tanh", gelu_tanh)])
def test_equals_numpy(rng, gelu, reference):
    mlp = MLP(7, 3, gelu=gelu)
    mlp.build((None, 4, 5))
    w1, b1, w2, b2 = (rng.normal(size=weight.shape) for weight in mlp.weights)
    mlp.set_weights([w1, b1, w2, b2])
    x = 2.0 * rng.normal(size=(2, 4, 5))
    expected = reference(x @ w1 + b1) @ w2 + b2
    # The two forms differ by up to 5e-4, so this tolerance tells them apart.
    np.testing.assert_allclose(mlp(x.astype("float32")), expected, atol=2e-5)


def test_round_trip(rng, reload):
    inputs = keras.Input((4, 5))
    model = keras.Model(inputs, MLP(7, 3, gelu="tanh")(inputs))
    x = rng.normal(size=(2, 4, 5)).astype("float32")
    np.testing.assert_array_equal(reload(model)(x), model(x))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"hidden": 0, "output": 1}, "hidden=0"),
        ({"hidden": 1, "output": 1, "gelu": "fast"}, "fast"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        MLP(**arguments)

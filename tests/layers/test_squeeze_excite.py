from __future__ import annotations

import keras
import numpy as np
import pytest

from std_keras.layers import SqueezeExcite


def test_equals_numpy(rng, reload):
    inputs = keras.Input((4, 5, 6))
    layer = SqueezeExcite(3)
    model = keras.Model(inputs, layer(inputs))
    for weight in model.weights:
        weight.assign(rng.normal(size=weight.shape))
    x = rng.normal(size=(2, 4, 5, 6)).astype("float32")
    w1, b1, w2, b2 = layer.get_weights()
    gates = np.maximum(x.mean(axis=(1, 2)) @ w1 + b1, 0.0) @ w2 + b2
    expected = x / (1.0 + np.exp(-gates))[:, None, None, :]
    np.testing.assert_allclose(model(x), expected, atol=1e-5)
    np.testing.assert_array_equal(reload(model)(x), model(x))


def test_needs_a_hidden_channel():
    with pytest.raises(ValueError, match="hidden=0"):
        SqueezeExcite(0)

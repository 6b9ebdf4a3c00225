from __future__ import annotations

import keras
import numpy as np

from std_keras.layers import PrependToken


def test_prepends_one_learned_row(rng, reload):
    inputs = keras.Input((4, 6))
    layer = PrependToken()
    model = keras.Model(inputs, layer(inputs))
    x = rng.normal(size=(2, 4, 6)).astype("float32")
    y = np.array(model(x))
    np.testing.assert_array_equal(y[:, 1:], x)
    np.testing.assert_array_equal(y[:, 0], np.repeat(layer.token.numpy(), 2, axis=0))
    assert 0.0 < np.abs(layer.token.numpy()).max() <= 0.04
    assert model.output_shape == (None, 5, 6)
    np.testing.assert_array_equal(reload(model)(x), y)

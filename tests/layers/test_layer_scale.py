from __future__ import annotations

import keras
import numpy as np
import pytest

from std_keras.layers import LayerScale


def test_starts_as_it_was_told(rng):
    x = rng.normal(size=(2, 4, 6)).astype("float32")
    np.testing.assert_allclose(LayerScale(0.25)(x), 0.25 * x, atol=1e-6)


def test_scales_channels(rng, reload):
    inputs = keras.Input((4, 6))
    layer = LayerScale(0.1)
    model = keras.Model(inputs, layer(inputs))
    scale = rng.normal(size=6)
    layer.scale.assign(scale)
    x = rng.normal(size=(2, 4, 6)).astype("float32")
    np.testing.assert_allclose(model(x), x * scale, atol=1e-5)
    loaded = reload(model)
    np.testing.assert_array_equal(loaded(x), model(x))
    assert loaded.layers[-1].initial == 0.1


def test_number_of_channels_must_be_known():
    with pytest.raises(ValueError, match="fixed last size"):
        LayerScale(0.1).build((None, 4, None))

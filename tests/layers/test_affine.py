from __future__ import annotations

import keras
import numpy as np
import pytest

from std_keras.layers import Affine


def test_starts_as_the_identity(rng):
    x = rng.normal(size=(2, 4, 6)).astype("float32")
    np.testing.assert_array_equal(Affine()(x), x)


def test_scales_and_shifts_channels(rng, reload):
    inputs = keras.Input((4, 6))
    layer = Affine()
    model = keras.Model(inputs, layer(inputs))
    alpha, beta = rng.normal(size=(2, 6))
    layer.alpha.assign(alpha)
    layer.beta.assign(beta)
    x = rng.normal(size=(2, 4, 6)).astype("float32")
    np.testing.assert_allclose(model(x), x * alpha + beta, atol=1e-5)
    np.testing.assert_array_equal(reload(model)(x), model(x))


def test_number_of_channels_must_be_known():
    with pytest.raises(ValueError, match="fixed last size"):
        Affine().build((None, 4, None))

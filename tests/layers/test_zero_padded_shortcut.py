from __future__ import annotations

import keras
import numpy as np
import pytest

from std_keras.layers import ZeroPaddedShortcut


@pytest.mark.parametrize(("size", "channels", "before"), [(6, 8, 2), (5, 8, 2), (4, 7, 1)])
def test_subsamples_and_pads(rng, reload, size, channels, before):
    inputs = keras.Input((size, size, 4))
    model = keras.Model(inputs, ZeroPaddedShortcut(channels)(inputs))
    x = rng.normal(size=(2, size, size, 4)).astype("float32")
    half = (size + 1) // 2
    expected = np.zeros((2, half, half, channels), "float32")
    for row in range(half):
        for column in range(half):
            expected[:, row, column, before : before + 4] = x[:, 2 * row, 2 * column]
    assert model.output_shape == (None, *expected.shape[1:])
    np.testing.assert_array_equal(model(x), expected)
    np.testing.assert_array_equal(reload(model)(x), expected)


def test_cannot_drop_channels():
    with pytest.raises(ValueError, match="channels=2"):
        ZeroPaddedShortcut(2)(keras.Input((4, 4, 3)))

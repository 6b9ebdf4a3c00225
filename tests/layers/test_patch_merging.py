from __future__ import annotations

import keras
import numpy as np
import pytest

from std_keras.layers import PatchMerging


def test_equals_numpy(rng, reload):
    inputs = keras.Input((4, 6, 3))
    layer = PatchMerging(layer_norm_epsilon=0.1)
    model = keras.Model(inputs, layer(inputs))
    for weight in model.weights:
        weight.assign(rng.normal(size=weight.shape))
    x = rng.normal(size=(2, 4, 6, 3)).astype("float32")
    assert model.output_shape == (None, 2, 3, 6)
    y = np.asarray(model(x))
    for i in range(2):
        for j in range(3):
            four = [x[:, 2 * i + di, 2 * j + dj] for di, dj in ((0, 0), (1, 0), (0, 1), (1, 1))]
            row = np.concatenate(four, axis=-1)
            row = row - row.mean(axis=-1, keepdims=True)
            row = row / np.sqrt((row**2).mean(axis=-1, keepdims=True) + 0.1)
            row = row * layer.norm.gamma.numpy() + layer.norm.beta.numpy()
            np.testing.assert_allclose(y[:, i, j], row @ layer.reduction.kernel.numpy(), atol=1e-4)
    np.testing.assert_array_equal(reload(model)(x), y)


def test_sides_must_be_even():
    with pytest.raises(ValueError, match="even H and W"):
        PatchMerging()(keras.Input((4, 5, 3)))

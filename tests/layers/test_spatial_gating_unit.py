from __future__ import annotations

import keras
import numpy as np
import pytest

from std_keras.layers import SpatialGatingUnit


def test_starts_with_an_open_gate(rng):
    x = rng.normal(size=(2, 4, 6)).astype("float32")
    np.testing.assert_allclose(SpatialGatingUnit()(x), x[..., :3], atol=1e-4)


def test_equals_numpy(rng, reload):
    inputs = keras.Input((4, 6))
    unit = SpatialGatingUnit(layer_norm_epsilon=0.1)
    model = keras.Model(inputs, unit(inputs))
    gamma, beta = rng.normal(size=(2, 3))
    kernel, bias = rng.normal(size=(4, 4)), rng.normal(size=4)
    unit.norm.set_weights([gamma, beta])
    unit.token_dense.set_weights([kernel, bias])
    x = rng.normal(size=(2, 4, 6)).astype("float32")
    u, v = x[..., :3], x[..., 3:]
    deviation = np.sqrt(v.var(-1, keepdims=True) + 0.1)
    v = (v - v.mean(-1, keepdims=True)) / deviation * gamma + beta
    gate = np.einsum("bpc,pq->bqc", v, kernel) + bias[:, None]
    np.testing.assert_allclose(model(x), u * gate, atol=1e-4)
    assert model.output_shape == (None, 4, 3)
    np.testing.assert_array_equal(reload(model)(x), model(x))


@pytest.mark.parametrize(
    ("shape", "message"), [((None, None, 6), "fixed P, N"), ((None, 4, 5), "even")]
)
def test_bad_shape(shape, message):
    with pytest.raises(ValueError, match=message):
        SpatialGatingUnit().build(shape)

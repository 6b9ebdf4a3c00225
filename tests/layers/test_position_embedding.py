from __future__ import annotations

import keras
import numpy as np
import pytest

from std_keras.layers import PositionEmbedding


def test_adds_a_learned_row_to_each_row(rng, reload):
    inputs = keras.Input((4, 6))
    layer = PositionEmbedding()
    model = keras.Model(inputs, layer(inputs))
    added = rng.normal(size=(4, 6)).astype("float32")
    assert 0.0 < np.abs(layer.position_embedding.numpy()).max() <= 0.04
    layer.position_embedding.assign(added)
    x = rng.normal(size=(2, 4, 6)).astype("float32")
    np.testing.assert_array_equal(model(x), x + added)
    np.testing.assert_array_equal(reload(model)(x), x + added)


def test_needs_a_fixed_number_of_rows():
    with pytest.raises(ValueError, match="fixed P, N"):
        PositionEmbedding()(keras.Input((None, 6)))

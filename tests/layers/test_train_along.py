from __future__ import annotations

import keras
import numpy as np

from std_keras.layers import TrainAlong


def test_it_is_its_first_input_and_keeps_the_layers_of_the_others():
    inputs = keras.Input((3,))
    kept = keras.layers.Dense(2, name="kept")(inputs)
    other = keras.layers.Dense(2, name="other")(inputs)
    model = keras.Model(inputs, TrainAlong(name="along")([kept, other]))
    assert {layer.name for layer in model.layers} >= {"kept", "other"}
    assert len(model.trainable_weights) == 4
    x = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    np.testing.assert_array_equal(model(x), model.get_layer("kept")(x))
    again = keras.models.model_from_json(model.to_json())
    again.set_weights(model.get_weights())
    np.testing.assert_array_equal(again(x), model(x))
    assert TrainAlong.from_config(TrainAlong(name="x").get_config()).name == "x"

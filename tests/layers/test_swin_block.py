from __future__ import annotations

import keras
import numpy as np

from std_keras.layers import SwinBlock, TransformerBlock


def test_one_window_without_bias_is_a_transformer_block(rng):
    swin, block = SwinBlock(3, 20, window_size=4), TransformerBlock(3, 20)
    swin.build((None, 4, 4, 12))
    block.build((None, 16, 12))
    for weight in block.weights:
        weight.assign(rng.normal(size=weight.shape) / 3)
    bias = swin.attention.relative_position_bias
    bias.assign(np.zeros(bias.shape))
    for layer in ("attention_norm", "mlp_norm", "mlp"):
        getattr(swin, layer).set_weights(getattr(block, layer).get_weights())
    swin.attention.attention.set_weights(block.attention.get_weights())
    x = rng.normal(size=(2, 4, 4, 12)).astype("float32")
    expected = np.asarray(block(x.reshape(2, 16, 12))).reshape(x.shape)
    np.testing.assert_allclose(swin(x), expected, atol=1e-5)


def test_round_trip(rng, reload):
    inputs = keras.Input((8, 8, 6))
    block = SwinBlock(2, 10, window_size=4, shift=2, stochastic_depth=0.25, gelu="tanh")
    model = keras.Model(inputs, block(inputs))
    loaded = reload(model)
    config = loaded.get_layer(block.name).get_config()
    assert (config["window_size"], config["shift"], config["gelu"]) == (4, 2, "tanh")
    x = rng.normal(size=(2, 8, 8, 6)).astype("float32")
    np.testing.assert_array_equal(loaded(x), model(x))

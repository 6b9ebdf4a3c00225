from __future__ import annotations

import keras
import numpy as np
import pytest

from std_keras.layers import ResMLPBlock


def test_token_mixing_is_linear(rng):
    """Without the MLP a block is an affine map, so it keeps the middle of two inputs."""
    block = ResMLPBlock(7, 0.5)
    x, y = rng.normal(size=(2, 1, 4, 6)).astype("float32")
    block(x)
    block.channel_scale.scale.assign(np.zeros(6))
    middle = (np.array(block(x)) + np.array(block(y))) / 2
    np.testing.assert_allclose(block((x + y) / 2), middle, atol=1e-5)
    changed = x.copy()
    changed[0, 1, 2] += 1.0
    difference = np.abs(np.array(block(changed)) - np.array(block(x)))[0]
    # All patches of one channel: there is no normalisation over channels.
    expected = np.broadcast_to(np.arange(6) == 2, (4, 6))
    np.testing.assert_array_equal(difference > 1e-7, expected)


def test_initialisation():
    block = ResMLPBlock(400, 1e-5)
    block.build((None, 300, 100))
    np.testing.assert_array_equal(block.token_scale.scale, np.full(100, np.float32(1e-5)))
    np.testing.assert_array_equal(block.channel_scale.scale, np.full(100, np.float32(1e-5)))
    mlp = block.channel_mlp
    for dense in (block.token_dense, mlp.hidden_dense, mlp.output_dense):
        # Cutting at two standard deviations leaves 0.88 of 0.02.
        assert dense.kernel.numpy().std() == pytest.approx(0.0176, rel=0.03)
        assert not np.any(dense.bias.numpy())


def test_stochastic_depth_drops_both_branches_independently(rng):
    x = rng.normal(size=(400, 4, 6)).astype("float32")
    block = ResMLPBlock(7, 0.5, stochastic_depth=0.5, seed=1)
    out = np.array(block(x, training=True))
    sure = ResMLPBlock(7, 0.5)
    sure.build(x.shape)
    sure.set_weights(block.get_weights()[: len(sure.weights)])
    outcomes = []
    for token in (0.0, 2.0):
        for channel in (0.0, 2.0):
            sure.token_scale.scale.assign(token * block.token_scale.scale)
            sure.channel_scale.scale.assign(channel * block.channel_scale.scale)
            outcomes.append(np.abs(out - np.array(sure(x))).max(axis=(1, 2)) < 1e-6)
    matches = np.stack(outcomes, axis=1)
    np.testing.assert_array_equal(matches.sum(axis=1), 1)
    # Four equally likely outcomes; the standard error of each share is 0.022.
    np.testing.assert_allclose(matches.mean(axis=0), 0.25, atol=0.08)


def test_round_trip(rng, reload):
    inputs = keras.Input((4, 6))
    block = ResMLPBlock(7, 0.3, gelu="tanh", stochastic_depth=0.5, seed=2)
    model = keras.Model(inputs, block(inputs))
    x = rng.normal(size=(2, 4, 6)).astype("float32")
    loaded = reload(model)
    np.testing.assert_array_equal(loaded(x), model(x))
    config = loaded.layers[-1].get_config()
    assert config == block.get_config()
    assert (config["layer_scale"], config["gelu"], config["seed"]) == (0.3, "tanh", 2)


def test_number_of_patches_must_be_known():
    with pytest.raises(ValueError, match="fixed P, N"):
        ResMLPBlock(7, 0.1)(keras.Input((None, 6)))

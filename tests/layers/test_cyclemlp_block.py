from __future__ import annotations

import keras
import numpy as np
import pytest

from std_keras.layers import CycleMLPBlock


def test_reads_the_direct_neighbours_and_the_mean(rng):
    """With equal weights of the branches a change goes one step along each axis, no further."""
    block = CycleMLPBlock(16)
    x = rng.normal(size=(1, 7, 7, 9)).astype("float32")
    block(x)
    changed = x.copy()
    changed[0, 3, 2] += rng.normal(size=9)
    block.mixing.reweight.output_dense.kernel.assign(np.zeros((2, 27)))
    difference = np.abs(np.array(block(changed)) - np.array(block(x)))[0].max(axis=-1)
    expected = np.zeros((7, 7), bool)
    expected[3, 1:4] = expected[2:5, 2] = True
    np.testing.assert_array_equal(difference > 1e-7, expected)


def test_stochastic_depth_drops_branches_of_whole_samples(rng):
    x = rng.normal(size=(400, 2, 2, 4)).astype("float32")
    block = CycleMLPBlock(8, stochastic_depth=0.5, seed=1)
    out = np.array(block(x, training=True))
    outcomes = []
    for mixing in (0.0, 2.0):
        mixed = x + mixing * np.array(block.mixing(block.mixing_norm(x)))
        for channel in (0.0, 2.0):
            expected = mixed + channel * np.array(block.mlp(block.mlp_norm(mixed)))
            outcomes.append(np.abs(out - expected).max(axis=(1, 2, 3)) < 1e-6)
    matches = np.stack(outcomes, axis=1)
    np.testing.assert_array_equal(matches.sum(axis=1), 1)
    # Four equally likely outcomes; the standard error of each share is 0.022.
    np.testing.assert_allclose(matches.mean(axis=0), 0.25, atol=0.08)


def test_round_trip(rng, reload):
    inputs = keras.Input((4, 5, 8))
    block = CycleMLPBlock(16, gelu="tanh", layer_norm_epsilon=0.1, stochastic_depth=0.5, seed=2)
    model = keras.Model(inputs, block(inputs))
    x = rng.normal(size=(2, 4, 5, 8)).astype("float32")
    loaded = reload(model)
    np.testing.assert_array_equal(loaded(x), model(x))
    config = loaded.layers[-1].get_config()
    assert config == block.get_config()
    assert (config["gelu"], config["layer_norm_epsilon"], config["seed"]) == ("tanh", 0.1, 2)


def test_takes_any_height_and_width(rng):
    inputs = keras.Input((None, None, 8))
    model = keras.Model(inputs, CycleMLPBlock(16)(inputs))
    assert model(rng.normal(size=(1, 3, 6, 8)).astype("float32")).shape == (1, 3, 6, 8)


def test_needs_an_image():
    with pytest.raises(ValueError, match=r"\(B, H, W, N\)"):
        CycleMLPBlock(16)(keras.Input((4, 8)))

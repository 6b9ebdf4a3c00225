from __future__ import annotations

import keras
import numpy as np
import pytest

from std_keras.layers import GMLPBlock


def test_patches_meet_in_the_gate_alone(rng):
    block = GMLPBlock(8)
    x = rng.normal(size=(1, 4, 6)).astype("float32")
    block(x)
    changed = x.copy()
    changed[0, 1, 2] += 1.0

    def changed_patches() -> np.ndarray:
        difference = np.abs(np.array(block(changed)) - np.array(block(x)))[0]
        return difference.max(axis=1) > 1e-6

    kernel = block.gate.token_dense.kernel
    kernel.assign(np.zeros((4, 4)))
    np.testing.assert_array_equal(changed_patches(), [False, True, False, False])
    kernel.assign(rng.normal(size=(4, 4)))
    assert changed_patches().all()


def test_stochastic_depth_drops_the_branch_of_whole_samples(rng):
    x = rng.normal(size=(400, 4, 6)).astype("float32")
    block = GMLPBlock(8, stochastic_depth=0.25, seed=1)
    branch = np.array(block(x)) - x
    ratio = np.sum((np.array(block(x, training=True)) - x) * branch, (1, 2)) / np.sum(
        branch**2, (1, 2)
    )
    kept = ratio > 0.5
    np.testing.assert_allclose(ratio, np.where(kept, 4 / 3, 0.0), atol=1e-4)
    # The standard error is 0.022.
    assert kept.mean() == pytest.approx(0.75, abs=0.08)


def test_round_trip(rng, reload):
    inputs = keras.Input((4, 6))
    block = GMLPBlock(8, gelu="tanh", layer_norm_epsilon=0.1, stochastic_depth=0.5, seed=2)
    model = keras.Model(inputs, block(inputs))
    x = rng.normal(size=(2, 4, 6)).astype("float32")
    loaded = reload(model)
    np.testing.assert_array_equal(loaded(x), model(x))
    config = loaded.layers[-1].get_config()
    assert config == block.get_config()
    assert (config["gelu"], config["layer_norm_epsilon"], config["seed"]) == ("tanh", 0.1, 2)


@pytest.mark.parametrize("width", [0, 7])
def test_the_gate_needs_an_even_width(width):
    with pytest.raises(ValueError, match=f"channel_mlp_dim={width}"):
        GMLPBlock(width)


def test_number_of_patches_must_be_known():
    with pytest.raises(ValueError, match="fixed P, N"):
        GMLPBlock(8)(keras.Input((None, 6)))

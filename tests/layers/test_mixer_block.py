from __future__ import annotations

import keras
import numpy as np
import pytest

from std_keras.layers import MixerBlock


def test_each_half_mixes_along_its_own_axis(rng):
    """With the other half's last layer at zero, a change spreads along one axis only."""
    x = rng.normal(size=(1, 4, 6)).astype("float32")
    changed = x.copy()
    changed[0, 1, 2] += 1.0
    for silent, expected in (
        # Channel mixing alone: the changed patch, all channels.
        ("token_mlp", np.arange(4)[:, None] == 1),
        # Token mixing alone: all patches; LayerNorm first spreads the change over the channels of
        # patch 1, so everything changes.
        ("channel_mlp", np.ones((4, 1), bool)),
    ):
        block = MixerBlock(5, 7)
        block(x)
        mlp = getattr(block, silent)
        mlp.output_dense.kernel.assign(np.zeros(mlp.output_dense.kernel.shape))
        difference = np.abs(np.array(block(changed)) - np.array(block(x)))[0]
        np.testing.assert_array_equal(difference > 1e-7, np.broadcast_to(expected, (4, 6)))


def test_stochastic_depth_drops_both_branches_independently(rng):
    x = rng.normal(size=(400, 4, 6)).astype("float32")
    block = MixerBlock(5, 7, stochastic_depth=0.5, seed=1)
    out = np.array(block(x, training=True))
    branch = np.array(block.token_mlp(np.swapaxes(np.array(block.token_norm(x)), 1, 2)))
    branch = 2.0 * np.swapaxes(branch, 1, 2)
    after_token = {}
    for kept in (False, True):
        mixed = x + kept * branch
        channel = 2.0 * np.array(block.channel_mlp(block.channel_norm(mixed)))
        after_token[kept, False] = mixed
        after_token[kept, True] = mixed + channel
    matches = np.stack(
        [np.abs(out - y).max(axis=(1, 2)) < 1e-5 for y in after_token.values()], axis=1
    )
    np.testing.assert_array_equal(matches.sum(axis=1), 1)
    # Four equally likely outcomes; the standard error of each share is 0.022.
    np.testing.assert_allclose(matches.mean(axis=0), 0.25, atol=0.08)


def test_round_trip(rng, reload):
    inputs = keras.Input((4, 6))
    block = MixerBlock(5, 7, gelu="tanh", layer_norm_epsilon=1e-5, stochastic_depth=0.5)
    model = keras.Model(inputs, block(inputs))
    x = rng.normal(size=(2, 4, 6)).astype("float32")
    loaded = reload(model)
    np.testing.assert_array_equal(loaded(x), model(x))
    assert loaded.layers[-1].get_config() == block.get_config()


def test_number_of_patches_must_be_known():
    with pytest.raises(ValueError, match="fixed P, N"):
        MixerBlock(5, 7)(keras.Input((None, 6)))

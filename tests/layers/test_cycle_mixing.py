from __future__ import annotations

import keras
import numpy as np
import pytest

from std_keras.layers import CycleMixing


@pytest.mark.parametrize("branch", [0, 1, 2])
def test_the_softmax_chooses_between_branches(rng, branch):
    mixing = CycleMixing()
    x = rng.normal(size=(2, 4, 5, 8)).astype("float32")
    mixing(x)
    mixing.reweight.output_dense.kernel.assign(np.zeros((2, 24)))
    # The branch is the fastest index.
    mixing.reweight.output_dense.bias.assign(np.tile(50.0 * (np.arange(3) == branch), 8))
    chosen = (mixing.width_fc, mixing.height_fc, mixing.channel_fc)[branch]
    np.testing.assert_allclose(mixing(x), mixing.projection(chosen(x)), atol=1e-6)


def test_channels_have_weights_of_their_own(rng):
    mixing = CycleMixing()
    x = rng.normal(size=(1, 4, 5, 8)).astype("float32")
    mixing(x)
    mixing.projection.kernel.assign(np.eye(8))
    mixing.reweight.output_dense.kernel.assign(np.zeros((2, 24)))
    bias = np.zeros((8, 3))
    bias[:, 2] = 50.0
    bias[6] = (50.0, 0.0, 0.0)
    mixing.reweight.output_dense.bias.assign(bias.ravel())
    expected = np.array(mixing.channel_fc(x))
    expected[..., 6] = np.array(mixing.width_fc(x))[..., 6]
    np.testing.assert_allclose(mixing(x), expected, atol=1e-6)


def test_initialisation():
    mixing = CycleMixing()
    mixing.build((None, 2, 2, 256))
    kernels = [weight for weight in mixing.weights if weight.name == "kernel"]
    assert len(kernels) == 6
    for kernel in kernels:
        # Cutting at two standard deviations leaves 0.88 of 0.02.
        assert kernel.numpy().std() == pytest.approx(0.0176, rel=0.03)
    # All but the dense branch have a bias.
    biases = [weight.numpy() for weight in mixing.weights if weight.name == "bias"]
    assert len(biases) == 5
    assert not any(np.any(bias) for bias in biases)


@pytest.mark.parametrize("channels", [3, 8])
def test_round_trip(rng, reload, channels):
    inputs = keras.Input((4, 5, channels))
    model = keras.Model(inputs, CycleMixing(gelu="tanh", name="mixing")(inputs))
    x = rng.normal(size=(2, 4, 5, channels)).astype("float32")
    loaded = reload(model)
    np.testing.assert_array_equal(loaded(x), model(x))
    assert loaded.get_layer("mixing").gelu == "tanh"


def test_needs_an_image():
    with pytest.raises(ValueError, match=r"\(B, H, W, N\)"):
        CycleMixing()(keras.Input((4, 8)))

from __future__ import annotations

import numpy as np
import pytest

from std_keras import models
from std_keras.errors import InputError
from tests.models import torch_state
from tests.oracles import import_timm

IMAGE = {"input_shape": (16, 16, 3), "num_classes": 5}
OPTIONS = {"patch_size": 4, "width": 12, "depth": 3}


@pytest.mark.parametrize("shape", [(16, 16, 3), (8, 12, 1)])
def test_equals_timm(rng, randomize, shape):
    timm = import_timm()
    torch = pytest.importorskip("torch")
    model = randomize(models.create("gmlp_s16", input_shape=shape, num_classes=5, **OPTIONS))
    state = torch_state.TorchState(torch)
    state.put("stem.proj", model.get_layer("stem"))
    for i in range(3):
        block = model.get_layer(f"block_{i}")
        state.put(f"blocks.{i}.norm", block.norm)
        state.put(f"blocks.{i}.mlp_channels.fc1", block.hidden_dense)
        state.put(f"blocks.{i}.mlp_channels.gate.norm", block.gate.norm)
        state.put(f"blocks.{i}.mlp_channels.gate.proj", block.gate.token_dense)
        state.put(f"blocks.{i}.mlp_channels.fc2", block.output_dense)
    state.put("norm", model.get_layer("final_norm"))
    state.put("head", model.get_layer("classification"))
    reference = timm.mlp_mixer.MlpMixer(
        num_classes=5,
        img_size=shape[:2],
        in_chans=shape[2],
        patch_size=4,
        num_blocks=3,
        embed_dim=12,
        mlp_ratio=6,
        block_layer=timm.mlp_mixer.SpatialGatingBlock,
        mlp_layer=timm.mlp_mixer.GatedMlp,
    )
    pixels = rng.integers(0, 256, size=(3, *shape), dtype=np.uint8)
    expected = torch_state.logits(torch, reference, state, pixels)
    assert expected.std() > 0.05
    np.testing.assert_allclose(model(pixels), expected, atol=1e-4)


@pytest.mark.parametrize(("depth", "ramp"), [(3, [0.0, 0.1, 0.2]), (1, [0.0])])
def test_stochastic_depth_ramps(depth, ramp):
    model = models.create("gmlp_s16", **IMAGE, **{**OPTIONS, "depth": depth}, stochastic_depth=0.2)
    rates = [model.get_layer(f"block_{i}").stochastic_depth for i in range(depth)]
    assert rates == pytest.approx(ramp)


def test_initialisation():
    model = models.create("gmlp_s16", **IMAGE, patch_size=4, width=200, depth=1)
    assert not np.any(model.get_layer("classification").kernel.numpy())
    block = model.get_layer("block_0")
    # Glorot: variance 2 / (fan_in + fan_out).
    std = block.hidden_dense.kernel.numpy().std()
    assert std == pytest.approx(np.sqrt(2 / (200 + 1200)), rel=0.02)
    assert block.gate.token_dense.kernel.numpy().std() == pytest.approx(1e-6, rel=0.2)
    np.testing.assert_array_equal(block.gate.token_dense.bias, np.ones(16))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"patch_size": 5}, "patch_size=5: image size 16 is not divisible by it"),
        ({"channel_mlp_dim": 9}, "channel_mlp_dim=9: must be even"),
        ({"channel_mlp_dim": 0}, "channel_mlp_dim=0: must be at least 1"),
        ({"layer_norm_epsilon": 0.0}, "layer_norm_epsilon=0.0"),
        ({"token_mlp_dim": 8}, "`token_mlp_dim` does not apply to gmlp_s16"),
    ],
)
def test_bad_input_gets_a_sentence(options, message):
    with pytest.raises(InputError, match=message):
        models.create("gmlp_s16", **IMAGE, **options)

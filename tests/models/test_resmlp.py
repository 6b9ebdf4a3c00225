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
    model = randomize(models.create("resmlp_s24", input_shape=shape, num_classes=5, **OPTIONS))
    state = torch_state.TorchState(torch)

    def put_affine(key, layer):
        state.put_array(f"{key}.alpha", layer.alpha[None, None])
        state.put_array(f"{key}.beta", layer.beta[None, None])

    state.put("stem.proj", model.get_layer("stem"))
    for i in range(3):
        block = model.get_layer(f"block_{i}")
        put_affine(f"blocks.{i}.norm1", block.token_affine)
        state.put(f"blocks.{i}.linear_tokens", block.token_dense)
        state.put_array(f"blocks.{i}.ls1", block.token_scale.scale)
        put_affine(f"blocks.{i}.norm2", block.channel_affine)
        state.put(f"blocks.{i}.mlp_channels.fc1", block.channel_mlp.hidden_dense)
        state.put(f"blocks.{i}.mlp_channels.fc2", block.channel_mlp.output_dense)
        state.put_array(f"blocks.{i}.ls2", block.channel_scale.scale)
    put_affine("norm", model.get_layer("final_norm"))
    state.put("head", model.get_layer("classification"))
    reference = timm.mlp_mixer.MlpMixer(
        num_classes=5,
        img_size=shape[:2],
        in_chans=shape[2],
        patch_size=4,
        num_blocks=3,
        embed_dim=12,
        mlp_ratio=4,
        block_layer=timm.mlp_mixer.ResBlock,
        norm_layer=timm.mlp_mixer.Affine,
    )
    pixels = rng.integers(0, 256, size=(3, *shape), dtype=np.uint8)
    expected = torch_state.logits(torch, reference, state, pixels)
    assert expected.std() > 0.05
    np.testing.assert_allclose(model(pixels), expected, atol=1e-4)


# The authors' code for S12, S24, S36 and B24.
@pytest.mark.parametrize(
    ("name", "initial"),
    [
        ("resmlp_s12", 0.1),
        ("resmlp_s24", 1e-5),
        ("resmlp_s36", 1e-6),
        ("resmlp_b24", 1e-6),
        ("resmlp_b24_8", 1e-6),
    ],
)
def test_layer_scale_of_each_name(name, initial):
    model = models.create(name, **IMAGE, **OPTIONS)
    for i in range(3):
        block = model.get_layer(f"block_{i}")
        for layer in (block.token_scale, block.channel_scale):
            np.testing.assert_array_equal(layer.scale, np.full(12, initial, "float32"))


def test_stochastic_depth_is_the_same_in_all_blocks():
    model = models.create("resmlp_s12", **IMAGE, **OPTIONS, stochastic_depth=0.1)
    assert [model.get_layer(f"block_{i}").stochastic_depth for i in range(3)] == [0.1] * 3


def test_initialisation():
    model = models.create("resmlp_s12", **IMAGE, patch_size=4, width=400, depth=1)
    stem = model.get_layer("stem").kernel.numpy()
    # Uniform within 1 / sqrt(fan_in), as PyTorch's convolutions.
    assert np.abs(stem).max() <= 1 / np.sqrt(48)
    assert stem.std() == pytest.approx(1 / np.sqrt(3 * 48), rel=0.02)
    head = model.get_layer("classification").kernel.numpy()
    assert head.std() == pytest.approx(0.0176, rel=0.05)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"patch_size": 5}, "patch_size=5: image size 16 is not divisible by it; use 1, 2, 4, 8"),
        ({"depth": 0}, "depth=0"),
        ({"layer_scale": -0.1}, "layer_scale=-0.1: must be at least 0"),
        ({"stochastic_depth": 1.0}, "stochastic_depth=1.0"),
        ({"gelu": "fast"}, "gelu=fast"),
        ({"layer_norm_epsilon": 1e-5}, "`layer_norm_epsilon` does not apply to resmlp_s12"),
    ],
)
def test_bad_input_gets_a_sentence(options, message):
    with pytest.raises(InputError, match=message):
        models.create("resmlp_s12", **IMAGE, **options)

from __future__ import annotations

import keras
import numpy as np
import pytest

from std_keras import models
from tests.oracles import import_timm

OPTIONS = {"patch_size": 4, "width": 12, "depth": 3, "token_mlp_dim": 7, "channel_mlp_dim": 20}


def torch_mixer(torch, model: keras.Model, *, gelu: str, epsilon: float):
    """A Mixer in plain PyTorch, with the weights of a Keras one."""

    def linear(layer):
        kernel, bias = layer.get_weights()
        module = torch.nn.Linear(*kernel.shape)
        module.weight.data = torch.tensor(kernel.T.copy())
        module.bias.data = torch.tensor(bias)
        return module

    def norm(layer):
        gamma, beta = layer.get_weights()
        module = torch.nn.LayerNorm(len(gamma), eps=epsilon)
        module.weight.data, module.bias.data = torch.tensor(gamma), torch.tensor(beta)
        return module

    def mlp(layer):
        activation = torch.nn.GELU(approximate="none" if gelu == "exact" else "tanh")
        return torch.nn.Sequential(
            linear(layer.hidden_dense), activation, linear(layer.output_dense)
        )

    class Mixer(torch.nn.Module):
        def __init__(self):
            super().__init__()
            kernel, bias = model.get_layer("stem").get_weights()
            patch, _, channels, width = kernel.shape
            self.stem = torch.nn.Conv2d(channels, width, patch, stride=patch)
            self.stem.weight.data = torch.tensor(kernel.transpose(3, 2, 0, 1).copy())
            self.stem.bias.data = torch.tensor(bias)
            blocks = [layer for layer in model.layers if layer.name.startswith("block_")]
            self.blocks = [
                (
                    norm(b.token_norm),
                    mlp(b.token_mlp),
                    norm(b.channel_norm),
                    mlp(b.channel_mlp),
                )
                for b in blocks
            ]
            self.norm = norm(model.get_layer("final_norm"))
            self.head = linear(model.get_layer("classification"))

        def forward(self, x):
            x = self.stem(x).flatten(2).transpose(1, 2)
            for token_norm, token_mlp, channel_norm, channel_mlp in self.blocks:
                x = x + token_mlp(token_norm(x).transpose(1, 2)).transpose(1, 2)
                x = x + channel_mlp(channel_norm(x))
            return self.head(self.norm(x).mean(1))

    return Mixer().eval()


@pytest.mark.parametrize(("gelu", "epsilon"), [("exact", 1e-6), ("tanh", 1e-2)])
@pytest.mark.parametrize("shape", [(16, 16, 3), (8, 24, 1)])
def test_equals_pytorch(rng, randomize, gelu, epsilon, shape):
    torch = pytest.importorskip("torch")
    mean, std = 0.4, 0.2
    model = models.create(
        "mixer_s16",
        input_shape=shape,
        num_classes=5,
        mean=mean,
        std=std,
        gelu=gelu,
        layer_norm_epsilon=epsilon,
        **OPTIONS,
    )
    randomize(model)
    pixels = rng.integers(0, 256, size=(3, *shape), dtype=np.uint8)
    normalized = ((pixels / 255.0 - mean) / std).astype("float32").transpose(0, 3, 1, 2).copy()
    with torch.no_grad():
        reference = torch_mixer(torch, model, gelu=gelu, epsilon=epsilon)
        expected = reference(torch.tensor(normalized)).numpy()
    assert expected.std() > 0.05
    np.testing.assert_allclose(model(pixels), expected, atol=1e-4)


def test_equals_timm(rng, randomize):
    mlp_mixer = import_timm().mlp_mixer
    import torch

    # timm's ratios: token MLP 0.5, channel MLP 4 times the width, as in the paper.
    reference = mlp_mixer.MlpMixer(
        num_classes=5, img_size=16, patch_size=4, num_blocks=3, embed_dim=12
    ).eval()
    model = models.create(
        "mixer_s16", input_shape=(16, 16, 3), num_classes=5, patch_size=4, width=12, depth=3
    )
    randomize(model)
    state = {}

    def put(key, layer):
        scale, shift = layer.get_weights()
        if scale.ndim == 4:
            scale = scale.transpose(3, 2, 0, 1)
        state[f"{key}.weight"] = torch.tensor(scale.T.copy() if scale.ndim == 2 else scale.copy())
        state[f"{key}.bias"] = torch.tensor(shift)

    put("stem.proj", model.get_layer("stem"))
    for i in range(3):
        block = model.get_layer(f"block_{i}")
        put(f"blocks.{i}.norm1", block.token_norm)
        put(f"blocks.{i}.mlp_tokens.fc1", block.token_mlp.hidden_dense)
        put(f"blocks.{i}.mlp_tokens.fc2", block.token_mlp.output_dense)
        put(f"blocks.{i}.norm2", block.channel_norm)
        put(f"blocks.{i}.mlp_channels.fc1", block.channel_mlp.hidden_dense)
        put(f"blocks.{i}.mlp_channels.fc2", block.channel_mlp.output_dense)
    put("norm", model.get_layer("final_norm"))
    put("head", model.get_layer("classification"))
    reference.load_state_dict(state, strict=True)
    pixels = rng.integers(0, 256, size=(3, 16, 16, 3), dtype=np.uint8)
    normalized = torch.tensor((pixels / 127.5 - 1.0).astype("float32").transpose(0, 3, 1, 2).copy())
    with torch.no_grad():
        expected = reference(normalized).numpy()
    assert expected.std() > 0.05
    np.testing.assert_allclose(model(pixels), expected, atol=1e-4)


def test_hidden_widths_follow_the_width(small_options):
    model = models.create("mixer_s16", **{**small_options, "width": 9})
    config = model.get_layer("block_0").get_config()
    assert (config["token_mlp_dim"], config["channel_mlp_dim"]) == (4, 36)


def test_layer_names_are_a_contract(small_options):
    model = models.create("mixer_s16", **small_options)
    layer_names = [layer.name for layer in model.layers]
    blocks = [f"block_{i}" for i in range(4)]
    for name in ("normalization", "stem", *blocks, "final_norm", "pool", "classification"):
        assert name in layer_names
    assert model.get_layer("block_3").output.shape == (None, 16, 12)


@pytest.mark.parametrize(("depth", "ramp"), [(4, [0.0, 0.1, 0.2, 0.3]), (1, [0.0])])
def test_stochastic_depth_ramps(small_options, depth, ramp):
    model = models.create("mixer_s16", **{**small_options, "depth": depth}, stochastic_depth=0.3)
    rates = [
        layer.get_config()["stochastic_depth"]
        for layer in model.layers
        if layer.name.startswith("block_")
    ]
    assert rates == pytest.approx(ramp)
    assert models.trainable_parameters(model) == models.trainable_parameters(
        models.create("mixer_s16", **{**small_options, "depth": depth})
    )


def test_initialisation(small_options):
    model = models.create("mixer_s16", **{**small_options, "width": 256})
    assert not np.any(model.get_layer("classification").kernel.numpy())
    kernel = model.get_layer("block_1").channel_mlp.hidden_dense.kernel.numpy()
    # LeCun: variance 1 / fan_in.
    assert kernel.std() == pytest.approx(1 / 16, rel=0.02)
    biases = [weight.numpy() for weight in model.weights if "bias" in weight.path]
    assert len(biases) == 2 + 4 * 4
    assert not any(np.any(bias) for bias in biases)


def test_distillation_token_is_a_row_of_token_mixing(small_options, images, randomize):
    plain = models.create("mixer_s16", **small_options)
    model = randomize(models.create("mixer_s16", **small_options, distillation_token=True))
    added = 12 + 4 * (17 * 6 + 6 + 6 * 17 + 17 - 16 * 6 - 6 - 6 * 16 - 16)
    assert models.trainable_parameters(model) == models.trainable_parameters(plain) + added
    pooled = keras.Model(
        model.input, [model.get_layer("final_norm").output, model.layers[-2].output]
    )
    rows, mean = pooled(images)
    assert rows.shape == (4, 17, 12)
    np.testing.assert_allclose(mean, np.asarray(rows)[:, :16].mean(axis=1), atol=1e-5)


@pytest.mark.parametrize("patch_size", [1, 16])
def test_smallest_and_largest_patch(small_options, images, patch_size):
    model = models.create("mixer_s16", **{**small_options, "patch_size": patch_size})
    assert model.get_layer("block_0").output.shape == (None, (16 // patch_size) ** 2, 12)
    assert model(images).shape == (4, 5)


def test_round_trip(small_options, images, randomize, reload):
    model = randomize(
        models.create("mixer_s16", **small_options, stochastic_depth=0.2, gelu="tanh", mean=0.4)
    )
    np.testing.assert_array_equal(reload(model)(images), model(images))


@pytest.mark.usefixtures("mixed_bfloat16")
def test_mixed_precision(small_options, images, randomize, reload):
    model = randomize(models.create("mixer_s16", **small_options))
    logits = model(images)
    assert keras.backend.standardize_dtype(logits.dtype) == "float32"
    assert keras.backend.standardize_dtype(model.get_layer("block_0").output.dtype) == "bfloat16"
    np.testing.assert_array_equal(reload(model)(images), logits)
    keras.config.set_dtype_policy("float32")
    exact = models.create("mixer_s16", **small_options)
    exact.set_weights(model.get_weights())
    np.testing.assert_allclose(logits, exact(images), atol=0.1)

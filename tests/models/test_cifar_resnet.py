from __future__ import annotations

import keras
import numpy as np
import pytest

from std_keras import models
from std_keras.errors import InputError


def torch_cifar_resnet(torch, model: keras.Model, *, blocks: int, shortcut: str):
    """The network in plain PyTorch, in inference, with the weights of a Keras one."""
    functional = torch.nn.functional

    def weights(name):
        return [torch.tensor(weight) for weight in model.get_layer(name).get_weights()]

    def conv(x, name, stride, padding):
        (kernel,) = weights(name)
        return functional.conv2d(x, kernel.permute(3, 2, 0, 1), stride=stride, padding=padding)

    def norm(x, name):
        gamma, beta, mean, variance = weights(name)
        return functional.batch_norm(x, mean, variance, gamma, beta, eps=1e-5)

    def forward(x):
        x = torch.relu(norm(conv(x, "stem", 1, 1), "stem_norm"))
        for stage, width in enumerate((16, 32, 64)):
            for block in range(blocks):
                name = f"stage_{stage}_block_{block}"
                stride = 2 if stage > 0 and block == 0 else 1
                residual = x
                if stride == 2 and shortcut == "projection":
                    residual = norm(conv(x, f"{name}_shortcut", 2, 0), f"{name}_shortcut_norm")
                elif stride == 2:
                    # akamaster's LambdaLayer for option A, word for word.
                    planes = width
                    residual = functional.pad(
                        x[:, :, ::2, ::2], (0, 0, 0, 0, planes // 4, planes // 4), "constant", 0
                    )
                y = torch.relu(norm(conv(x, f"{name}_conv_1", stride, 1), f"{name}_norm_1"))
                y = norm(conv(y, f"{name}_conv_2", 1, 1), f"{name}_norm_2")
                x = torch.relu(y + residual)
        kernel, bias = weights("classification")
        return x.mean((2, 3)) @ kernel + bias

    return forward


@pytest.mark.parametrize("shortcut", ["projection", "identity"])
@pytest.mark.parametrize("shape", [(32, 32, 3), (9, 14, 1), (4, 4, 3)])
@pytest.mark.parametrize("depth", [20, 32])
def test_equals_pytorch(rng, randomize, shortcut, shape, depth):
    torch = pytest.importorskip("torch")
    mean, std = 0.45, 0.25
    model = models.create(
        f"cifar_resnet{depth}",
        input_shape=shape,
        num_classes=7,
        mean=mean,
        std=std,
        shortcut=shortcut,
    )
    randomize(model)
    pixels = rng.integers(0, 256, size=(3, *shape), dtype=np.uint8)
    normalized = ((pixels / 255.0 - mean) / std).astype("float32").transpose(0, 3, 1, 2).copy()
    with torch.no_grad():
        reference = torch_cifar_resnet(torch, model, blocks=(depth - 2) // 6, shortcut=shortcut)
        expected = reference(torch.tensor(normalized)).numpy()
    assert expected.std() > 0.05
    np.testing.assert_allclose(model(pixels), expected, atol=1e-4, rtol=1e-4)


def test_batch_norm_follows_pytorchs_defaults():
    model = models.create("cifar_resnet20", input_shape=(8, 8, 3), num_classes=7)
    norms = [x for x in model.layers if isinstance(x, keras.layers.BatchNormalization)]
    assert len(norms) == 19 + 2
    assert {(x.momentum, x.epsilon, x.synchronized) for x in norms} == {(0.9, 1e-5, True)}


def test_initialisation_is_he_normal_fan_out():
    model = models.create("cifar_resnet20", input_shape=(8, 8, 3), num_classes=7)
    kernel = model.get_layer("stage_2_block_0_conv_1").kernel.numpy()
    assert kernel.std() == pytest.approx(np.sqrt(2 / (9 * 64)), rel=0.03)


@pytest.mark.parametrize("shortcut", ["projection", "identity"])
def test_round_trip(images, randomize, reload, shortcut):
    model = models.create(
        "cifar_resnet20", input_shape=(16, 16, 3), num_classes=7, shortcut=shortcut
    )
    randomize(model)
    np.testing.assert_array_equal(reload(model)(images), model(images))


@pytest.mark.usefixtures("mixed_bfloat16")
def test_mixed_precision(images):
    model = models.create("cifar_resnet20", input_shape=(16, 16, 3), num_classes=7)
    assert keras.backend.standardize_dtype(model(images).dtype) == "float32"
    assert keras.backend.standardize_dtype(model.get_layer("pool").output.dtype) == "bfloat16"


def test_too_small_an_image():
    with pytest.raises(InputError, match="image_size=3"):
        models.create("cifar_resnet20", input_shape=(3, 8, 3), num_classes=7)

from __future__ import annotations

import keras
import numpy as np
import pytest

from std_keras import models
from std_keras.errors import InputError
from std_keras.layers import FusedBatchNorm


def in_torch(torch, model):
    """The network in plain PyTorch, in inference, with the weights of a Keras one."""
    functional = torch.nn.functional

    def weights(name):
        return [torch.tensor(weight) for weight in model.get_layer(name).get_weights()]

    def conv(x, name, padding):
        kernel, *bias = weights(name)
        return functional.conv2d(x, kernel.permute(3, 2, 0, 1), *bias, padding=padding)

    def norm(x, name):
        beta, mean, variance = weights(name)
        return functional.batch_norm(x, mean, variance, None, beta, eps=1e-5)

    def forward(x):
        x = functional.gelu(conv(x, "stem", 0))
        for stage in range(3):
            name = f"stage_{stage}_block_0"
            x = functional.max_pool2d(conv(x, f"{name}_conv_1", 1), 2)
            x = functional.gelu(norm(x, f"{name}_norm_1"))
            x = functional.gelu(norm(conv(x, f"{name}_conv_2", 1), f"{name}_norm_2"))
        (kernel,) = weights("classification")
        return x.amax((2, 3)) / 9 @ kernel

    return forward


@pytest.mark.parametrize("shape", [(32, 32, 3), (17, 30, 1)])
def test_equals_pytorch(rng, randomize, shape):
    torch = pytest.importorskip("torch")
    mean, std = 0.45, 0.25
    model = models.create("airbench94", input_shape=shape, num_classes=7, mean=mean, std=std)
    randomize(model)
    pixels = rng.integers(0, 256, size=(3, *shape), dtype=np.uint8)
    normalized = ((pixels / 255.0 - mean) / std).astype("float32").transpose(0, 3, 1, 2).copy()
    with torch.no_grad():
        expected = in_torch(torch, model)(torch.tensor(normalized)).numpy()
    assert expected.std() > 0.005
    np.testing.assert_allclose(model(pixels), expected, atol=1e-5, rtol=1e-4)


def test_what_learns():
    model = models.create("airbench94", input_shape=(32, 32, 3), num_classes=10)
    paths = [v.path for v in model.trainable_variables]
    assert "stem/kernel" not in paths
    assert "stem/bias" in paths
    assert not any("gamma" in path for path in paths)
    norms = [layer for layer in model.layers if isinstance(layer, FusedBatchNorm)]
    assert {norm.scale for norm in norms} == {False}


def test_a_stage_begins_as_the_identity():
    model = models.create("airbench94", input_shape=(32, 32, 3), num_classes=10)
    x = np.random.default_rng(0).normal(size=(2, 7, 7, 64)).astype(np.float32)
    np.testing.assert_array_equal(model.get_layer("stage_1_block_0_conv_1")(x)[..., :64], x)


def test_round_trip(rng, randomize, reload):
    model = randomize(models.create("airbench94", input_shape=(17, 17, 3), num_classes=7))
    images = rng.integers(0, 256, size=(4, 17, 17, 3), dtype=np.uint8)
    again = reload(model)
    np.testing.assert_array_equal(again(images), model(images))
    assert "stem/kernel" not in [v.path for v in again.trainable_variables]


@pytest.mark.usefixtures("mixed_bfloat16")
def test_mixed_precision(rng):
    model = models.create("airbench94", input_shape=(32, 32, 3), num_classes=7)
    images = rng.integers(0, 256, size=(4, 32, 32, 3), dtype=np.uint8)
    assert keras.backend.standardize_dtype(model(images).dtype) == "float32"
    assert keras.backend.standardize_dtype(model.get_layer("pool").output.dtype) == "bfloat16"


def test_too_small_an_image():
    with pytest.raises(InputError, match="--image_size=16"):
        models.create("airbench94", input_shape=(16, 32, 3), num_classes=7)

from __future__ import annotations

import keras
import numpy as np
import pytest

from std_keras import models
from std_keras.errors import InputError
from std_keras.layers import FusedBatchNorm


@pytest.mark.parametrize(
    ("name", "shape", "widths"),
    [
        ("airbench94", (32, 32, 3), (64, 256, 256)),
        ("airbench95", (17, 30, 1), (128, 384, 384)),
        ("airbench96", (32, 32, 3), (128, 512, 512)),
    ],
)
def test_equals_pytorch(rng, name, shape, widths):
    torch = pytest.importorskip("torch")
    from std_keras.weights import load_weights
    from std_keras.weights.layouts.airbench import AIRBENCH
    from tests.weights import torch_models

    network = torch_models.airbench(widths, 7, channels=shape[-1], third=name == "airbench96")
    module = torch_models.randomize(network)
    model = models.create(name, input_shape=shape, num_classes=7, mean=0.45, std=0.25)
    tensors = {key: value.numpy() for key, value in module.state_dict().items()}
    assert load_weights(model, tensors, layout=AIRBENCH).complete
    pixels = rng.integers(0, 256, size=(3, *shape), dtype=np.uint8)
    normalized = ((pixels / 255.0 - 0.45) / 0.25).astype("float32").transpose(0, 3, 1, 2).copy()
    with torch.no_grad():
        expected = module(torch.tensor(normalized)).numpy()
    assert expected.std() > 0.01
    np.testing.assert_allclose(model(pixels), expected, atol=1e-4, rtol=1e-4)


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
    with pytest.raises(InputError, match="image_size=16"):
        models.create("airbench94", input_shape=(16, 32, 3), num_classes=7)


def test_a_block_has_two_or_three_convolutions():
    with pytest.raises(InputError, match="convolutions=4: airbench94 has 2 or 3"):
        models.create("airbench94", input_shape=(32, 32, 3), num_classes=7, convolutions=4)

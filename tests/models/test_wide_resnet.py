from __future__ import annotations

import keras
import numpy as np
import pytest

from std_keras import models
from std_keras.errors import InputError


@pytest.mark.parametrize(("name", "blocks"), [("wrn_16_2", 2), ("wrn_40_2", 6), ("wrn_16_4", 2)])
@pytest.mark.parametrize("shape", [(32, 32, 3), (9, 14, 1)])
def test_equals_pytorch(rng, randomize, name, blocks, shape):
    torch = pytest.importorskip("torch")
    from std_keras.weights import load_weights
    from std_keras.weights.layouts.wide_resnet import REPDISTILLER
    from tests.weights import torch_models

    widening = int(name[-1])
    module = torch_models.WideResNet(6 * blocks + 4, widening, 7, channels=shape[-1])
    torch_models.randomize(module)
    model = models.create(name, input_shape=shape, num_classes=7, mean=0.45, std=0.25)
    tensors = {key: value.numpy() for key, value in module.state_dict().items()}
    assert load_weights(model, tensors, layout=REPDISTILLER).complete
    pixels = rng.integers(0, 256, size=(3, *shape), dtype=np.uint8)
    normalized = ((pixels / 255.0 - 0.45) / 0.25).astype("float32").transpose(0, 3, 1, 2).copy()
    with torch.no_grad():
        expected = module(torch.tensor(normalized)).numpy()
    assert expected.std() > 0.05
    np.testing.assert_allclose(model(pixels), expected, atol=1e-4, rtol=1e-4)


def test_batch_norm_and_initialisation_follow_the_published_code():
    model = models.create("wrn_16_2", input_shape=(8, 8, 3), num_classes=7)
    norms = [x for x in model.layers if isinstance(x, keras.layers.BatchNormalization)]
    assert len(norms) == 12 + 1
    assert {(x.momentum, x.epsilon) for x in norms} == {(0.9, 1e-5)}
    kernel = model.get_layer("stage_2_block_1_conv_1").kernel.numpy()
    assert kernel.std() == pytest.approx(np.sqrt(2 / (9 * 128)), rel=0.03)


def test_round_trip(images, randomize, reload):
    model = randomize(models.create("wrn_16_2", input_shape=(16, 16, 3), num_classes=7))
    np.testing.assert_array_equal(reload(model)(images), model(images))


@pytest.mark.parametrize(("depth", "message"), [(17, "depth=17: must be 6 n"), (4, "depth=4")])
def test_depths_that_do_not_exist(depth, message):
    with pytest.raises(InputError, match=message):
        models.create("wrn_16_2", depth=depth, input_shape=(8, 8, 3), num_classes=7)


def test_too_small_an_image():
    with pytest.raises(InputError, match="image_size=3"):
        models.create("wrn_16_2", input_shape=(3, 8, 3), num_classes=7)

from __future__ import annotations

import keras
import numpy as np
import pytest

from std_keras import models
from std_keras.errors import InputError
from std_keras.models.image_model import ImageModelSpec

MEAN, STD = (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2761)


def spec(**changes):
    values = {"name": "m", "input_shape": (16, 16, 3), "num_classes": 5, "mean": MEAN, "std": STD}
    return ImageModelSpec.checked(**{**values, **changes})


def test_normalisation(images):
    inputs, normalized = spec().normalized_input()
    out = keras.Model(inputs, normalized)(images)
    np.testing.assert_allclose(out, (images / 255.0 - MEAN) / STD, atol=1e-5)


def test_default_is_minus_one_to_one():
    inputs, normalized = spec(mean=None, std=None).normalized_input()
    pixels = np.stack([np.zeros((16, 16, 3)), np.full((16, 16, 3), 255.0)])
    out = np.asarray(keras.Model(inputs, normalized)(pixels))
    np.testing.assert_allclose(out[:, 0, 0], [[-1.0] * 3, [1.0] * 3], atol=1e-6)


@pytest.mark.usefixtures("mixed_bfloat16")
def test_mixed_precision_keeps_fractions_of_pixels():
    inputs, normalized = spec(mean=0.0, std=1.0).normalized_input()
    out = keras.Model(inputs, normalized)(np.full((1, 16, 16, 3), 200.3, "float32"))
    np.testing.assert_allclose(out, 200.3 / 255.0, rtol=1e-6)


@pytest.mark.parametrize("name", ["mixer_s16", "cifar_resnet20"])
@pytest.mark.parametrize("channels", [1, 3])
def test_uint8_equals_float(rng, randomize, name, channels):
    options = {"patch_size": 4, "width": 12, "depth": 2} if name == "mixer_s16" else {}
    shape = (16, 16, channels)
    model = randomize(models.create(name, input_shape=shape, num_classes=5, **options))
    pixels = rng.integers(0, 256, size=(2, *shape), dtype=np.uint8)
    logits = np.asarray(model(pixels))
    assert logits.shape == (2, 5)
    np.testing.assert_array_equal(logits, model(pixels.astype("float32")))
    # White and black must not look the same.
    assert np.abs(logits - model(255 - pixels)).max() > 1e-3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input_shape": (16, 16)}, "input_shape"),
        ({"input_shape": (16, 0, 3)}, "input_shape"),
        ({"num_classes": 0}, "num_classes=0"),
        ({"mean": (0.5, 0.5)}, "mean="),
        ({"mean": float("nan")}, "mean="),
        ({"std": (0.1, 0.0, 0.1)}, "std="),
    ],
)
def test_bad_input(changes, message):
    with pytest.raises(InputError, match=message):
        spec(**changes)

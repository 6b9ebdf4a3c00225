"""What every family of teachers must do, on a tiny model of each."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from std_keras import models
from std_keras.exporting import convert, inference_model

# On 16 px. The Swin has shifted windows; the RegNetY has its narrowest stages.
FAMILIES: dict[str, dict[str, Any]] = {
    "deit_ti16": {"patch_size": 4, "width": 12, "depth": 2, "head_dim": 4},
    "deit_ti16_distilled": {"patch_size": 4, "width": 12, "depth": 2, "head_dim": 4},
    "swin_t": {"patch_size": 1, "width": 8, "depth": 8, "head_dim": 4, "window_size": 4},
    "regnety_4gf": {"width": 8, "width_slope": 10.0, "depth": 8, "group_width": 8},
}


def tiny(name: str, **options: Any) -> keras.Model:
    defaults = {"input_shape": (16, 16, 3), "num_classes": 5, **FAMILIES[name]}
    return models.create(name, **{**defaults, **options})


@pytest.mark.parametrize("name", FAMILIES)
def test_round_trip(name, images, randomize, reload):
    model = randomize(tiny(name, stochastic_depth=0.2, mean=0.4))
    logits = model(images)
    assert np.asarray(logits).std() > 0.05
    np.testing.assert_array_equal(reload(model)(images), logits)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.usefixtures("mixed_bfloat16")
def test_mixed_precision(name, images, randomize, reload):
    model = randomize(tiny(name))
    logits = np.asarray(model(images))
    assert logits.dtype == np.float32
    assert keras.backend.standardize_dtype(model.get_layer("pool").output.dtype) == "bfloat16"
    np.testing.assert_array_equal(reload(model)(images), logits)
    keras.config.set_dtype_policy("float32")
    exact = tiny(name)
    exact.set_weights(model.get_weights())
    # bfloat16 keeps 8 bits.
    np.testing.assert_allclose(logits, exact(images), atol=0.1 * np.abs(logits).max())


@pytest.mark.parametrize("name", FAMILIES)
def test_every_trainable_weight_gets_a_gradient(name, images, randomize):
    model = randomize(tiny(name))
    weights = tf.constant([1.0, -2.0, 3.0, 0.5, -1.0])
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(images, training=True) * weights)
    variables = [weight.value for weight in model.trainable_weights]
    gradients = tape.gradient(loss, variables)
    without = [
        weight.path
        for weight, gradient in zip(model.trainable_weights, gradients, strict=True)
        if gradient is None or not np.any(gradient)
    ]
    assert not without


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("channels", [1, 3])
def test_uint8_equals_float(rng, randomize, name, channels):
    shape = (16, 16, channels)
    model = randomize(tiny(name, input_shape=shape))
    pixels = rng.integers(0, 256, size=(2, *shape), dtype=np.uint8)
    logits = np.asarray(model(pixels))
    np.testing.assert_array_equal(logits, model(pixels.astype("float32")))
    # White and black must not look the same.
    assert np.abs(logits - model(255 - pixels)).max() > 1e-3


@pytest.mark.parametrize(
    ("name", "size", "options"),
    [
        ("deit_ti16", 4, {}),
        ("deit_ti16_distilled", 1, {"patch_size": 1}),
        ("swin_t", 8, {"window_size": 8}),
        ("regnety_4gf", 1, {}),
    ],
)
def test_smallest_images(name, size, options):
    model = tiny(name, input_shape=(size, size, 3), **options)
    logits = np.asarray(model(np.zeros((1, size, size, 3))))
    assert logits.shape == (1, 5)
    assert np.isfinite(logits).all()


@pytest.mark.parametrize("name", FAMILIES)
def test_tflite_with_builtin_operators_only(name, images, randomize):
    model = randomize(tiny(name))
    head = "average" if len(models.head_names(model)) > 1 else "classification"
    # `convert` refuses a file with other operators.
    content = convert(inference_model(model, head=head), quantization="float32")
    serve = Interpreter(model_content=content).get_signature_runner("serving_default")
    got = np.concatenate([serve(images=image[None])["logits"] for image in images])
    expected = np.asarray(model(images))
    np.testing.assert_allclose(got, expected, atol=1e-4 * np.abs(expected).max())

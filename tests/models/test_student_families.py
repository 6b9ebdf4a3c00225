"""What every family of students must do beside the Mixer, on a tiny model of each."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from std_keras import models
from std_keras.exporting import convert, inference_model

# On 16 px, with three blocks, or three in the last stage: 16 patches of 12 channels at the sites,
# or 2 x 2 pixels of 16 channels.
FAMILIES: dict[str, dict[str, Any]] = {
    "resmlp_s12": {"patch_size": 4, "width": 12, "depth": 3, "layer_scale": 0.5},
    "gmlp_s16": {"patch_size": 4, "width": 12, "depth": 3},
    "cyclemlp_b1": {
        "patch_size": 2,
        "depths": (1, 1, 3),
        "widths": (8, 12, 16),
        "mlp_ratios": (2, 2, 2),
    },
}
# Positions and channels at the sites.
FEATURES = {"resmlp_s12": (16, 12), "gmlp_s16": (16, 12), "cyclemlp_b1": (4, 16)}


def tiny(name: str, *, students: bool = True, **options: Any) -> keras.Model:
    """A student of two teachers, at the intermediate and the last site, or its backbone alone."""
    defaults: dict[str, Any] = {"input_shape": (16, 16, 3), "num_classes": 5, **FAMILIES[name]}
    if not students:
        return models.create(name, **{**defaults, **options})
    defaults["teacher_sites"] = ["intermediate", "last"]
    return models.create_student(name, **{**defaults, **options})


@pytest.mark.parametrize("name", FAMILIES)
def test_layer_names_are_a_contract(name):
    model = tiny(name, students=False)
    prefix = "stage_2_block_" if name == "cyclemlp_b1" else "block_"
    assert models.sites(model) == {"last": f"{prefix}2", "intermediate": f"{prefix}1"}
    layer_names = [layer.name for layer in model.layers]
    for layer in ("normalization", "stem", f"{prefix}0", "final_norm", "pool", "classification"):
        assert layer in layer_names


@pytest.mark.parametrize("name", FAMILIES)
def test_token_sets_read_the_sites_and_leave_the_backbone_alone(name, images, randomize):
    student = randomize(tiny(name))
    patches, channels = FEATURES[name]
    outputs = models.training_model(student)(images)
    for set_name in ("tokens_0_intermediate", "tokens_1_last"):
        assert outputs[set_name]["spatial"].shape == (4, channels)
        assert outputs[set_name]["channel"].shape == (4, patches)
    backbone = tiny(name, students=False)
    weights = {weight.path: weight for weight in student.weights}
    for weight in backbone.weights:
        weight.assign(weights[weight.path])
    np.testing.assert_allclose(backbone(images), outputs["classification"], atol=1e-5)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("tokens", ["spatial", "channel", "none"])
def test_other_tokens(name, tokens, images, reload):
    student = tiny(name, tokens=tokens, teacher_sites=["last"])
    assert models.head_names(student) == ("classification", "distillation_0_last")
    np.testing.assert_array_equal(reload(student)(images), student(images))


@pytest.mark.parametrize("name", FAMILIES)
def test_round_trip(name, images, randomize, reload):
    student = randomize(tiny(name, stochastic_depth=0.2, mean=0.4))
    logits = np.asarray(student(images))
    assert logits.std() > 0.05
    loaded = reload(student)
    np.testing.assert_array_equal(loaded(images), logits)
    assert models.trainable_parameters(loaded) == models.trainable_parameters(student)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.usefixtures("mixed_bfloat16")
def test_mixed_precision(name, images, randomize, reload):
    student = randomize(tiny(name))
    logits = np.asarray(student(images))
    assert logits.dtype == np.float32
    assert keras.backend.standardize_dtype(student.get_layer("pool").output.dtype) == "bfloat16"
    np.testing.assert_array_equal(reload(student)(images), logits)
    keras.config.set_dtype_policy("float32")
    exact = tiny(name)
    exact.set_weights(student.get_weights())
    # bfloat16 keeps 8 bits.
    np.testing.assert_allclose(logits, exact(images), atol=0.1 * np.abs(logits).max())


@pytest.mark.parametrize("name", FAMILIES)
def test_every_trainable_weight_gets_a_gradient(name, images, randomize):
    student = randomize(tiny(name))
    weights = tf.constant([1.0, -2.0, 3.0, 0.5, -1.0])
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(student(images, training=True) * weights)
    variables = [weight.value for weight in student.trainable_weights]
    gradients = tape.gradient(loss, variables)
    without = [
        weight.path
        for weight, gradient in zip(student.trainable_weights, gradients, strict=True)
        if gradient is None or not np.any(gradient)
    ]
    assert not without


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("channels", [1, 3])
def test_uint8_equals_float(rng, randomize, name, channels):
    shape = (16, 16, channels)
    model = randomize(tiny(name, students=False, input_shape=shape))
    pixels = rng.integers(0, 256, size=(2, *shape), dtype=np.uint8)
    logits = np.asarray(model(pixels))
    np.testing.assert_array_equal(logits, model(pixels.astype("float32")))
    # White and black must not look the same.
    assert np.abs(logits - model(255 - pixels)).max() > 1e-3


@pytest.mark.parametrize(
    ("name", "size", "patch_size"),
    [
        ("resmlp_s12", 1, 1),
        ("resmlp_s12", 16, 16),
        ("gmlp_s16", 1, 1),
        ("gmlp_s16", 16, 16),
        ("cyclemlp_b1", 4, 1),
        ("cyclemlp_b1", 16, 4),
    ],
)
def test_smallest_image_and_largest_patch(name, size, patch_size):
    student = tiny(name, input_shape=(size, size, 3), patch_size=patch_size)
    logits = np.asarray(student(np.zeros((1, size, size, 3))))
    assert logits.shape == (1, 5)
    assert np.isfinite(logits).all()


@pytest.mark.parametrize("name", FAMILIES)
def test_tflite_with_builtin_operators_only(name, images, randomize):
    student = randomize(tiny(name))
    # `convert` refuses a file with other operators.
    content = convert(inference_model(student, head="average"), quantization="float32")
    serve = Interpreter(model_content=content).get_signature_runner("serving_default")
    got = np.concatenate([serve(images=image[None])["logits"] for image in images])
    expected = np.asarray(student(images))
    np.testing.assert_allclose(got, expected, atol=1e-4 * np.abs(expected).max())

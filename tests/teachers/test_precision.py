"""Teachers in bfloat16: the same network, less precise, faster where there are units for it."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from std_keras import models
from std_keras.teachers import load, parse
from std_keras.teachers.precision import in_bfloat16

DIGITS = tuple("0123456789")
SMALL = {"input_shape": (32, 32, 3), "num_classes": 10}
NETWORKS = {
    "cifar_resnet20": lambda: models.create("cifar_resnet20", **SMALL),
    "mixer_s16": lambda: models.create("mixer_s16", patch_size=8, width=32, depth=2, **SMALL),
    "deit_ti16": lambda: models.create("deit_ti16", patch_size=8, depth=2, **SMALL),
    "swin_t": lambda: models.create(
        "swin_t", patch_size=1, window_size=4, width=32, depth=7, **SMALL
    ),
    "regnety_4gf": lambda: models.create("regnety_4gf", **SMALL),
    "ResNet50": lambda: _of_keras("ResNet50"),
    "MobileNetV3Small": lambda: _of_keras("MobileNetV3Small"),
    "EfficientNetB0": lambda: _of_keras("EfficientNetB0"),
    "ConvNeXtTiny": lambda: _of_keras("ConvNeXtTiny"),
}


def _of_keras(name: str) -> keras.Model:
    constructor = getattr(keras.applications, name)
    shape = (32, 32, 3)
    return constructor(weights=None, input_shape=shape, classes=10, classifier_activation=None)


@pytest.fixture
def in_mixed_precision():
    """Makes a network under Keras' own policy."""

    def make(name: str) -> keras.Model:
        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy("mixed_bfloat16")
        try:
            return NETWORKS[name]()
        finally:
            keras.config.set_dtype_policy(before)

    return make


@pytest.mark.parametrize("name", NETWORKS)
def test_it_computes_what_the_network_made_under_the_policy_does(name, in_mixed_precision):
    keras.utils.set_random_seed(1)
    model = NETWORKS[name]()
    random = np.random.default_rng(0)
    images = random.uniform(0, 255, (8, 32, 32, 3)).astype(np.float32)
    # A Mixer's head is zero at first.
    model.set_weights(
        [w if w.any() else random.normal(0, 0.1, w.shape) for w in model.get_weights()]
    )
    reference = in_mixed_precision(name)
    reference.set_weights(model.get_weights())
    copy = in_bfloat16(model)
    exact, found, expected = (
        np.asarray(m(images, training=False), np.float32) for m in (model, copy, reference)
    )
    # Of the reference the last layer may be rounded, too: to 8 bits, as its weights and inputs.
    np.testing.assert_allclose(found, expected, atol=2**-6 * np.abs(expected).max())
    assert np.abs(found - exact).max() > 0
    for kept, weight in zip(model.weights, copy.weights, strict=True):
        assert weight.dtype == kept.dtype
        np.testing.assert_array_equal(weight, kept)
    assert not copy.trainable_variables


def test_products_are_in_bfloat16_and_outputs_are_not(network):
    model = network()
    copy = in_bfloat16(model)
    outputs = set(copy.output_names)
    precisions = {layer.name: layer.compute_dtype for layer in copy.layers[1:]}
    assert {precisions.pop(name) for name in outputs} == {"float32"}
    assert set(precisions.values()) == {"bfloat16"}


def test_inner_models_too():
    inner = keras.Sequential([keras.layers.Dense(4, name="inside"), keras.layers.ReLU()])
    model = keras.Sequential([keras.Input((3,)), inner, keras.layers.Dense(2)])
    copy = in_bfloat16(model)
    assert copy.layers[0].get_layer("inside").compute_dtype == "bfloat16"
    assert copy.layers[1].compute_dtype == "float32"


def test_of_an_inner_model_that_gives_the_outputs_the_last_layer_stays():
    inner = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4), keras.layers.Dense(2)])
    copy = in_bfloat16(keras.Sequential([keras.Input((3,)), inner]))
    assert [layer.compute_dtype for layer in copy.layers[0].layers] == ["bfloat16", "float32"]


def test_pixels_are_scaled_in_float32():
    scale = keras.layers.Rescaling(1 / 255)
    layers = [scale, keras.layers.Flatten(), keras.layers.Dense(3), keras.layers.Dense(2)]
    copy = in_bfloat16(keras.Sequential([keras.Input((4, 4, 3)), *layers]))
    precisions = [layer.compute_dtype for layer in copy.layers]
    assert precisions == ["float32", "bfloat16", "bfloat16", "float32"]


def test_another_precision_is_left_alone():
    layers = [keras.layers.Dense(4, dtype="mixed_float16"), keras.layers.Dense(2)]
    copy = in_bfloat16(keras.Sequential([keras.Input((3,)), *layers]))
    assert copy.layers[0].dtype_policy.name == "mixed_float16"


@keras.saving.register_keras_serializable(package="tests")
class Written(keras.Model):
    """A network whose call is written in Python."""

    def __init__(self, **options):
        super().__init__(**options)
        self.dense = keras.layers.Dense(10)

    def call(self, images):
        return self.dense(keras.ops.mean(images, axis=(1, 2)))


def test_a_network_that_cannot_be_copied_stays_as_it_is():
    model = Written()
    model(np.zeros((1, 8, 8, 3), np.float32))
    assert in_bfloat16(model) is None


def test_a_teacher_is_loaded_in_bfloat16(make_run, network, images):
    run = str(make_run(network()))
    teachers = [
        load(parse(run), image_shape=(8, 8, 1), label_names=DIGITS, bfloat16=bfloat16)
        for bfloat16 in (False, True)
    ]
    exact, rounded = (teacher.logits(images) for teacher in teachers)
    assert rounded.dtype == tf.float32
    assert not np.array_equal(exact, rounded)
    np.testing.assert_allclose(rounded, exact, atol=0.05 * float(np.std(exact)))


def test_a_saved_model_stays_as_it_is(network, tmp_path, images):
    network().export(str(tmp_path / "saved"), verbose=False)
    spec = parse(f"{tmp_path / 'saved'},input=byte")
    exact, same = (
        load(spec, image_shape=(8, 8, 1), label_names=DIGITS, bfloat16=bfloat16).logits(images)
        for bfloat16 in (False, True)
    )
    np.testing.assert_array_equal(exact, same)

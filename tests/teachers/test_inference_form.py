"""The form in which teachers run: the same predictions with less work."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from std_keras import models
from std_keras.layers import GroupedConv2D
from std_keras.teachers import load, parse
from std_keras.teachers.folding import Shift, foldable
from std_keras.teachers.inference_form import inference_form

DIGITS = tuple("0123456789")
SMALL = {"input_shape": (32, 32, 3), "num_classes": 10}


def _of_keras(name: str) -> keras.Model:
    constructor = getattr(keras.applications, name)
    shape = (32, 32, 3)
    return constructor(weights=None, input_shape=shape, classes=10, classifier_activation=None)


# With the number of batch normalisations, and of those that no product stands before.
WITH_NORMS = {
    "cifar_resnet20": (lambda: models.create("cifar_resnet20", **SMALL), 21, 0),
    "airbench94": (lambda: models.create("airbench94", **SMALL), 6, 0),
    "wrn_16_2": (lambda: models.create("wrn_16_2", **SMALL), 13, 6),
    "regnety_4gf": (lambda: models.create("regnety_4gf", **SMALL), 71, 0),
    "MobileNetV3Small": (lambda: _of_keras("MobileNetV3Small"), 34, 0),
    "EfficientNetB0": (lambda: _of_keras("EfficientNetB0"), 49, 0),
    "ResNet50": (lambda: _of_keras("ResNet50"), 53, 0),
    "ResNet50V2": (lambda: _of_keras("ResNet50V2"), 49, 17),
}
WITHOUT_NORMS = {
    "mixer_s16": lambda: models.create("mixer_s16", patch_size=8, width=32, depth=2, **SMALL),
    "deit_ti16": lambda: models.create("deit_ti16", patch_size=8, depth=2, **SMALL),
    "ConvNeXtTiny": lambda: _of_keras("ConvNeXtTiny"),
}
MAKERS = {name: make for name, (make, _, _) in WITH_NORMS.items()} | WITHOUT_NORMS


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 255, (8, 32, 32, 3)).astype(np.float32)


def in_mixed_precision(make):
    """A network made under Keras' own policy."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        return make()
    finally:
        keras.config.set_dtype_policy(before)


def trained(model, images):
    """The model with random affine weights and the batch statistics of these images."""
    random = np.random.default_rng(1)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = 0.0
            for variable in layer.trainable_weights:
                variable.assign(random.uniform(0.5, 1.5, variable.shape))
        elif layer.weights and not layer.weights[0].numpy().any():  # A Mixer's head.
            layer.weights[0].assign(random.normal(0, 0.1, layer.weights[0].shape))
    model(images, training=True)
    return model


def predicted(model, images) -> np.ndarray:
    return np.asarray(model(images, training=False), np.float32)


def norms(model) -> list[layers.Layer]:
    return [v for v in model.layers if isinstance(v, layers.BatchNormalization)]


@pytest.fixture(scope="module")
def made(request, images):
    """A network by name, with weights of its own, and what it predicts."""
    keras.utils.set_random_seed(1)
    model = trained(MAKERS[request.param](), images)
    return request.param, model, predicted(model, images)


@pytest.mark.parametrize("made", WITH_NORMS, indirect=True)
def test_norms_are_folded_into_the_products_before_them(made, images):
    name, model, expected = made
    before = [w.copy() for w in model.get_weights()]
    copy = inference_form(model, bfloat16=False)
    assert (len(norms(model)), len(norms(copy))) == WITH_NORMS[name][1:]
    np.testing.assert_allclose(predicted(copy, images), expected, atol=1e-4 * np.ptp(expected))
    assert not copy.trainable_variables
    for kept, weight in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, kept)


@pytest.mark.parametrize("name", ["mixer_s16", "deit_ti16"])
def test_without_norms_there_is_nothing_to_do_in_float32(name):
    assert inference_form(WITHOUT_NORMS[name](), bfloat16=False) is None


# ResNet50 and ResNet50V2 have the layers of cifar_resnet20 and wrn_16_2, and more of them. The
# others are in the same order as above, so that each network is made once for both tests.
DIFFERENT = [name for name in MAKERS if name not in ("ResNet50", "ResNet50V2")]


@pytest.mark.parametrize("made", DIFFERENT, indirect=True)
def test_bfloat16_is_as_precise_as_the_network_made_under_the_policy(made, images):
    name, model, exact = made
    reference = in_mixed_precision(MAKERS[name])
    reference.set_weights(model.get_weights())
    wanted = np.std(predicted(reference, images) - exact)
    got = np.std(predicted(inference_form(model, bfloat16=True), images) - exact)
    assert 0 < got < 1.5 * wanted
    assert wanted < np.std(exact)


PRODUCTS = {
    "conv": lambda: layers.Conv2D(4, 3, padding="same"),
    "conv without bias": lambda: layers.Conv2D(4, 3, strides=2, use_bias=False),
    "conv in groups": lambda: layers.Conv2D(4, 3, groups=2),
    "depthwise": lambda: layers.DepthwiseConv2D(3, depth_multiplier=3),
    "grouped": lambda: GroupedConv2D(2, stride=2),
    "dense": lambda: layers.Dense(5),
}


@pytest.mark.parametrize("product", PRODUCTS)
@pytest.mark.parametrize(("scale", "center"), [(True, True), (False, True), (True, False)])
def test_the_fold_is_the_closed_form(product, scale, center):
    """(W x + b - μ) γ / √(σ² + ε) + β, with all of them random, in float64."""
    random = np.random.default_rng(0)
    product = PRODUCTS[product]()
    norm = layers.BatchNormalization(scale=scale, center=center, epsilon=0.1)
    inputs = keras.Input((6, 6, 4))
    model = keras.Model(inputs, layers.ReLU()(norm(product(inputs))))
    for variable in model.weights:
        variable.assign(random.uniform(0.5, 2, variable.shape) - 0.2 * (variable.name == "bias"))
    x = random.normal(size=(3, 6, 6, 4)).astype(np.float32)
    linear = np.asarray(product(x), np.float64)
    gamma = np.asarray(norm.gamma) if scale else 1.0
    beta = np.asarray(norm.beta) if center else 0.0
    mean, variance = np.asarray(norm.moving_mean), np.asarray(norm.moving_variance)
    expected = np.maximum((linear - mean) / np.sqrt(variance + 0.1) * gamma + beta, 0.0)
    copy = inference_form(model, bfloat16=False)
    assert not norms(copy)
    np.testing.assert_allclose(predicted(copy, x), expected, rtol=1e-4, atol=1e-4)


def _two_readers(x):
    product = layers.Conv2D(4, 3)(x)
    return layers.Add()([layers.BatchNormalization()(product), product])


def _shared(x):
    conv = layers.Conv2D(4, 3, padding="same")
    return layers.BatchNormalization()(conv(conv(x)))


def _norm_used_twice(x):
    norm = layers.BatchNormalization()
    first, second = layers.Conv2D(4, 3)(x), layers.Conv2D(4, 3)(x)
    return layers.Add()([norm(first), norm(second)])


@keras.saving.register_keras_serializable(package="tests")
class Doubled(layers.Conv2D):
    """Not only a convolution."""

    def call(self, inputs):
        return 2.0 * super().call(inputs) + 1.0


NOT_FOLDED = {
    "an activation between": lambda x: layers.BatchNormalization()(
        layers.Conv2D(4, 3, activation="relu")(x)
    ),
    "no product": lambda x: layers.BatchNormalization()(layers.ReLU()(x)),
    "another axis": lambda x: layers.BatchNormalization(axis=1)(layers.Conv2D(4, 3)(x)),
    "rows of a dense layer": lambda x: layers.BatchNormalization(axis=1)(layers.Dense(4)(x)),
    "two readers": _two_readers,
    "a product used twice": _shared,
    "a norm used twice": _norm_used_twice,
    "a scale of any sign behind max-pooling": lambda x: layers.BatchNormalization()(
        layers.MaxPooling2D(2)(layers.Conv2D(4, 3)(x))
    ),
    "another pooling": lambda x: layers.BatchNormalization(scale=False)(
        layers.ReLU()(layers.MaxPooling2D(2)(layers.Conv2D(4, 3)(x)))
    ),
    "a class of its own": lambda x: layers.BatchNormalization()(Doubled(4, 3)(x)),
}


@pytest.mark.parametrize("case", NOT_FOLDED)
def test_what_cannot_be_folded_stays(case):
    random = np.random.default_rng(0)
    inputs = keras.Input((6, 6, 4))
    model = keras.Model(inputs, NOT_FOLDED[case](inputs))
    assert foldable(model) == {}
    for variable in model.weights:
        variable.assign(random.uniform(0.5, 2, variable.shape))
    x = random.normal(size=(2, 6, 6, 4)).astype(np.float32)
    copy = inference_form(model, bfloat16=True)
    expected = predicted(model, x)
    np.testing.assert_allclose(predicted(copy, x), expected, atol=0.05 * np.abs(expected).max())


def test_a_product_whose_values_are_outputs_keeps_them():
    inputs = keras.Input((6, 6, 4))
    product = layers.Conv2D(4, 3)(inputs)
    model = keras.Model(inputs, [layers.BatchNormalization()(product), product])
    assert foldable(model) == {}


def test_ends_stay_in_float32():
    scaled = [layers.Rescaling(1 / 255), layers.Flatten(), layers.Dense(3), layers.Dense(2)]
    copy = inference_form(keras.Sequential([keras.Input((4, 4, 3)), *scaled]), bfloat16=True)
    precisions = [layer.compute_dtype for layer in copy.layers]
    assert precisions == ["float32", "bfloat16", "bfloat16", "float32"]
    assert {str(v.dtype) for v in copy.variables} == {"float32"}


def test_another_precision_is_left_alone():
    inner = [layers.Dense(4, dtype="mixed_float16"), layers.Dense(2)]
    copy = inference_form(keras.Sequential([keras.Input((3,)), *inner]), bfloat16=True)
    assert copy.layers[0].dtype_policy.name == "mixed_float16"


def test_inner_models_are_changed_and_their_last_layer_only_where_it_gives_no_output(images):
    def block():
        inputs = keras.Input((32, 32, 3))
        x = layers.BatchNormalization()(layers.Conv2D(4, 3)(inputs))
        return keras.Model(inputs, layers.Conv2D(2, 3)(x))

    random = np.random.default_rng(0)
    model = keras.Sequential([keras.Input((32, 32, 3)), layers.Rescaling(1 / 255), block()])
    for variable in model.weights:
        variable.assign(random.uniform(0.5, 1, variable.shape))
    copy = inference_form(model, bfloat16=False)
    assert not norms(copy.layers[-1])
    np.testing.assert_allclose(predicted(copy, images), predicted(model, images), rtol=1e-4)
    copy = inference_form(model, bfloat16=True)
    kinds = [(type(v), v.compute_dtype) for v in copy.layers[-1].layers[1:]]
    assert kinds == [
        (layers.Conv2D, "bfloat16"),
        (Shift, "bfloat16"),
        (layers.Conv2D, "float32"),
    ]


@keras.saving.register_keras_serializable(package="tests")
class Written(keras.Model):
    """A network whose call is written in Python."""

    def __init__(self, **options):
        super().__init__(**options)
        self.dense = layers.Dense(10)

    def call(self, images):
        return self.dense(keras.ops.mean(images, axis=(1, 2)))


def test_a_network_that_is_not_its_layers_alone_stays():
    model = Written()
    model(np.zeros((1, 8, 8, 3), np.float32))
    assert inference_form(model, bfloat16=True) is None


# Teachers


@pytest.fixture
def teacher(make_run, network):
    run = str(make_run(network()))
    return load(parse(run), image_shape=(8, 8, 1), label_names=DIGITS)


@pytest.fixture
def digits() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (5, 8, 8, 1), dtype=np.uint8)


def test_a_teacher_in_bfloat16_gives_float32(teacher, digits):
    exact, rounded = teacher.logits(digits), teacher.fast(bfloat16=True).logits(digits)
    assert rounded.dtype == tf.float32
    assert not np.array_equal(exact, rounded)
    np.testing.assert_allclose(rounded, exact, atol=0.05 * float(np.std(exact)))


def test_a_saved_model_stays_as_it_is(network, tmp_path):
    network().export(str(tmp_path / "saved"), verbose=False)
    spec = parse(f"{tmp_path / 'saved'},input=byte")
    loaded = load(spec, image_shape=(8, 8, 1), label_names=DIGITS)
    assert loaded.fast(bfloat16=True) is loaded


def test_a_teacher_that_cannot_be_rebuilt_runs_as_it_is_and_says_so(teacher, monkeypatch, caplog):
    monkeypatch.setattr(keras.models, "clone_model", lambda *_, **__: 1 / 0)
    assert teacher.fast(bfloat16=True) is teacher
    assert "cannot be optimized and runs as saved: division by zero" in caplog.text

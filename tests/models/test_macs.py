"""Counts against closed forms and against published figures.

GMACs in the literature count what the paper says, or what a tool of the day counted. Where that
tool counted norms too, the figure here is the closed form of the published configuration.
"""

from __future__ import annotations

import itertools

import keras
import pytest
import tensorflow as tf
from keras import layers, ops

from std_keras import models
from std_keras.layers import CycleFC, GroupedConv2D

IMAGE = {"input_shape": (224, 224, 3), "num_classes": 1000}
GMACS = {
    # Tolstikhin et al. 2021, Table 1, in closed form.
    "mixer_s32": 1.00,
    "mixer_s16": 3.78,
    "mixer_b32": 3.24,
    "mixer_b16": 12.60,
    "mixer_l32": 11.25,
    "mixer_l16": 44.55,
    "mixer_h14": 120.99,
    # timm's table, which agrees with the ResMLP paper; B24/16 is the paper's 23.0.
    "resmlp_s12": 3.01,
    "resmlp_s24": 5.96,
    "resmlp_s36": 8.91,
    "resmlp_b24": 23.02,
    "resmlp_b24_8": 100.23,
    # The configurations of the authors' code; their own figures, with norms, are 2.1, 3.9, 6.9,
    # 10.1 and 12.3.
    "cyclemlp_b1": 2.12,
    "cyclemlp_b2": 3.88,
    "cyclemlp_b3": 6.83,
    "cyclemlp_b4": 10.03,
    "cyclemlp_b5": 12.23,
    # timm's configurations; with norms 1.34, 4.42 and 15.78.
    "gmlp_ti16": 1.33,
    "gmlp_s16": 4.39,
    "gmlp_b16": 15.72,
}
# Liu et al. 2021, Table 1; the model zoo of the RegNet authors' pycls; one decimal.
TEACHER_GMACS = {
    "swin_t": 4.5,
    "swin_s": 8.7,
    "swin_b": 15.4,
    "regnety_4gf": 4.0,
    "regnety_8gf": 8.0,
    "regnety_16gf": 15.9,
}
# chenyaofo's pytorch-cifar-models, 10 classes.
CIFAR_MMACS = {
    "cifar_resnet20": 40.81,
    "cifar_resnet32": 69.12,
    "cifar_resnet44": 97.44,
    "cifar_resnet56": 125.75,
}
# One of each family in every run of the suite, the others in the slow one.
FAST = {"mixer_s16", "resmlp_s12", "cyclemlp_b1", "gmlp_ti16", "swin_t", "regnety_4gf"}


def each(names) -> list:
    return [n if n in FAST else pytest.param(n, marks=pytest.mark.slow) for n in names]


@pytest.fixture
def without_values():
    """Variables get a shape but no values: a count does not read them."""
    with keras.StatelessScope(initialize_variables=False):
        yield
    # Keras would catch up on the values with the next variable that is created.
    keras.utils.clear_session()


def count(call, *shape: int) -> int:
    inputs = keras.Input(shape)
    return models.multiply_accumulates(keras.Model(inputs, call(inputs)))


def dense(rows: int, *widths: int) -> int:
    return rows * sum(a * b for a, b in itertools.pairwise(widths))


def mixer_macs(*, patches: int, patch: int, width: int, depth: int, classes: int) -> int:
    token = dense(width, patches, width // 2, patches)
    channel = dense(patches, width, 4 * width, width)
    stem = dense(patches, 3 * patch**2, width)
    return stem + depth * (token + channel) + dense(1, width, classes)


def token_set_macs(*, patches: int, width: int, classes: int) -> int:
    spatial = dense(width, patches + 1, width // 2, 1)
    channel = dense(patches, width + 1, 4 * width, 1)
    return spatial + channel + dense(1, width + patches, classes)


def attention_macs(rows: int, width: int) -> int:
    # Scores of all pairs and sums over them, in all heads together.
    return dense(rows, width, 3 * width) + 2 * rows * rows * width + dense(rows, width, width)


@pytest.mark.parametrize(
    ("layer", "shape", "expected"),
    [
        (layers.Dense(5), (7,), 7 * 5),
        (layers.Dense(5), (3, 7), 3 * 7 * 5),
        (layers.Dense(5), (2, 3, 7), 2 * 3 * 7 * 5),
        (layers.EinsumDense("...x,xy->...y", 5), (4, 7), 4 * 7 * 5),
        (layers.EinsumDense("abc,cde->abde", (None, 4, 5)), (3, 7), 3 * 7 * 4 * 5),
        (layers.Conv1D(5, 3), (8, 2), 6 * 3 * 2 * 5),
        (layers.Conv2D(5, (3, 2)), (8, 9, 4), 6 * 8 * 3 * 2 * 4 * 5),
        # Taps on the padding count, as they run.
        (layers.Conv2D(5, 3, padding="same"), (8, 9, 4), 8 * 9 * 3 * 3 * 4 * 5),
        (layers.Conv2D(5, 3, strides=2, padding="same"), (8, 9, 4), 4 * 5 * 3 * 3 * 4 * 5),
        (layers.Conv2D(6, 3, groups=2), (8, 9, 4), 6 * 7 * 3 * 3 * 2 * 6),
        (GroupedConv2D(2, stride=2), (8, 9, 4), 4 * 5 * 3 * 3 * 2 * 4),
        (layers.Conv3D(5, 2), (3, 4, 5, 6), 2 * 3 * 4 * 2**3 * 6 * 5),
        (layers.DepthwiseConv2D(3), (8, 9, 4), 6 * 7 * 3 * 3 * 4),
        (CycleFC(5, "width"), (8, 9, 4), 8 * 9 * 4 * 5),
    ],
)
def test_one_layer(layer, shape, expected):
    assert count(layer, *shape) == expected


def test_a_product_of_two_features():
    def scores(x):
        return ops.matmul(x, ops.transpose(x, (0, 2, 1)))

    assert count(scores, 6, 10) == 6 * 6 * 10
    assert count(lambda x: ops.einsum("bpn,bqn->bpq", x, x), 6, 10) == 6 * 6 * 10


def test_einsum_as_tensorflow_has_it():
    class Scores(layers.Layer):
        def call(self, x):
            return tf.einsum("...pn,...qn->...pq", x, x)

    assert count(Scores(), 3, 6, 10) == 3 * 6 * 6 * 10


def test_what_is_no_product_is_free():
    def call(x):
        x = layers.LayerNormalization()(layers.BatchNormalization()(x))
        x = layers.Dropout(0.5)(layers.Activation("gelu")(x)) + x
        return layers.GlobalAveragePooling2D()(layers.MaxPooling2D()(x))

    assert count(call, 8, 8, 3) == 0


def test_a_layer_that_is_used_twice_counts_twice():
    layer = layers.Dense(7)
    assert count(lambda x: layer(layer(x)), 7) == 2 * 7 * 7


def test_a_kernel_of_zeros_and_ones_that_adds_is_counted():
    class Blur(layers.Layer):
        def call(self, x):
            return ops.depthwise_conv(x, ops.ones((2, 2, 3, 1)))

    assert count(Blur(), 8, 8, 3) == 7 * 7 * 2 * 2 * 3


@pytest.mark.parametrize(
    ("call", "shape", "message"),
    [
        (layers.Dense(2), (None, 3), r"of shape \(None, None, 3\) must be fixed"),
        (layers.Conv2DTranspose(2, 3), (8, 8, 3), "is a Conv2DBackpropInput"),
        (layers.LSTM(2), (5, 3), "multiplies inside a loop"),
    ],
)
def test_what_cannot_be_counted_is_refused(call, shape, message):
    with pytest.raises(ValueError, match=message):
        count(call, *shape)


@pytest.mark.usefixtures("without_values")
@pytest.mark.parametrize("name", each(GMACS))
def test_published_students(name):
    macs = models.multiply_accumulates(models.create(name, **IMAGE))
    assert round(macs / 1e9, 2) == GMACS[name]


@pytest.mark.usefixtures("without_values")
@pytest.mark.parametrize("name", each(TEACHER_GMACS))
def test_published_teachers(name):
    macs = models.multiply_accumulates(models.create(name, **IMAGE))
    assert round(macs / 1e9, 1) == TEACHER_GMACS[name]


@pytest.mark.usefixtures("without_values")
@pytest.mark.parametrize("name", CIFAR_MMACS)
def test_published_cifar_resnets(name):
    model = models.create(name, input_shape=(32, 32, 3), num_classes=10)
    assert round(models.multiply_accumulates(model) / 1e6, 2) == CIFAR_MMACS[name]


@pytest.mark.usefixtures("without_values")
def test_mixer_in_closed_form():
    macs = models.multiply_accumulates(models.create("mixer_s16", **IMAGE))
    assert macs == mixer_macs(patches=196, patch=16, width=512, depth=8, classes=1000)


@pytest.mark.usefixtures("without_values")
def test_deit_in_closed_form():
    macs = models.multiply_accumulates(models.create("deit_ti16_distilled", **IMAGE))
    block = attention_macs(198, 192) + dense(198, 192, 4 * 192, 192)
    assert macs == dense(196, 3 * 16**2, 192) + 12 * block + 2 * dense(1, 192, 1000)


# Li et al. 2022 give 4.3 (with norms), 24.1 and 4.0.
@pytest.mark.usefixtures("without_values")
@pytest.mark.parametrize(
    ("name", "patches", "width", "gmacs"),
    [
        ("mixer_s16", 196, 512, 4.243),
        ("resmlp_b24", 196, 768, 24.067),
        ("cyclemlp_b2", 49, 512, 3.993),
    ],
)
def test_published_token_sets(name, patches, width, gmacs):
    sites = ["intermediate", "last"]
    macs = models.multiply_accumulates(models.create_student(name, **IMAGE, teacher_sites=sites))
    assert round(macs / 1e9, 3) == gmacs
    added = 2 * token_set_macs(patches=patches, width=width, classes=1000)
    assert macs - added == models.multiply_accumulates(models.create(name, **IMAGE))


def test_weights_do_not_matter(small_options, small_student):
    plain = models.create("mixer_s16", **small_options)
    assert models.multiply_accumulates(plain) == mixer_macs(
        patches=16, patch=4, width=12, depth=4, classes=5
    )
    student = small_student(teacher_sites=["last"])
    single = models.prediction_model(student, head="classification")
    assert models.multiply_accumulates(single) == models.multiply_accumulates(plain)
    assert models.multiply_accumulates(student) > models.multiply_accumulates(plain)

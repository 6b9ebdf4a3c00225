"""The inference graph against the training graph, and the operators that it leaves."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from std_keras import models
from std_keras.exporting import convert, count_ops, inference_model
from std_keras.exporting.graph import InferenceGraph

FAMILIES = {
    "mixer_s16": {},
    "resmlp_s12": {},
    "gmlp_ti16": {},
    "cyclemlp_b1": {"patch_size": 1, "widths": (8, 16), "depths": (1, 2), "mlp_ratios": (4, 4)},
}
STUDENTS = {
    "two teachers": {"teacher_sites": ["intermediate", "last"]},
    "stacked": {"teacher_sites": ["both"], "token_mlps": 2},
    "propagated": {"teacher_sites": ["both"], "propagate_tokens": True},
    "spatial": {"teacher_sites": ["last"], "tokens": "spatial"},
    "channel": {"teacher_sites": ["last"], "tokens": "channel"},
    "no tokens": {"teacher_sites": ["last", "last"], "tokens": "none"},
}
STATISTICS = {"input_shape": (8, 8, 3), "mean": (0.3, 0.4, 0.6), "std": (0.2, 0.3, 0.25)}


@pytest.fixture(scope="module")
def colours() -> np.ndarray:
    return np.random.default_rng(7).integers(0, 256, size=(4, 8, 8, 3), dtype=np.uint8)


def student_of(create_student, name: str, **options) -> keras.Model:
    family = FAMILIES[name]
    if name == "cyclemlp_b1":
        family = {"width": None, "depth": None, **family}
    merged = {**STATISTICS, **family, **options}
    return create_student(model=name, **merged)


def run(graph, images: np.ndarray) -> np.ndarray:
    call = tf.function(graph, autograph=False)
    return np.concatenate([call(tf.constant(image[None], tf.float32)) for image in images])


def relative_difference(model: keras.Model, images: np.ndarray) -> float:
    expected = np.asarray(model(images.astype(np.float32)))
    assert expected.std(axis=0).min() > 1e-3  # The images are told apart at all.
    return np.abs(run(InferenceGraph(model), images) - expected).max() / np.abs(expected).max()


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("kind", STUDENTS)
def test_it_equals_the_training_graph(create_student, colours, name, kind):
    student = student_of(create_student, name, **STUDENTS[kind])
    for head in ("average", "classification", "confidence"):
        difference = relative_difference(inference_model(student, head=head), colours)
        assert difference < 1e-5, head


def test_a_distillation_token_and_stochastic_depth(create_student, colours):
    student = student_of(
        create_student, "mixer_s16", teacher_sites=["last"], tokens="deit", stochastic_depth=0.3
    )
    assert relative_difference(inference_model(student, head="average"), colours) < 1e-5


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("deit_ti16", {"patch_size": 4, "width": 192, "depth": 2}),
        ("swin_t", {"patch_size": 1, "width": 8, "depth": 8, "head_dim": 4, "window_size": 4}),
        ("regnety_4gf", {"width": 8, "width_slope": 10.0, "depth": 8, "group_width": 8}),
    ],
)
def test_families_without_rules_of_their_own(randomized, colours, name, options):
    model = models.create(name, num_classes=10, **STATISTICS, **options)
    assert relative_difference(randomized(model), colours) < 1e-5


def test_layers_that_only_look_like_known_ones_are_called(randomized, colours):
    class Doubled(keras.layers.Dense):
        def call(self, inputs, training=None):
            return 2.0 * super().call(inputs)

    image = keras.Input((8, 8, 3), name="image")
    x = keras.layers.Rescaling(1 / 64, offset=-1.0)(image)
    x = keras.layers.Conv2D(6, 3, padding="same", strides=2)(x)  # Pads what is normalised.
    x = keras.layers.LayerNormalization(axis=(1, 2, 3), name="over_everything")(x)
    x = keras.layers.LayerNormalization(axis=-1, center=False)(x)
    x = keras.layers.Conv2D(4, 2, activation="relu")(x)
    x = keras.layers.Concatenate(axis=1)([x, 2.0 * x])
    x = keras.layers.Concatenate()([x, keras.layers.Dense(3, activation="tanh")(x)])
    x = keras.layers.GlobalAveragePooling2D(keepdims=True)(x)
    x = keras.layers.Dropout(0.5)(keras.layers.Flatten()(x))
    model = keras.Model(image, Doubled(10)(keras.layers.Dense(8, use_bias=False)(x)))
    assert relative_difference(randomized(model), colours) < 1e-5


def test_shared_layers_are_run_once_for_each_call(randomized, colours):
    image = keras.Input((8, 8, 3), name="image")
    dense, norm = keras.layers.Dense(3), keras.layers.LayerNormalization()
    x = dense(norm(dense(norm(image))))
    x = keras.layers.Flatten()(keras.layers.Add()([x, image]))
    model = randomized(keras.Model(image, keras.layers.Dense(10)(x)))
    assert relative_difference(model, colours) < 1e-5


def test_operators_are_those_that_the_architecture_needs(create_student):
    student = student_of(create_student, "mixer_s16", teacher_sites=["last"])
    ops = count_ops(convert(inference_model(student, head="average"), quantization="float32"))
    norms = 2 * 2 + 1 + 1 + 0  # Blocks; the token set's columns; final norm, which its rows share.
    assert ops["RSQRT"] == ops["SUB"] == norms
    assert ops["MEAN"] == 2 * norms + 1  # And the pooling.
    # Two MLPs in each block, two in the token set, and all heads are one matmul.
    assert ops["FULLY_CONNECTED"] == 2 * 4 + 2 * 2 + 1
    assert ops["GELU"] == 2 * 2 + 2
    assert ops["TRANSPOSE"] == 2 * 2 + 1  # There and back in each block, into the spatial MLP.
    # Squares and quotients of norms; scale and shift before token mixing and the spatial MLP.
    assert ops["MUL"] == 2 * norms + 2 + 1
    assert ops["ADD"] == norms + 2 + 1 + 2 * 2  # Epsilons, shifts, residuals.
    assert ops["CONCATENATION"] == 3  # T_S, T_C, and what the head reads.


def test_a_constant_image_statistic_is_in_the_stem(create_student):
    student = student_of(create_student, "resmlp_s12", teacher_sites=["last"], tokens="none")
    ops = count_ops(convert(inference_model(student, head="average"), quantization="float32"))
    # Per block: scale and shift before the transpose, a scale behind it, two residuals; no pixels.
    assert (ops["MUL"], ops["ADD"]) == (2 * 2, 2 * 3)
    assert ops["FULLY_CONNECTED"] == 2 * 3 + 1
    assert "SUB" not in ops

"""The network of exported files against the trained one, and the operators of the files."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from std_keras import models
from std_keras.exporting import convert, count_ops, inference_model
from std_keras.exporting.pixels import pixels_in_stem

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


def relative_difference(model: keras.Model, images: np.ndarray) -> float:
    """Of the logits with the normalisation of pixels in the stem."""
    pixels = images.astype(np.float32)
    expected = np.asarray(model(pixels))
    assert expected.std(axis=0).min() > 1e-3  # The images are told apart at all.
    return np.abs(pixels_in_stem(model)(pixels) - expected).max() / np.abs(expected).max()


def names_of(model: keras.Model, kind: type) -> list[str]:
    return [layer.name for layer in model.layers if type(layer) is kind]


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("kind", STUDENTS)
def test_it_equals_the_trained_network(create_student, colours, name, kind):
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
def test_families_without_tokens(randomized, colours, name, options):
    model = models.create(name, num_classes=10, **STATISTICS, **options)
    assert relative_difference(randomized(model), colours) < 1e-5


class Doubled(keras.layers.Conv2D):
    def call(self, inputs):
        return 2.0 * super().call(inputs)


def read_twice(x):
    return keras.layers.Concatenate()([keras.layers.Conv2D(4, 3, padding="same")(x), x])


def called_twice(x):
    conv = keras.layers.Conv2D(3, 2)
    return conv(conv(x))


@pytest.mark.parametrize(
    "stem",
    [
        keras.layers.Conv2D(6, 3, padding="same", strides=2),  # Beside the image are zeros.
        keras.layers.Conv2D(6, 3, groups=3),
        keras.layers.DepthwiseConv2D(3),
        Doubled(6, 2),
        read_twice,
        called_twice,
    ],
    ids=["padded", "groups", "depthwise", "derived", "read twice", "called twice"],
)
def test_stems_that_cannot_take_the_pixels(colours, stem):
    image = keras.Input((8, 8, 3), name="image")
    x = stem(keras.layers.Rescaling(1 / 64, offset=-1.0)(image))
    model = keras.Model(image, keras.layers.Dense(10)(keras.layers.Flatten()(x)))
    assert pixels_in_stem(model) is model


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("scale", [1 / 64, [1 / 64, 1 / 50, 1 / 90]])
def test_stems_that_can(randomized, colours, use_bias, scale):
    image = keras.Input((8, 8, 3), name="image")
    x = keras.layers.Rescaling(scale, offset=-1.0)(image)
    x = keras.layers.Conv2D(
        6, 2, strides=2, dilation_rate=1, activation="relu", use_bias=use_bias, name="stem"
    )(x)
    model = keras.Model(image, keras.layers.Dense(10)(keras.layers.Flatten()(x)), name="own")
    before = [weight.copy() for weight in randomized(model).get_weights()]
    assert relative_difference(model, colours) < 1e-5
    found = pixels_in_stem(model)
    assert names_of(found, keras.layers.Rescaling) == []
    assert [layer.name for layer in found.layers] == [layer.name for layer in model.layers]
    # The model is as it was, and shares what was not changed.
    for weight, was in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, was)
    assert found.layers[-1] is model.layers[-1]
    assert len(names_of(model, keras.layers.Rescaling)) == 1


def test_operators_are_those_that_the_architecture_needs(create_student):
    student = student_of(create_student, "mixer_s16", teacher_sites=["last"])
    ops = count_ops(convert(inference_model(student, head="average"), quantization="float32"))
    norms = 2 * 2 + 2  # In the blocks and the token set; the final one is Keras' own.
    assert ops["SUB"] == norms
    assert ops["RSQRT"] == norms + 1
    assert ops["MEAN"] == 2 * (norms + 1) + 1  # And the pooling.
    # Two MLPs in each block, two in the token set, two heads.
    assert ops["FULLY_CONNECTED"] == 2 * 4 + 2 * 2 + 2
    assert ops["GELU"] == 2 * 2 + 2
    assert ops["TRANSPOSE"] == 2 * 2 + 1  # There and back in each block, into the spatial MLP.
    # Squares and quotients of norms; the final one's three; scale before token mixing and before
    # the spatial MLP, since before channel mixing it is in the kernel; half of the sum of heads.
    assert ops["MUL"] == 2 * norms + 3 + (2 + 1) + 1
    assert ops["CONCATENATION"] == 3  # T_S, T_C, and what the head reads.


def test_the_normalisation_of_pixels_is_in_the_stem(create_student):
    student = student_of(create_student, "resmlp_s12", teacher_sites=["last"], tokens="none")
    model = inference_model(student, head="average")
    ops = count_ops(convert(model, quantization="float32"))
    # Per block: scale and shift before the transpose, a scale behind it, two residuals. The final
    # affine, and half of the sum of heads. No pixels.
    assert (ops["MUL"], ops["ADD"]) == (2 * 2 + 1 + 1, 2 * 3 + 1 + 1)
    assert ops["FULLY_CONNECTED"] == 2 * 3 + 2

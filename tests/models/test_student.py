from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from std_keras import models
from std_keras.errors import InputError

STUDENTS: dict[str, dict[str, Any]] = {
    "last": {"teacher_sites": ["last"]},
    "two_teachers": {"teacher_sites": ["intermediate", "last"]},
    "both_sites": {"teacher_sites": ["both", "last"]},
    "propagate": {"teacher_sites": ["both", "both"], "propagate_tokens": True},
    "spatial": {"teacher_sites": ["last"], "tokens": "spatial"},
    "channel": {"teacher_sites": ["last"], "tokens": "channel"},
    "propagate_spatial": {
        "teacher_sites": ["both"],
        "tokens": "spatial",
        "propagate_tokens": True,
    },
    "none": {"teacher_sites": ["last", "last"], "tokens": "none"},
    "deit": {"teacher_sites": ["last", "last"], "tokens": "deit"},
    "token_mlps": {"teacher_sites": ["intermediate", "last"], "token_mlps": 2},
}
each_student = pytest.mark.parametrize("options", STUDENTS.values(), ids=STUDENTS.keys())


def gradients(model: keras.Model, images: np.ndarray, heads: list[str]) -> dict[str, np.ndarray]:
    """Gradient of the sum of the heads' cross-entropies, by path of the weight; zeros if none."""
    training = models.training_model(model)
    labels = tf.constant([0, 1, 2, 3])
    with tf.GradientTape() as tape:
        outputs = training(images, training=True)
        loss = sum(
            tf.reduce_mean(
                tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=outputs[head])
            )
            for head in heads
        )
    weights = model.trainable_variables
    values = tape.gradient(loss, weights)
    return {
        weight.path: np.zeros(weight.shape) if value is None else np.asarray(value)
        for weight, value in zip(weights, values, strict=True)
    }


def reached(model: keras.Model, images: np.ndarray, heads: list[str]) -> set[str]:
    """Layers of which at least one weight gets a gradient."""
    found = gradients(model, images, heads)
    return {path.split("/")[0] for path, value in found.items() if np.any(value)}


@each_student
def test_round_trip_in_all_outputs(small_student, images, reload, options):
    student = small_student(**options)
    loaded = reload(student)
    np.testing.assert_array_equal(loaded(images), student(images))
    expected = models.training_model(student)(images)
    for path, value in tree_paths(models.training_model(loaded)(images)).items():
        np.testing.assert_array_equal(value, tree_paths(expected)[path])


def tree_paths(outputs: dict[str, Any]) -> dict[str, Any]:
    flat = {}
    for name, value in outputs.items():
        parts = value.items() if isinstance(value, dict) else [("", value)]
        flat.update({f"{name}/{kind}": part for kind, part in parts})
    return flat


@each_student
def test_output_is_the_average_of_the_heads(small_student, images, options):
    student = small_student(**options)
    outputs = models.training_model(student)(images)
    names = models.head_names(student)
    heads = [np.asarray(outputs[name]) for name in names[1:]]
    expected = (np.asarray(outputs["classification"]) + np.mean(heads, axis=0)) / 2
    np.testing.assert_allclose(student(images), expected, atol=1e-5)


@pytest.mark.usefixtures("mixed_bfloat16")
@each_student
def test_mixed_precision(small_student, images, options):
    student = small_student(**options)
    outputs = models.training_model(student)(images)
    for name in models.head_names(student):
        assert outputs[name].dtype == tf.float32
        assert np.all(np.isfinite(outputs[name]))
    assert student.get_layer("block_0").output.dtype == "bfloat16"


@each_student
def test_every_weight_gets_a_gradient(small_student, images, options):
    student = small_student(**options)
    found = gradients(student, images, list(models.head_names(student)))
    assert [path for path, value in found.items() if not np.any(value)] == []


@pytest.mark.parametrize(
    ("options", "silent"),
    [
        # The zero kernel of the class head stops its gradient; the final norm has no other reader.
        ({"teacher_sites": ["last"]}, {"final_norm"}),
        # Likewise the block behind the one that the only token set reads.
        ({"teacher_sites": ["intermediate"]}, {"block_3", "final_norm"}),
        # These distillation heads read the features behind the final norm.
        ({"teacher_sites": ["last"], "tokens": "none"}, set()),
        ({"teacher_sites": ["last"], "tokens": "deit"}, set()),
    ],
)
def test_weights_without_a_gradient_at_the_start(small_options, images, options, silent):
    keras.utils.set_random_seed(0)
    student = models.create_student("mixer_s16", **small_options, **options)
    found = gradients(student, images, list(models.head_names(student)))
    without = {path.split("/")[0] for path, value in found.items() if not np.any(value)}
    assert without == silent


def test_every_weight_of_a_resnet_gets_a_gradient(images, randomize):
    model = models.create("cifar_resnet20", input_shape=(16, 16, 3), num_classes=5)
    found = gradients(randomize(model), images, ["classification"])
    assert [path for path, value in found.items() if not np.any(value)] == []


BACKBONE_TO_2 = {"stem", "block_0", "block_1", "block_2"}
BACKBONE_TO_3 = BACKBONE_TO_2 | {"block_3"}


@pytest.mark.parametrize(
    ("options", "head", "expected"),
    [
        (
            {"teacher_sites": ["intermediate", "last"]},
            "distillation_0_intermediate",
            BACKBONE_TO_2 | {"tokens_0_intermediate"},
        ),
        (
            {"teacher_sites": ["intermediate", "last"]},
            "distillation_1_last",
            BACKBONE_TO_3 | {"tokens_1_last"},
        ),
        (
            {"teacher_sites": ["last", "last"]},
            "classification",
            BACKBONE_TO_3 | {"final_norm"},
        ),
        (
            {"teacher_sites": ["both", "last"]},
            "distillation_0_last",
            BACKBONE_TO_3 | {"tokens_0_last"},
        ),
        (
            {"teacher_sites": ["both", "both"], "propagate_tokens": True},
            "distillation_1_last",
            BACKBONE_TO_3 | {"tokens_1_intermediate", "tokens_1_last"},
        ),
        (
            {"teacher_sites": ["last", "last"], "tokens": "none"},
            "distillation_1_last",
            BACKBONE_TO_3 | {"final_norm"},
        ),
        (
            {"teacher_sites": ["last", "last"], "tokens": "deit"},
            "distillation_1_last",
            BACKBONE_TO_3 | {"final_norm", "distillation_token"},
        ),
    ],
)
def test_gradient_of_a_head_reaches_only_what_it_reads(
    small_student, images, options, head, expected
):
    student = small_student(**options)
    assert reached(student, images, [head]) == expected | {head}


@pytest.mark.parametrize(
    ("options", "disturbed", "changed"),
    [
        (
            {"teacher_sites": ["both", "last"]},
            "tokens_0_intermediate",
            {"distillation_0_intermediate", "tokens_0_intermediate"},
        ),
        (
            {"teacher_sites": ["both", "last"]},
            "tokens_0_last",
            {"distillation_0_last", "tokens_0_last"},
        ),
        (
            {"teacher_sites": ["both", "both"], "propagate_tokens": True},
            "tokens_0_intermediate",
            {"distillation_0_last", "tokens_0_last"},
        ),
    ],
)
def test_token_sets_influence_nothing_but_their_own_head(
    small_student, images, rng, options, disturbed, changed
):
    student = small_student(**options)
    training = models.training_model(student)
    before = tree_paths(training(images))
    for weight in student.get_layer(disturbed).trainable_weights:
        weight.assign_add(rng.normal(size=weight.shape))
    after = tree_paths(training(images))
    differing = {
        path.split("/")[0]
        for path in before
        if np.any(np.asarray(before[path]) != np.asarray(after[path]))
    }
    assert differing == changed


def test_only_what_is_used_exists(small_student):
    def layer_names(**options):
        return {layer.name for layer in small_student(**options).layers}

    plain = {"image", "normalization", "stem", "patches", "block_0", "block_1", "block_2"}
    plain |= {"block_3", "final_norm", "pool", "classification", "average"}
    one = {"tokens_0_last", "tokens_0_last_concatenated", "distillation_0_last"}
    assert layer_names(teacher_sites=["last"]) == plain | one
    spatial = {"tokens_0_last", "distillation_0_last"}
    assert layer_names(teacher_sites=["last"], tokens="spatial") == plain | spatial
    propagated = one | {"tokens_0_intermediate"}
    assert layer_names(teacher_sites=["both"], propagate_tokens=True) == plain | propagated
    assert layer_names(teacher_sites=["last"], tokens="none") == plain | {"distillation_0_last"}


def test_parameters_of_the_variants(small_student, small_options):
    """P = 16, N = 12, 5 classes, against closed forms."""
    base = models.trainable_parameters(models.create("mixer_s16", **small_options))
    spatial = 24 + (17 * 6 + 6) + (6 + 1)
    channel = 26 + (13 * 48 + 48) + (48 + 1)
    head = (12 + 16) * 5 + 5
    added = {
        "last": spatial + channel + 12 + 16 + head,
        "two_teachers": 2 * (spatial + channel + 12 + 16 + head),
        "both_sites": 3 * (spatial + channel + 12 + 16 + head),
        "propagate": 2 * (2 * (spatial + channel) + 12 + 16 + head),
        "spatial": spatial + 12 + 12 * 5 + 5,
        "channel": channel + 16 + 16 * 5 + 5,
        "propagate_spatial": 2 * spatial + 12 + 12 * 5 + 5,
        "none": 2 * (12 * 5 + 5),
        # One more row in and out of the token mixing of four blocks.
        "deit": 12 + 4 * (6 + 6 + 1) + 2 * (12 * 5 + 5),
        "token_mlps": 2 * (2 * (spatial + channel) + 12 + 16 + head),
    }
    counts = {
        name: models.trainable_parameters(small_student(**options)) - base
        for name, options in STUDENTS.items()
    }
    assert counts == added


def test_token_sets_take_over_the_options_of_the_backbone(small_student):
    student = small_student(teacher_sites=["last"], gelu="tanh", layer_norm_epsilon=1e-5)
    config = student.get_layer("tokens_0_last").get_config()
    assert (config["gelu"], config["layer_norm_epsilon"]) == ("tanh", 1e-5)


def test_distillation_heads_start_small_and_random(small_options):
    student = models.create_student(
        "mixer_s16", **{**small_options, "width": 256}, teacher_sites=["last"]
    )
    kernel = student.get_layer("distillation_0_last").kernel.numpy()
    assert np.abs(kernel).max() <= 0.04
    assert kernel.std() == pytest.approx(0.0176, rel=0.1)


def test_a_pyramid_can_be_a_student(images, randomize, reload):
    student = models.create_student(
        "cifar_resnet20", input_shape=(16, 16, 3), num_classes=5, teacher_sites=["both"]
    )
    randomize(student)
    tokens = models.training_model(student).output["tokens_0_intermediate"]
    assert (tokens["spatial"].shape, tokens["channel"].shape) == ((None, 64), (None, 16))
    np.testing.assert_array_equal(reload(student)(images), student(images))


def own_backbone(activation: str | None = None) -> keras.Model:
    """A convolutional model of someone else's, with names of their own."""
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(6, 4, strides=4, activation="relu", name="conv_a")(inputs)
    x = keras.layers.Conv2D(7, 2, strides=2, activation="relu", name="conv_b")(x)
    x = keras.layers.GlobalAveragePooling2D(name="avg_pool")(x)
    return keras.Model(inputs, keras.layers.Dense(5, activation=activation, name="predictions")(x))


OWN = {"num_classes": 5, "site_layers": {"intermediate": "conv_a", "last": "conv_b"}}


def test_any_keras_model_can_be_a_backbone(images, randomize, reload):
    backbone = own_backbone()
    student = models.attach_tokens(backbone, teacher_sites=["both"], **OWN)
    randomize(student)
    outputs = models.training_model(student)
    shapes = {k: tuple(v.shape) for k, v in tree_paths(outputs.output).items()}
    assert shapes == {
        "classification/": (None, 5),
        "distillation_0_intermediate/": (None, 5),
        "distillation_0_last/": (None, 5),
        "tokens_0_intermediate/spatial": (None, 6),
        "tokens_0_intermediate/channel": (None, 16),
        "tokens_0_last/spatial": (None, 7),
        "tokens_0_last/channel": (None, 4),
    }
    # The weights are shared, and nothing is written to the backbone's features.
    np.testing.assert_array_equal(outputs(images)["classification"], backbone(images))
    np.testing.assert_array_equal(reload(student)(images), student(images))


def test_an_unknown_backbone_without_tokens(images, randomize):
    student = models.attach_tokens(
        own_backbone(), num_classes=5, teacher_sites=["last"], tokens="none"
    )
    assert randomize(student).get_layer("distillation_0_last").kernel.shape == (7, 5)
    assert reached(student, images, ["distillation_0_last"]) == {
        "conv_a",
        "conv_b",
        "distillation_0_last",
    }


def test_a_keras_application_can_be_a_backbone():
    backbone = keras.applications.MobileNetV2(
        input_shape=(32, 32, 3), alpha=0.35, weights=None, classes=5, classifier_activation=None
    )
    student = models.attach_tokens(
        backbone,
        num_classes=5,
        teacher_sites=["intermediate", "last"],
        site_layers={"intermediate": "block_12_add", "last": "out_relu"},
    )
    outputs = models.training_model(student)(np.zeros((2, 32, 32, 3), "float32"))
    assert outputs["tokens_1_last"]["spatial"].shape == (2, 1280)


@pytest.mark.parametrize(
    ("backbone", "options", "message"),
    [
        (own_backbone("softmax"), {}, "ends with a softmax, but logits are needed"),
        (own_backbone(), {"num_classes": 6}, r"gives \(None, 5\), not \(B, 6\)"),
        (own_backbone(), {"site_layers": {"intermediate": "conv_a"}}, "lacks 'last'"),
        (own_backbone(), {"site_layers": {"last": "conv_z"}}, "no layer called 'conv_z'"),
        (own_backbone(), {"site_layers": {"last": "avg_pool"}}, r"gives \(None, 7\), not"),
        (own_backbone(), {"site_layers": None}, "has no layers called block_0"),
        (own_backbone(), {"tokens": "deit"}, "'distillation_token'"),
        (keras.Model(), {}, "functional"),
    ],
)
def test_backbones_that_cannot_be_used(backbone, options, message):
    with pytest.raises(ValueError, match=message):
        models.attach_tokens(backbone, **{**OWN, "teacher_sites": ["last"], **options})


def test_tokens_cannot_go_between_features_of_different_shapes():
    with pytest.raises(InputError, match=r"`propagate_tokens`: .*of different shapes"):
        models.attach_tokens(own_backbone(), teacher_sites=["both"], propagate_tokens=True, **OWN)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("mixer_s16", {"depth": 1, "teacher_sites": ["intermediate"]}, "site=intermediate does"),
        ("mixer_s16", {"distillation_token": True}, "`distillation_token`: .*tokens=deit"),
        ("cifar_resnet20", {"tokens": "deit"}, "tokens=deit does not apply to cifar_resnet20"),
        ("mixer_s16", {"teacher_sites": []}, "`teacher`: a student needs at least one"),
        ("mixer_s16", {"shortcut": "identity"}, "`shortcut` does not apply to mixer_s16"),
    ],
)
def test_bad_input_gets_a_sentence(name, options, message):
    arguments = {"input_shape": (16, 16, 3), "num_classes": 5, "teacher_sites": ["last"]}
    with pytest.raises(InputError, match=message):
        models.create_student(name, **{**arguments, **options})

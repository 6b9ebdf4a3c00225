from __future__ import annotations

import keras
import numpy as np
import pytest

from std_keras import models
from std_keras.errors import InputError

HEADS = (
    "classification",
    "distillation_0_intermediate",
    "distillation_0_last",
    "distillation_1_last",
)
COMBINATIONS = ("average", "confidence", "distillation")


@pytest.fixture(scope="module", params=["new", "loaded"])
def student(request, small_student, reload) -> keras.Model:
    model = small_student(teacher_sites=["both", "last"])
    return reload(model) if request.param == "loaded" else model


def test_head_names(student):
    assert models.head_names(student) == HEADS


def test_head_names_are_in_the_order_of_the_teachers(small_student):
    student = small_student(teacher_sites=["last"] * 11, depth=1)
    expected = tuple(f"distillation_{i}_last" for i in range(11))
    assert models.head_names(student) == ("classification", *expected)


def test_training_model(student, images):
    outputs = models.training_model(student)(images)
    token_sets = {head.replace("distillation", "tokens") for head in HEADS[1:]}
    assert set(outputs) == set(HEADS) | token_sets
    for name in token_sets:
        # P = 16 and N = 12 tell the kinds apart.
        assert outputs[name]["spatial"].shape == (4, 12)
        assert outputs[name]["channel"].shape == (4, 16)
        tokens = np.concatenate([outputs[name]["spatial"], outputs[name]["channel"]], axis=1)
        head = student.get_layer(name.replace("tokens", "distillation"))
        logits = tokens @ head.kernel.numpy() + head.bias.numpy()
        np.testing.assert_allclose(outputs[head.name], logits, atol=1e-5)


def test_propagated_tokens_appear_once(small_student):
    student = small_student(teacher_sites=["both"], propagate_tokens=True)
    assert set(models.training_model(student).output) == {
        "classification",
        "distillation_0_last",
        "tokens_0_last",
    }


@pytest.mark.parametrize("kind", ["spatial", "channel"])
def test_a_single_kind_of_token(small_student, kind):
    output = models.training_model(small_student(teacher_sites=["last"], tokens=kind)).output
    assert set(output["tokens_0_last"]) == {kind}


def test_heads_model_equals_the_prediction_models(student, images):
    outputs = models.heads_model(student)(images)
    assert set(outputs) == set(HEADS) | set(COMBINATIONS)
    for head, logits in outputs.items():
        single = models.prediction_model(student, head=head)
        np.testing.assert_allclose(single(images), logits, atol=1e-6)


def test_combinations(student, images):
    outputs = {k: np.asarray(v, "float64") for k, v in models.heads_model(student)(images).items()}
    heads = np.stack([outputs[name] for name in HEADS[1:]])
    p = np.exp(heads) / np.exp(heads).sum(axis=2, keepdims=True)
    weights = np.exp((p * np.log(p)).sum(axis=2))
    weights /= weights.sum(axis=0)
    weighed = (weights[..., None] * heads).sum(axis=0)
    expected = {
        "distillation": heads.mean(axis=0),
        "average": (outputs["classification"] + heads.mean(axis=0)) / 2,
        "confidence": (outputs["classification"] + weighed) / 2,
    }
    for name, logits in expected.items():
        np.testing.assert_allclose(outputs[name], logits, atol=1e-5)


def test_a_prediction_model_has_nothing_it_does_not_need(student, small_options):
    plain = models.create("mixer_s16", **small_options)
    classification = models.prediction_model(student, head="classification")
    assert models.trainable_parameters(classification) == models.trainable_parameters(plain)
    assert [x.name for x in classification.layers] == [x.name for x in plain.layers]

    def layer_names(head):
        return {layer.name for layer in models.prediction_model(student, head=head).layers}

    intermediate = layer_names("distillation_0_intermediate")
    assert "tokens_0_intermediate" in intermediate
    assert not intermediate & {"block_3", "classification", "tokens_0_last", "average"}
    assert not layer_names("distillation") & {"final_norm", "classification", "average"}
    assert "average" not in layer_names("confidence")


def test_prediction_models_share_weights(student, images):
    prediction = models.prediction_model(student, head="distillation_1_last")
    before = np.asarray(prediction(images))
    bias = student.get_layer("distillation_1_last").bias
    bias.assign_add(np.ones(5))
    after = np.asarray(prediction(images))
    bias.assign_sub(np.ones(5))
    np.testing.assert_allclose(after, before + 1.0, atol=1e-5)


@pytest.mark.parametrize("head", ["classification", "distillation", "average", "confidence"])
def test_prediction_models_can_be_saved(student, images, reload, head):
    prediction = models.prediction_model(student, head=head)
    np.testing.assert_array_equal(reload(prediction)(images), prediction(images))


def test_plain_models(small_options, images, randomize):
    model = randomize(models.create("mixer_s16", **small_options))
    assert models.head_names(model) == ("classification",)
    for outputs in (models.training_model(model)(images), models.heads_model(model)(images)):
        assert list(outputs) == ["classification"]
        np.testing.assert_array_equal(outputs["classification"], model(images))


def test_foreign_models(images):
    inputs = keras.Input((16, 16, 3))
    logits = keras.layers.Dense(5, name="predictions")(keras.layers.Flatten()(inputs))
    model = keras.Model(inputs, logits)
    prediction = models.prediction_model(model, head="classification")
    np.testing.assert_array_equal(prediction(images), model(images))


def test_a_head_that_is_not_there(student, small_options):
    with pytest.raises(InputError, match=r"head=distillation_2_last: .*distillation_1_last, av"):
        models.prediction_model(student, head="distillation_2_last")
    plain = models.create("mixer_s16", **small_options)
    with pytest.raises(InputError, match=r"head=average: .* use classification"):
        models.prediction_model(plain, head="average")


def test_trainable_parameters_leave_out_statistics_and_seeds(small_options):
    inputs = keras.Input((3,))
    model = keras.Model(inputs, keras.layers.BatchNormalization()(inputs))
    assert (models.trainable_parameters(model), model.count_params()) == (6, 12)
    dropping = models.create("mixer_s16", **small_options, stochastic_depth=0.5)
    plain = models.create("mixer_s16", **small_options)
    assert models.trainable_parameters(dropping) == models.trainable_parameters(plain)

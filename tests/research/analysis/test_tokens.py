"""Cosines, removal and information of tokens: hand-made cases and a student's own layers."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from std_keras import models
from std_keras.errors import InputError
from std_keras.research.analysis import token_features, token_removal, token_similarity
from std_keras.research.analysis.token_information import held_out_bound


def test_cosines_by_hand():
    features = np.array([[[1.0, 0.0], [1.0, 1.0], [0.0, 0.0]]])  # (1, P=3, N=2)
    spatial = token_similarity.to_patches(np.array([[2.0, 0.0]]), features)
    assert spatial == pytest.approx(np.array([[1.0, 0.5**0.5, 0.0]]))
    channel = token_similarity.to_channels(np.array([[0.0, -3.0, 0.0]]), features)
    assert channel == pytest.approx(np.array([[-(0.5**0.5), -1.0]]))
    assert token_similarity.summary(channel) == pytest.approx(
        {"mean": channel.mean(), "mean_magnitude": -channel.mean(), "mean_of_largest": -(0.5**0.5)}
    )


@pytest.fixture(scope="module")
def student():
    keras.utils.set_random_seed(0)
    model = models.create_student(
        "mixer_s16",
        input_shape=(8, 8, 1),
        num_classes=3,
        patch_size=4,
        width=6,
        depth=3,
        teacher_sites=["both"],
    )
    rng = np.random.default_rng(0)
    for variable in model.trainable_variables:
        variable.assign(variable.numpy() + rng.normal(0, 0.2, variable.shape))
    return model


def test_tokens_and_features_are_those_of_the_layers(student):
    images = np.random.default_rng(1).uniform(0, 255, (5, 8, 8, 1)).astype(np.float32)
    found = token_features.token_model(student)(images)
    assert list(found) == ["tokens_0_intermediate", "tokens_0_last"]
    for name, block in (("tokens_0_intermediate", "block_1"), ("tokens_0_last", "block_2")):
        features = keras.Model(student.input, student.get_layer(block).output)(images)
        np.testing.assert_array_equal(found[name]["features"], features)
        expected = student.get_layer(name)(features)
        for kind, shape in (("spatial", (5, 6)), ("channel", (5, 4))):
            assert found[name][kind].shape == shape
            np.testing.assert_allclose(found[name][kind], expected[kind], atol=1e-6)


def test_head_logits_are_those_of_the_head(student):
    images = np.random.default_rng(2).uniform(0, 255, (5, 8, 8, 1)).astype(np.float32)
    found = token_features.token_model(student)(images)["tokens_0_last"]
    tokens = [np.asarray(found["spatial"]), np.asarray(found["channel"])]
    kernel, bias = token_features.head_of(student, "tokens_0_last")
    head = models.prediction_model(student, head="distillation_0_last")(images)
    np.testing.assert_allclose(token_removal.head_logits(tokens, kernel, bias), head, atol=1e-5)
    without = token_removal.without_token(tokens, kernel, bias, removed=1)
    # What is left varies with the spatial token alone.
    change = tokens[0] @ kernel[:6]
    np.testing.assert_allclose(without - without[0], change - change[0], atol=1e-5)
    np.testing.assert_allclose(without.mean(0), np.asarray(head).mean(0), atol=1e-5)


def test_average_without_a_set():
    classes, one, two = (np.full((2, 3), v) for v in (1.0, 4.0, 10.0))
    assert token_removal.average_without(classes, [one, two], removed=0)[0, 0] == 5.5
    assert token_removal.average_without(classes, [one], removed=0)[0, 0] == 1.0


def test_a_model_without_token_sets_is_refused():
    plain = models.create(
        "mixer_s16", input_shape=(8, 8, 1), num_classes=3, patch_size=4, width=6, depth=1
    )
    with pytest.raises(InputError, match="no token sets"):
        token_features.token_sets(plain)


def gaussians(correlation, count=3000):
    rng = np.random.default_rng(3)
    x = rng.normal(size=(count, 1))
    z = correlation * x + (1 - correlation**2) ** 0.5 * rng.normal(size=(count, 1))
    return x.astype(np.float32), z.astype(np.float32)


def test_held_out_bound_of_gaussians():
    """I = -log(1 - ρ²) / 2 in closed form; independent pairs give nothing."""
    known = -0.5 * np.log(1 - 0.8**2)
    found = held_out_bound(*gaussians(0.8), steps=120, units=32, learning_rate=4e-3, evaluations=4)
    assert known - 0.15 < found.bound < known + 0.1
    assert found.examples == 750
    assert len(found.steps) == len(found.training) == len(found.choosing) == 4
    nothing = held_out_bound(*gaussians(0.0), steps=40, units=32, evaluations=2)
    assert abs(nothing.bound) < 0.03


def test_what_is_learned_by_heart_does_not_count():
    """Few independent examples with many columns: the critic fits them, the held-out do not."""
    rng = np.random.default_rng(4)
    x, z = (rng.normal(size=(80, 30)).astype(np.float32) for _ in range(2))
    found = held_out_bound(x, z, steps=150, units=64, learning_rate=5e-3, evaluations=2)
    assert found.training[-1] > 0.8
    assert found.bound < 0.3


@pytest.mark.parametrize(("count", "steps", "words"), [(39, 5, "40 pairs"), (60, 0, "steps")])
def test_refused(count, steps, words):
    x = np.zeros((count, 2), np.float32)
    with pytest.raises(ValueError, match=words):
        held_out_bound(x, x, steps=steps)

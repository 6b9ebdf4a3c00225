"""The use that a head makes of its tokens, on heads that leave one out."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
import pytest
import tensorflow as tf

from std_keras import losses, models
from std_keras.errors import InputError
from std_keras.programs import program
from tools.token_gradients import TEMPERATURE, main, token_uses


@pytest.fixture
def batch():
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (6, 8, 8, 3)).astype("float32")
    return images, random.integers(0, 5, 6), random.normal(size=(6, 5)).astype("float32")


def _student(
    tokens: str, *, sites: Sequence[str] = ("last",), propagate: bool = False
) -> keras.Model:
    keras.utils.set_random_seed(1)
    student = models.create_student(
        "mixer_s16",
        teacher_sites=list(sites),
        propagate_tokens=propagate,
        input_shape=(8, 8, 3),
        num_classes=5,
        tokens=tokens,
        patch_size=4,
        width=8,
        depth=3,
    )
    head = student.get_layer("classification")
    head.kernel.assign(keras.random.normal(head.kernel.shape, seed=2))
    return student


def test_a_single_token_has_all_of_the_variance_and_of_the_gradient(batch):
    images, labels, teacher_logits = batch
    student = _student("spatial")
    (use,) = token_uses(student, images, labels, [teacher_logits])
    layer, head = student.get_layer("tokens_0_last"), student.get_layer("distillation_0_last")
    features = tf.constant(keras.Model(student.input, layer.input)(images))
    with tf.GradientTape() as tape:
        tape.watch(features)
        logits = head(layer(features)["spatial"])
        loss = losses.soft_distillation(logits, teacher_logits, temperature=TEMPERATURE)
    norms = np.linalg.norm(tape.gradient(loss, features).numpy().reshape(6, -1), axis=1)
    assert (use.token, use.values) == ("spatial", 8)
    assert use.variance == pytest.approx(1, abs=1e-5)
    assert use.gradient == pytest.approx(norms.mean(), rel=1e-5)
    assert use.class_gradient > 0


@pytest.mark.parametrize("kept", [0, 1])
def test_a_token_that_the_head_does_not_read_brings_nothing(batch, kept):
    student = _student("both")
    head = student.get_layer("distillation_0_last")
    kernel = head.kernel.numpy()
    read = slice(0, 8) if kept == 0 else slice(8, 12)
    masked = np.zeros_like(kernel)
    masked[read] = 0.5
    masked[read, 0] = -0.5  # All classes alike would be no answer.
    head.kernel.assign(masked)
    images, labels, teacher_logits = batch
    uses = token_uses(student, images, labels, [teacher_logits])
    assert [use.values for use in uses] == [8, 4]
    assert uses[kept].head_weights == pytest.approx(0.5)
    assert uses[kept].variance == pytest.approx(1, abs=1e-5)
    assert uses[kept].gradient > 0
    left = uses[1 - kept]
    assert (left.head_weights, left.variance, left.gradient) == (0, 0, 0)


def test_each_token_set_follows_its_own_teacher(batch):
    """As when it is the only one."""
    images, labels, teacher_logits = batch
    student = _student("spatial", sites=("last", "both"))
    other = teacher_logits[::-1] * 2
    by_set = {u.token_set: u for u in token_uses(student, images, labels, [teacher_logits, other])}
    assert list(by_set) == ["tokens_0_last", "tokens_1_intermediate", "tokens_1_last"]
    swapped = token_uses(student, images, labels, [other, teacher_logits])
    assert all(use.gradient != by_set[use.token_set].gradient for use in swapped)
    layer, head = student.get_layer("tokens_1_last"), student.get_layer("distillation_1_last")
    features = tf.constant(keras.Model(student.input, layer.input)(images))
    with tf.GradientTape() as tape:
        tape.watch(features)
        logits = head(layer(features)["spatial"])
        loss = losses.soft_distillation(logits, other, temperature=TEMPERATURE)
    norms = np.linalg.norm(tape.gradient(loss, features).numpy().reshape(6, -1), axis=1)
    assert by_set["tokens_1_last"].gradient == pytest.approx(norms.mean(), rel=1e-5)
    with pytest.raises(InputError, match="1 teacher.* for a run that has 2; give all of them"):
        token_uses(student, images, labels, [teacher_logits])


def test_tokens_of_the_set_before_enter_the_one_that_has_a_head(batch):
    images, labels, teacher_logits = batch
    student = _student("both", sites=("both",), propagate=True)
    uses = token_uses(student, images, labels, [teacher_logits])
    assert [(use.token_set, use.token) for use in uses] == [
        ("tokens_0_last", "spatial"),
        ("tokens_0_last", "channel"),
    ]
    layer, head = student.get_layer("tokens_0_last"), student.get_layer("distillation_0_last")
    _, spatial_token = keras.Model(student.input, layer.output)(images)  # Sorted by their keys.
    spatial = spatial_token @ head.kernel[:8]
    logits = keras.Model(student.input, head.output)(images)
    centred = [
        (x - x.numpy().mean(1, keepdims=True)).numpy().var(0).sum() for x in (spatial, logits)
    ]
    assert uses[0].variance == pytest.approx(centred[0] / centred[1], rel=1e-3)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "RUN TEACHER is missing"),
        (["run"], "TEACHER is missing; give those of the run after it"),
        (["nowhere", "keras:ResNet50"], "nowhere: there is no such directory"),
    ],
)
def test_wrong_arguments_get_one_sentence(arguments, words, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["token_gradients", *arguments])
    assert program.run(main) == 2
    assert words in capsys.readouterr().err

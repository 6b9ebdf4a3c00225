"""The use that a head makes of its tokens, on heads that leave one out."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from std_keras import losses, models
from std_keras.programs import program
from tools.token_gradients import TEMPERATURE, main, token_uses


@pytest.fixture
def batch():
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (6, 8, 8, 3)).astype("float32")
    return images, random.integers(0, 5, 6), random.normal(size=(6, 5)).astype("float32")


def _student(tokens: str) -> keras.Model:
    keras.utils.set_random_seed(1)
    student = models.create_student(
        "mixer_s16",
        teacher_sites=["last"],
        input_shape=(8, 8, 3),
        num_classes=5,
        tokens=tokens,
        patch_size=4,
        width=8,
        depth=1,
    )
    head = student.get_layer("classification")
    head.kernel.assign(keras.random.normal(head.kernel.shape, seed=2))
    return student


def test_a_single_token_has_all_of_the_variance_and_of_the_gradient(batch):
    images, labels, teacher_logits = batch
    student = _student("spatial")
    (use,) = token_uses(student, images, labels, teacher_logits)
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
    uses = token_uses(student, *batch)
    assert [use.values for use in uses] == [8, 4]
    assert uses[kept].head_weights == pytest.approx(0.5)
    assert uses[kept].variance == pytest.approx(1, abs=1e-5)
    assert uses[kept].gradient > 0
    left = uses[1 - kept]
    assert (left.head_weights, left.variance, left.gradient) == (0, 0, 0)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [([], "must be RUN TEACHER"), (["nowhere", "keras:ResNet50"], "nowhere is not a finished run")],
)
def test_wrong_arguments_get_one_sentence(arguments, words, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["token_gradients", *arguments])
    assert program.run(main) == 2
    assert words in capsys.readouterr().err

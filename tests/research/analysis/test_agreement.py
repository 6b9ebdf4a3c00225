"""Agreement and KL against closed forms and SciPy-free NumPy; a model with itself."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tensorflow as tf

from std_keras import losses
from std_keras.research.analysis import agreement


@pytest.fixture
def logits():
    return np.random.default_rng(0).normal(0.0, 3.0, (200, 7)).astype(np.float32)


def test_a_model_agrees_with_itself(logits):
    assert agreement.top1_agreement(logits, logits) == 1.0
    assert agreement.predictive_kl(logits, logits) == pytest.approx(0.0, abs=1e-12)
    assert agreement.predictive_kl(logits, logits + 100.0) == pytest.approx(0.0, abs=1e-6)


def test_agreement_counts_equal_decisions(logits):
    other = logits.copy()
    other[:50] = np.roll(logits[:50], 1, axis=1)  # The top class of 50 of 200 moves.
    assert agreement.top1_agreement(logits, other) == 0.75


def test_kl_in_closed_form():
    teacher = np.log([[0.5, 0.5], [0.9, 0.1]])
    student = np.log([[0.25, 0.75], [0.5, 0.5]])
    by_hand = [
        0.5 * math.log(2.0) + 0.5 * math.log(2.0 / 3.0),
        0.9 * math.log(1.8) + 0.1 * math.log(0.2),
    ]
    assert agreement.predictive_kl(teacher, student) == pytest.approx(np.mean(by_hand))
    assert agreement.predictive_kl(student, teacher) != pytest.approx(np.mean(by_hand))


def test_kl_is_the_one_of_the_loss(logits):
    student = logits[::-1].copy()
    loss = losses.soft_distillation(tf.constant(student), tf.constant(logits), temperature=1.0)
    assert agreement.predictive_kl(logits, student) == pytest.approx(
        float(tf.reduce_mean(loss)), rel=1e-5
    )


def test_a_certain_teacher_gives_no_nan():
    teacher = np.array([[0.0, -np.inf]])
    student = np.log([[0.25, 0.75]])
    assert agreement.predictive_kl(teacher, student) == pytest.approx(math.log(4.0))


def test_accuracy_and_its_error(logits):
    labels = logits.argmax(axis=1)
    labels[:20] = (labels[:20] + 1) % 7
    assert agreement.accuracy(logits, labels) == 0.9
    assert agreement.standard_error(0.9, 100) == pytest.approx(0.03)
    assert agreement.standard_error(1.0, 100) == 0.0


@pytest.mark.parametrize("shapes", [((3, 4), (3, 5)), ((0, 4), (0, 4)), ((3,), (3,))])
def test_refused_shapes(shapes):
    with pytest.raises(ValueError, match="one shape"):
        agreement.top1_agreement(*(np.zeros(shape) for shape in shapes))

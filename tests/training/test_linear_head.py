"""A linear head on features: the minimum of its loss, whatever the features' scale."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from std_keras.errors import Interrupted
from std_keras.training.linear_head import PENALTIES, accuracy, choose_penalty, fit_head


def examples(classes, n=120, features=6, seed=0, apart=1.0):
    rng = np.random.default_rng(seed)
    labels = np.arange(n, dtype=np.int32) % classes
    centers = np.random.default_rng(9).normal(0, apart, (classes, features))
    values = centers[labels] + rng.normal(0, 1.0, (n, features))
    return values.astype(np.float32), labels


def softmax(logits):
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("classes", [3, 5])
@pytest.mark.parametrize("penalty", [0.3, 0.001])
def test_the_gradient_of_the_loss_is_zero(classes, penalty):
    values, labels = examples(classes)
    head = fit_head(values, labels, penalty=penalty, num_classes=classes)
    # In scaled features: mean cross-entropy + penalty / 2 |W|^2.
    scale = values.std(axis=0)
    scaled = (values - values.mean(axis=0)) / scale
    weights = head.kernel * scale[:, None]
    error = softmax(head.logits(values)) - np.eye(classes)[labels]
    np.testing.assert_allclose(scaled.T @ error / len(labels) + penalty * weights, 0, atol=2e-4)
    np.testing.assert_allclose(error.mean(axis=0), 0, atol=2e-4)


def test_two_classes_have_two_logits():
    values, labels = examples(2)
    head = fit_head(values, labels, penalty=0.01, num_classes=2)
    scale = values.std(axis=0)
    weights = (head.kernel[:, 1] - head.kernel[:, 0]) * scale
    scaled = (values - values.mean(axis=0)) / scale
    error = softmax(head.logits(values))[:, 1] - labels
    assert head.kernel.shape == (6, 2)
    np.testing.assert_allclose(scaled.T @ error / len(labels) + 0.01 * weights, 0, atol=2e-4)


def test_scale_and_offset_of_a_feature_change_nothing_and_a_constant_one_says_nothing():
    values, labels = examples(3)
    moved = values * np.array([1, 10, 0.1, 3, 1, 100], np.float32) + 7
    moved = np.concatenate([moved, np.full((len(labels), 1), 5.0, np.float32)], axis=1)
    one = fit_head(values, labels, penalty=0.01, num_classes=3).logits(values)
    head = fit_head(moved, labels, penalty=0.01, num_classes=3)
    np.testing.assert_allclose(head.logits(moved), one, atol=5e-3)
    assert not head.kernel[-1].any()


def test_the_penalty_with_the_least_cross_entropy_is_chosen():
    values, labels = examples(4, n=80, features=30, apart=0.4)
    other = examples(4, n=400, features=30, apart=0.4, seed=1)
    head, found = choose_penalty(values, labels, held_out=other, num_classes=4)
    losses = {}
    for penalty in PENALTIES:
        one = fit_head(values, labels, penalty=penalty, num_classes=4)
        losses[penalty] = accuracy(one.logits(other[0]), other[1]).loss
    assert head.penalty == min(losses, key=losses.get)
    assert PENALTIES[0] > head.penalty > PENALTIES[-1]
    assert found.loss == pytest.approx(losses[head.penalty], abs=2e-3)


def test_accuracy_is_that_of_keras():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (50, 7)).astype(np.float32)
    labels = rng.integers(0, 6, 50).astype(np.int32)  # The last class has no example.
    found = accuracy(logits, labels)
    top1 = keras.metrics.sparse_categorical_accuracy(labels, logits)
    top5 = keras.metrics.sparse_top_k_categorical_accuracy(labels, logits, k=5)
    loss = keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True)
    assert found.top1 == pytest.approx(float(np.mean(top1)))
    assert found.top5 == pytest.approx(float(np.mean(top5)))
    assert found.loss == pytest.approx(float(np.mean(loss)), rel=1e-5)
    of_class = [np.mean(np.asarray(top1)[labels == c]) for c in range(6)]
    np.testing.assert_allclose(found.of_classes[:6], of_class)
    assert found.of_classes[6] is None
    assert found.balanced_accuracy == pytest.approx(np.mean(of_class))


def test_of_equal_logits_the_first_is_the_answer():
    """A head that says the same of every class is right as often as its one answer."""
    logits = np.zeros((6, 3), np.float32)
    logits[3:, 2] = -1.0
    labels = np.array([0, 1, 2, 0, 1, 2], np.int32)
    found = accuracy(logits, labels)
    assert found.top1 == pytest.approx(np.mean(logits.argmax(axis=1) == labels)) == 2 / 6
    assert found.of_classes == (1.0, 0.0, 0.0)


def test_a_stop_and_a_class_without_examples():
    values, labels = examples(3)
    with pytest.raises(Interrupted):
        choose_penalty(values, labels, held_out=(values, labels), num_classes=3, stop=lambda: True)
    with pytest.raises(ValueError, match="no example"):
        fit_head(values, labels, penalty=1.0, num_classes=4)

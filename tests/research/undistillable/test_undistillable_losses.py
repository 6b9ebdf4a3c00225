"""The losses of nasty teachers and skeptical students: closed forms, gradients, limits, PyTorch."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from std_keras import losses
from std_keras.errors import InputError
from std_keras.research.undistillable import losses as undistillable


def log_softmax(x):
    x = np.asarray(x, np.float64)
    x = x - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def divergence(first, second):
    p = log_softmax(first)
    return (np.exp(p) * (p - log_softmax(second))).sum(-1)


@pytest.fixture
def logits():
    """Four sets of logits (6, 5)."""
    return np.random.default_rng(5).normal(0.0, 2.0, (4, 6, 5)).astype(np.float32)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_the_divergence_is_numpy_and_has_the_teacher_first(logits, temperature):
    teacher, adversary = logits[:2]
    found = undistillable.self_undermining(teacher, adversary, temperature=temperature)
    expected = temperature**2 * divergence(teacher / temperature, adversary / temperature)
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    swapped = temperature**2 * divergence(adversary / temperature, teacher / temperature)
    assert np.abs(found - swapped).max() > 0.1


def test_the_divergence_of_equals_is_nothing(logits):
    found = undistillable.self_undermining(logits[0], logits[0] + 3.0, temperature=2.0)
    np.testing.assert_allclose(found, 0.0, atol=1e-5)


def test_the_divergence_at_a_high_temperature_is_the_mean_square(logits):
    """Half the mean square of the centred difference, which is the limit."""
    difference = (logits[0] - logits[1]).astype(np.float64)
    centred = difference - difference.mean(-1, keepdims=True)
    found = undistillable.self_undermining(logits[0], logits[1], temperature=100.0)
    np.testing.assert_allclose(found, 0.5 * (centred**2).mean(-1), rtol=0.05)


def test_the_gradient_reaches_the_teacher_alone(logits):
    teacher, adversary, temperature = tf.constant(logits[0]), tf.constant(logits[1]), 3.0
    with tf.GradientTape() as tape:
        tape.watch([teacher, adversary])
        found = undistillable.self_undermining(teacher, adversary, temperature=temperature)
    gradient, none = tape.gradient(found, [teacher, adversary])
    assert none is None
    log_p, log_q = log_softmax(logits[0] / temperature), log_softmax(logits[1] / temperature)
    kl = (np.exp(log_p) * (log_p - log_q)).sum(-1, keepdims=True)
    expected = temperature * np.exp(log_p) * (log_p - log_q - kl)
    np.testing.assert_allclose(gradient, expected, rtol=1e-3, atol=1e-5)


def test_the_nasty_loss_is_that_of_the_published_code(logits):
    """PyTorch's KLDivLoss takes its arguments the other way round."""
    torch = pytest.importorskip("torch")
    labels, weight, temperature = np.array([0, 1, 2, 3, 4, 0]), 0.04, 4.0
    teacher = torch.tensor(logits[0], requires_grad=True)
    adversary = torch.tensor(logits[1])
    expected = torch.nn.functional.cross_entropy(teacher, torch.tensor(labels)) - weight * (
        torch.nn.functional.kl_div(
            torch.log_softmax(adversary / temperature, 1),
            torch.softmax(teacher / temperature, 1),
            reduction="batchmean",
        )
        * temperature**2
    )
    expected.backward()
    ours = tf.constant(logits[0])
    with tf.GradientTape() as tape:
        tape.watch(ours)
        away = undistillable.self_undermining(ours, logits[1], temperature=temperature)
        class_loss = losses.cross_entropy(ours, tf.one_hot(labels, 5))
        loss = tf.reduce_mean(undistillable.nasty(class_loss, away, weight=weight))
    assert float(loss) == pytest.approx(expected.item(), rel=1e-5)
    np.testing.assert_allclose(tape.gradient(loss, ours), teacher.grad, rtol=1e-4, atol=1e-6)


def test_the_hybrid_loss_is_that_of_the_published_code(logits):
    torch = pytest.importorskip("torch")
    final, deepest, taught, teacher = logits
    labels, alpha, temperature = np.array([0, 1, 2, 3, 4, 0]), 0.9, 4.0
    inputs = [torch.tensor(x, requires_grad=True) for x in (final, deepest, taught)]

    def kl(student, target):
        return torch.nn.functional.kl_div(
            torch.log_softmax(student / temperature, 1),
            torch.softmax(target / temperature, 1),
            reduction="batchmean",
        )

    def cross_entropy(x):
        return torch.nn.functional.cross_entropy(x, torch.tensor(labels))

    expected = (
        kl(inputs[2], torch.tensor(teacher)) * alpha * temperature**2
        + (1 - alpha) * cross_entropy(inputs[2])
        + 0.3 * kl(inputs[1], inputs[0])
        + 0.7 * cross_entropy(inputs[1])
        + cross_entropy(inputs[0])
    )
    expected.backward()
    ours = [tf.constant(x) for x in (final, deepest, taught)]
    with tf.GradientTape() as tape:
        tape.watch(ours)
        loss, imitation = undistillable.skeptical(
            final=ours[0],
            deepest=ours[1],
            taught=ours[2],
            teaching=losses.soft_distillation(ours[2], teacher, temperature=temperature),
            targets=tf.one_hot(labels, 5),
            alpha=alpha,
            temperature=temperature,
        )
        mean = tf.reduce_mean(loss)
    assert float(mean) == pytest.approx(expected.item(), rel=1e-5)
    np.testing.assert_allclose(
        imitation, divergence(final / temperature, deepest / temperature), rtol=1e-4
    )
    for found, reference in zip(tape.gradient(mean, ours), inputs, strict=True):
        np.testing.assert_allclose(found, reference.grad, rtol=1e-4, atol=1e-6)


def test_bad_arguments(logits):
    with pytest.raises(InputError, match="temperature=0"):
        undistillable.self_undermining(logits[0], logits[1], temperature=0)
    with pytest.raises(ValueError, match="shapes must be equal"):
        undistillable.self_undermining(logits[0], logits[1][:, :1], temperature=1)

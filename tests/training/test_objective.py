"""The assembled loss against NumPy in float64."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from std_keras.teachers.predictions import PredictionFormat, teachers_first
from std_keras.training.objective import Objective

HEADS = (("distillation_0_intermediate", "distillation_0_last"), ("distillation_1_last",))


def log_softmax(x):
    x = np.asarray(x, np.float64)
    x = x - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def softmax(x, axis=-1):
    x = np.asarray(x, np.float64)
    x = np.exp(x - x.max(axis, keepdims=True))
    return x / x.sum(axis, keepdims=True)


def entropy(logits):
    return -(softmax(logits) * log_softmax(logits)).sum(-1)


def labels_of(logits, *, soft=False):
    """Labels from logits (M, B, K)."""
    form = PredictionFormat(num_classes=5, soft=soft)
    return teachers_first(form.encode(tf.constant(logits.transpose(1, 0, 2), tf.float32)))


@pytest.fixture
def example():
    rng = np.random.default_rng(3)
    outputs = {n: rng.normal(size=(6, 5)) for n in ("classification", *HEADS[0], *HEADS[1])}
    outputs["tokens_0_last"] = {"spatial": rng.normal(size=(6, 3))}  # Not a head: not used.
    targets = softmax(rng.normal(size=(6, 5)))
    return outputs, targets, rng.normal(0.0, 2.0, (2, 6, 5))


def reference(outputs, targets, teachers, *, kind, alpha, temperature, confidence, scope):
    figures = {"loss/classification": -(targets * log_softmax(outputs["classification"])).sum(-1)}
    figures["accuracy/classification"] = outputs["classification"].argmax(-1) == targets.argmax(-1)
    sureness = np.stack([-entropy(t) for t in teachers])
    sureness *= {"negative_entropy": 1.0, "entropy": -1.0, "uniform": 0.0}[confidence]
    if scope == "batch":
        sureness = np.repeat(sureness.sum(1, keepdims=True), 6, axis=1)
    weights = softmax(sureness, axis=0)
    together = 0.0
    for index, names in enumerate(HEADS):
        losses = []
        for name in names:
            log_q = log_softmax(outputs[name] / temperature)
            if kind == "hard":
                losses.append(-log_softmax(outputs[name])[range(6), teachers[index].argmax(-1)])
            else:
                p = softmax(teachers[index] / temperature)
                losses.append(temperature**2 * (p * (np.log(p) - log_q)).sum(-1))
            agrees = outputs[name].argmax(-1) == teachers[index].argmax(-1)
            figures[f"agreement/{name}"] = agrees
        figures[f"loss/distillation_{index}"] = np.mean(losses, axis=0)
        figures[f"teacher_{index}/weight"] = weights[index]
        figures[f"teacher_{index}/entropy"] = entropy(teachers[index])
        figures[f"teacher_{index}/accuracy"] = teachers[index].argmax(-1) == targets.argmax(-1)
        together = together + weights[index] * figures[f"loss/distillation_{index}"]
    figures["loss/distillation"] = together
    figures["loss/total"] = (1 - alpha) * figures["loss/classification"] + alpha * together
    return figures


@pytest.mark.parametrize("kind", ["hard", "soft"])
@pytest.mark.parametrize("confidence", ["negative_entropy", "entropy", "uniform"])
@pytest.mark.parametrize("scope", ["example", "batch"])
def test_all_figures_are_numpy(example, kind, confidence, scope):
    outputs, targets, teachers = example
    options = {"kind": kind, "alpha": 0.3, "temperature": 2.0, "confidence": confidence}
    objective = Objective(teacher_heads=HEADS, confidence_scope=scope, **options)
    labels = labels_of(teachers, soft=kind == "soft")
    tensors = {n: tf.constant(v, tf.float32) for n, v in outputs.items() if n != "tokens_0_last"}
    loss, figures = objective.compute(
        tensors,
        tf.constant(targets, tf.float32),
        teachers=labels,
        weights=objective.teacher_weights(labels),
    )
    expected = reference(outputs, targets, teachers, scope=scope, **options)
    assert tuple(figures) == objective.metric_names()
    assert set(figures) == set(expected)
    for name, value in figures.items():
        assert value.shape == (6,), name
        np.testing.assert_allclose(value, expected[name], rtol=1e-4, atol=1e-5, err_msg=name)
    np.testing.assert_allclose(loss, expected["loss/total"], rtol=1e-4)


def test_without_teachers_the_loss_is_the_cross_entropy_whatever_alpha(example):
    outputs, targets, _ = example
    objective = Objective(alpha=0.9)
    loss, figures = objective.compute(
        {"classification": tf.constant(outputs["classification"], tf.float32)},
        tf.constant(targets, tf.float32),
    )
    assert tuple(figures) == objective.metric_names()
    assert set(figures) == {"loss/total", "loss/classification", "accuracy/classification"}
    expected = -(targets * log_softmax(outputs["classification"])).sum(-1)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_batch_weights_use_the_sum_over_replicas(example):
    """Each of two replicas has half of the batch; `batch_reduce` brings in the other half."""
    _, _, teachers = example
    objective = Objective(teacher_heads=HEADS, confidence_scope="batch")
    whole = objective.teacher_weights(labels_of(teachers))
    other = -np.stack([entropy(t)[3:].sum() for t in teachers])
    half = objective.teacher_weights(
        labels_of(teachers[:, :3]),
        batch_reduce=lambda sums: sums + tf.constant(other, tf.float32),
    )
    np.testing.assert_allclose(half, whole[:, :3], rtol=1e-5)

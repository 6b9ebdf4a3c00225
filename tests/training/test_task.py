"""The assembled loss against NumPy in float64."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from std_keras.teachers.predictions import (
    CLASS,
    CONFIDENCE,
    LOGITS,
    PredictionFormat,
    TeacherPredictions,
)
from std_keras.training.task import TEACHER_WEIGHTS, BatchShare, DistillationTask
from tests.training.tiny import teacher

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


def predictions_of(logits, *, soft=False):
    """Predictions from logits (M, B, K)."""
    form = PredictionFormat(num_classes=5, soft=soft)
    return TeacherPredictions.of(form.encode(tf.constant(logits.transpose(1, 0, 2), tf.float32)))


def teacher_weights(task, teachers, **options):
    """What `prepared` gives for logits (M, B, K)."""
    form = PredictionFormat(num_classes=5, soft=False)
    predictions = form.encode(tf.constant(teachers.transpose(1, 0, 2), tf.float32))
    task = dataclasses.replace(task, prediction_format=form)
    return task.prepared(tf.zeros(6), tf.zeros(6), predictions, **options)[TEACHER_WEIGHTS]


@pytest.fixture
def example():
    rng = np.random.default_rng(3)
    outputs = {n: rng.normal(size=(6, 5)) for n in ("classification", *HEADS[0], *HEADS[1])}
    outputs["tokens_0_last"] = {"spatial": rng.normal(size=(6, 3))}  # Not a head: not used.
    targets = softmax(rng.normal(size=(6, 5)))
    return outputs, targets, rng.normal(0.0, 2.0, (2, 6, 5))


def reference(outputs, targets, teachers, *, kind, alpha, temperature, confidence, scope):
    metrics = {"loss/classification": -(targets * log_softmax(outputs["classification"])).sum(-1)}
    metrics["accuracy/classification"] = outputs["classification"].argmax(-1) == targets.argmax(-1)
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
            metrics[f"agreement/{name}"] = agrees
        metrics[f"loss/distillation_{index}"] = np.mean(losses, axis=0)
        metrics[f"teacher_{index}/weight"] = weights[index]
        metrics[f"teacher_{index}/entropy"] = entropy(teachers[index])
        metrics[f"teacher_{index}/accuracy"] = teachers[index].argmax(-1) == targets.argmax(-1)
        together = together + weights[index] * metrics[f"loss/distillation_{index}"]
    metrics["loss/distillation"] = together
    metrics["loss/total"] = (1 - alpha) * metrics["loss/classification"] + alpha * together
    return metrics


@pytest.mark.parametrize("kind", ["hard", "soft"])
@pytest.mark.parametrize("confidence", ["negative_entropy", "entropy", "uniform"])
@pytest.mark.parametrize("scope", ["example", "batch"])
def test_all_metrics_are_numpy(example, kind, confidence, scope):
    outputs, targets, teachers = example
    options = {"kind": kind, "alpha": 0.3, "temperature": 2.0, "confidence": confidence}
    task = DistillationTask(teacher_heads=HEADS, confidence_scope=scope, **options)
    tensors = {n: tf.constant(v, tf.float32) for n, v in outputs.items() if n != "tokens_0_last"}
    loss, metrics = task.example_losses(
        tensors,
        tf.constant(targets, tf.float32),
        predictions=predictions_of(teachers, soft=kind == "soft"),
        teacher_weights=teacher_weights(task, teachers),
    )
    expected = reference(outputs, targets, teachers, scope=scope, **options)
    assert tuple(metrics) == task.metric_names()
    assert set(metrics) == set(expected)
    for name, value in metrics.items():
        assert value.shape == (6,), name
        np.testing.assert_allclose(value, expected[name], rtol=1e-4, atol=1e-5, err_msg=name)
    np.testing.assert_allclose(loss, expected["loss/total"], rtol=1e-4)


def test_without_teachers_the_loss_is_the_cross_entropy_whatever_alpha(example):
    outputs, targets, _ = example
    task = DistillationTask(alpha=0.9)
    loss, metrics = task.example_losses(
        {"classification": tf.constant(outputs["classification"], tf.float32)},
        tf.constant(targets, tf.float32),
    )
    assert tuple(metrics) == task.metric_names()
    assert set(metrics) == {"loss/total", "loss/classification", "accuracy/classification"}
    expected = -(targets * log_softmax(outputs["classification"])).sum(-1)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_class_weights_multiply_the_losses_of_labels_and_teachers(example):
    outputs, targets, teachers = example
    labels, smoothing = targets.argmax(-1), 0.1
    classes = targets.shape[-1]
    smoothed = (1 - smoothing) * np.eye(classes)[labels] + smoothing / classes
    weights = np.random.default_rng(3).uniform(0.1, 5.0, classes)
    tensors = {n: tf.constant(v, tf.float32) for n, v in outputs.items() if n != "tokens_0_last"}
    options = {"teacher_heads": HEADS, "kind": "soft", "temperature": 2.0}
    plain = DistillationTask(**options)
    task = DistillationTask(
        **options, class_weights=tuple(weights.tolist()), label_smoothing=smoothing
    )
    predictions = predictions_of(teachers, soft=True)
    batch = {
        "targets": tf.constant(smoothed, tf.float32),
        CLASS: predictions.classes,
        CONFIDENCE: predictions.negative_entropies,
        LOGITS: predictions.logits,
        TEACHER_WEIGHTS: teacher_weights(task, teachers),
    }
    losses, metrics = plain.example_losses(
        tensors,
        batch["targets"],
        predictions=predictions,
        teacher_weights=batch[TEACHER_WEIGHTS],
    )
    found = task.loss(tensors, batch, share=BatchShare(batch_size=6))
    own = weights[labels]
    np.testing.assert_allclose(found.loss, np.mean(own * losses), rtol=1e-5)
    for name, value in zip(task.metric_names(), found.metrics.numpy(), strict=True):
        factor = own if name.startswith("loss/") else 1.0
        np.testing.assert_allclose(value, np.mean(factor * metrics[name]), rtol=1e-4, err_msg=name)


def test_batch_weights_use_the_sum_over_replicas(example):
    """Each of two replicas has half of the batch; the all-reduce brings in the other half."""
    _, _, teachers = example
    task = DistillationTask(teacher_heads=HEADS, confidence_scope="batch")
    whole = teacher_weights(task, teachers)
    other = -np.stack([entropy(t)[3:].sum() for t in teachers])
    half = teacher_weights(
        task,
        teachers[:, :3],
        sum_over_replicas=lambda sums: sums + tf.constant(other, tf.float32),
    )
    assert whole.shape == (6, 2)
    np.testing.assert_allclose(half, whole[:3], rtol=1e-5)


def test_the_shares_of_a_batch_add_up_to_its_loss(example):
    """In two parts: the mean over examples, and of the metrics the same."""
    outputs, targets, _ = example
    task = DistillationTask()
    batch = {"targets": tf.constant(targets, tf.float32)}
    tensors = {"classification": tf.constant(outputs["classification"], tf.float32)}
    examples, metrics = task.example_losses(tensors, batch["targets"])
    shares = [
        task.loss(
            {n: v[rows] for n, v in tensors.items()},
            {n: v[rows] for n, v in batch.items()},
            share=BatchShare(batch_size=6, parts=2),
        )
        for rows in (slice(0, 4), slice(4, 6))
    ]
    np.testing.assert_allclose(sum(s.loss for s in shares), np.mean(examples), rtol=1e-6)
    means = [np.mean(metrics[name]) for name in task.metric_names()]
    np.testing.assert_allclose(sum(s.metrics for s in shares), means, rtol=1e-6)


def test_predictions_of_a_batch_are_taken_before_teachers_predict():
    def broken(images):
        raise AssertionError("no teacher may predict")

    form = PredictionFormat(num_classes=10, soft=False)
    encoded = form.encode(tf.random.stateless_normal((4, 1, 10), (0, 0)))
    task = DistillationTask(
        teacher_heads=(("classification",),), teachers=[teacher(broken)], prediction_format=form
    )
    found = task.predictions({"images": tf.zeros((4, 8, 8, 1)), **encoded})
    assert found.keys() == encoded.keys()
    with pytest.raises(AssertionError, match="no teacher"):
        task.predictions({"images": tf.zeros((4, 8, 8, 1))})

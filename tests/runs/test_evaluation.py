"""The evaluator against NumPy."""

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np
import pytest
import tensorflow as tf

from std_keras import models
from std_keras.data.arrays import ArraySource
from std_keras.errors import Interrupted
from std_keras.research.analysis import calibration
from std_keras.runs import evaluation
from std_keras.runs.evaluation import Accuracy, Evaluator
from tests.training.tiny import batch, randomize, student


def source_of(count, classes=10):
    some = batch(count)
    return ArraySource(some["images"], np.random.default_rng(4).integers(0, classes, count))


def reference(heads, source):
    images, labels = source.take()
    figures = {}
    for name, logits in heads(images.astype(np.float32), training=False).items():
        logits = logits.numpy().astype(np.float64)
        order = np.argsort(-logits, axis=1)
        shifted = logits - logits.max(1, keepdims=True)
        log_p = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
        figures[name] = {
            "top1": np.mean(order[:, 0] == labels),
            "top5": np.mean((order[:, :5] == labels[:, None]).any(1)),
            "loss": -np.mean(log_p[np.arange(len(labels)), labels]),
            "balanced_accuracy": np.mean(
                [np.mean(order[labels == c, 0] == c) for c in np.unique(labels)]
            ),
            "calibration_error": calibration.reliability(np.exp(log_p), labels).expected_error,
        }
    return figures


@pytest.fixture(scope="module")
def heads():
    return models.heads_model(randomize(student(["last", "last"], depth=1), deviation=0.5))


def evaluator_of(heads, source, batch_size):
    strategy = tf.distribute.get_strategy()
    return Evaluator(heads, source=source, batch_size=batch_size, strategy=strategy)


@pytest.mark.parametrize(
    ("count", "batch_size"), [(23, 8), (24, 8), (5, 8), (23, 1)], ids=lambda v: str(v)
)
def test_all_heads_are_numpy_with_and_without_padding(heads, count, batch_size):
    source = source_of(count)
    expected = reference(heads, source)
    evaluator = evaluator_of(heads, source, batch_size)
    figures = evaluator.run()
    assert list(figures) == [
        "classification",
        "distillation_0_last",
        "distillation_1_last",
        "average",
        "confidence",
        "distillation",
    ]
    for name, own in figures.items():
        assert own.as_dict() == pytest.approx(expected[name], rel=1e-4), name
    assert len({own.loss for own in figures.values()}) == 6, "the heads must differ"
    assert evaluator.run(stop=lambda: False) == figures


def test_it_sees_the_weights_of_now():
    model = randomize(student(depth=1), deviation=0.5)
    heads, source = models.heads_model(model), source_of(23)
    evaluator = evaluator_of(heads, source, 8)
    before = evaluator.run()["average"]
    randomize(model, seed=9, deviation=0.5)
    after = evaluator.run()["average"]
    assert after.loss != before.loss
    assert after.as_dict() == pytest.approx(reference(heads, source)["average"], rel=1e-4)


@pytest.mark.parametrize("classes", [2, 4, 5])
def test_top_5_of_few_classes_is_certain(classes):
    model = models.create(
        "mixer_s16", input_shape=(8, 8, 1), num_classes=classes, patch_size=4, width=8, depth=1
    )
    source = source_of(7, classes)
    heads = models.heads_model(randomize(model))
    figures = evaluator_of(heads, source, 4).run()
    assert list(figures) == ["classification"]
    assert figures["classification"].top5 == 1.0
    expected = reference(heads, source)["classification"]
    assert figures["classification"].as_dict() == pytest.approx(expected, rel=1e-4)


def test_stop_ends_it_between_batches(heads):
    asked = iter([False, False, True])
    with pytest.raises(Interrupted):
        evaluator_of(heads, source_of(23), 4).run(stop=lambda: next(asked))
    assert next(asked, "exhausted") == "exhausted"


def test_each_class_has_its_own_accuracy(heads):
    """On unbalanced classes top-1 is the large class's; the mean over classes is not."""
    labels = np.array([3] * 20 + [7] * 2)
    images = batch(22)["images"]
    predicted = heads(images.astype(np.float32), training=False)["average"].numpy().argmax(1)
    own = evaluator_of(heads, ArraySource(images, labels), 8).run()["average"]
    expected = {c: np.mean(predicted[labels == c] == c) for c in (3, 7)}
    per_class = own.per_class([f"c{i}" for i in range(10)])
    assert per_class["c3"] == {"accuracy": pytest.approx(expected[3]), "examples": 20}
    assert per_class["c7"] == {"accuracy": pytest.approx(expected[7]), "examples": 2}
    assert per_class["c0"] == {"accuracy": None, "examples": 0}
    assert own.balanced_accuracy == pytest.approx((expected[3] + expected[7]) / 2)
    assert own.top1 == pytest.approx((20 * expected[3] + 2 * expected[7]) / 22)


def test_confusions_are_counted_as_a_table_of_pairs(heads):
    source = source_of(200, classes=3)
    images, labels = source.take()
    own = evaluator_of(heads, source, 64).run()["average"]
    predicted = heads(images.astype(np.float32), training=False)["average"].numpy().argmax(1)
    wrong = Counter((int(i), int(j)) for i, j in zip(labels, predicted, strict=True) if i != j)
    assert sum(count for *_, count in own.confusions) == sum(n for _, n in wrong.most_common(20))
    for i, j, count in own.confusions:
        assert wrong[i, j] == count
    counts = [count for *_, count in own.confusions]
    assert counts == sorted(counts, reverse=True)
    first = own.confused([f"c{i}" for i in range(10)])[0]
    assert first["label"] == f"c{own.confusions[0][0]}" and first["count"] == counts[0]
    assert first["share"] == counts[0] / np.sum(labels == own.confusions[0][0])


def test_many_classes_have_all_but_the_table_of_pairs(heads, monkeypatch):
    """Its size is the square of their number."""
    source = source_of(23)
    kept = evaluator_of(heads, source, 8).run()
    monkeypatch.setattr(evaluation, "_MOST_CLASSES", 9)
    without = evaluator_of(heads, source, 8).run()
    for name, own in without.items():
        assert own == dataclasses.replace(kept[name], confusions=())


def test_the_weakest_class_is_named():
    figures = Accuracy(0.9, 1.0, 0.2, of_classes=(0.95, None, 0.25), examples=(20, 0, 4))
    assert figures.weakest(["cat", "dog", "elk"]) == "weakest class elk 0.2500"
    assert figures.balanced_accuracy == pytest.approx(0.6)
    confused = dataclasses.replace(figures, confusions=((2, 0, 3), (0, 2, 1)))
    assert confused.weakest(["cat", "dog", "elk"]) == (
        "weakest class elk 0.2500, most often elk taken for cat (3 times, 75% of its images)"
    )

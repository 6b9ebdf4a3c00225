"""Logits of all heads against calling the models; names that tell models apart."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from std_keras import data, models
from std_keras.data.arrays import ArraySource
from std_keras.errors import Interrupted
from std_keras.research.analysis import predictions
from std_keras.teachers import Teacher


@pytest.fixture(scope="module")
def student():
    keras.utils.set_random_seed(0)
    return models.create_student(
        "mixer_s16",
        input_shape=(8, 8, 1),
        num_classes=3,
        patch_size=4,
        width=8,
        depth=2,
        teacher_sites=["last", "intermediate"],
    )


@pytest.fixture(scope="module")
def source():
    rng = np.random.default_rng(0)
    return ArraySource(rng.integers(0, 256, (10, 8, 8, 1), dtype=np.uint8), np.arange(10) % 3)


def test_collects_every_head_of_every_example_once(student, source):
    plain = models.create(
        "mixer_s16", input_shape=(8, 8, 1), num_classes=3, patch_size=4, width=8, depth=1
    )
    classifiers = [
        predictions.of_model(student, name="student"),
        predictions.of_model(plain, name="plain"),
    ]
    # Batches of 4: the last is padded.
    said = predictions.collect(classifiers, data.evaluation_batches(source, batch_size=4))
    images = np.asarray(source.take()[0], np.float32)
    assert said.size == 10
    assert said.labels.tolist() == (np.arange(10) % 3).tolist()
    assert list(said.logits) == [
        "classification",
        "distillation_0_last",
        "distillation_1_intermediate",
        "average",
        "confidence",
        "plain",
    ]
    np.testing.assert_allclose(said.logits["average"], student(images), atol=1e-5)
    np.testing.assert_allclose(said.logits["plain"], plain(images), atol=1e-5)
    assert said.decisions().shape == (6, 10)


def test_a_teacher_that_is_a_student_shows_its_heads_in_its_own_range(student, source):
    teacher = Teacher(
        name="t",
        site="last",
        network=lambda images: student(images, training=False),
        scale=lambda values: values / 255.0,
        image_shape=(8, 8, 1),
        probabilities=False,
        compilable=True,
        label_names=None,
        model=student,
    )
    shown = predictions.of_teacher(teacher, name="other")
    assert shown.label("average") == "other: average"
    said = predictions.collect([shown], data.evaluation_batches(source, batch_size=5))
    images = np.asarray(source.take()[0], np.float32)
    np.testing.assert_allclose(said.logits["other: average"], student(images / 255.0), atol=1e-5)


def test_probabilities_become_logits(source):
    teacher = Teacher(
        name="t",
        site="last",
        network=lambda images: keras.ops.softmax(images[:, 0, :3, 0] / 100.0),
        scale=lambda values: values,
        image_shape=(8, 8, 1),
        probabilities=True,
        compilable=True,
        label_names=None,
    )
    shown = predictions.of_teacher(teacher, name="other")
    said = predictions.collect([shown], data.evaluation_batches(source, batch_size=5))
    images = np.asarray(source.take()[0], np.float64)
    np.testing.assert_allclose(np.exp(said.logits["other"]).sum(axis=1), np.ones(10), rtol=1e-5)
    assert (said.logits["other"].argmax(1) == images[:, 0, :3, 0].argmax(1)).all()


def test_stops_between_batches(student, source):
    batches = data.evaluation_batches(source, batch_size=4)
    with pytest.raises(Interrupted):
        predictions.collect([predictions.of_model(student, name="s")], batches, stop=lambda: True)


def test_short_names():
    assert predictions.short_names(["runs/caf\udce9"]) == [r"caf\udce9"]
    assert predictions.short_names(["runs/a", "runs/b,site=last"]) == ["a", "b"]
    assert predictions.short_names(["x/run", "y/run"]) == ["x/run", "y/run"]
    assert predictions.short_names(["keras:ResNet50", "keras:ResNet50"]) == [
        "ResNet50",
        "ResNet50 (2)",
    ]

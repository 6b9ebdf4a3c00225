"""Nasty teachers, skeptical students and teachers of the class head: objectives and whole runs."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from std_keras import losses, models
from std_keras.config import TrainConfig
from std_keras.errors import InputError
from std_keras.research.undistillable import losses as undistillable
from std_keras.research.undistillable.tasks import NastyTask, SkepticalTask
from std_keras.runs.trained import load_trained
from std_keras.teachers.predictions import PredictionFormat, TeacherPredictions
from std_keras.training import build, train
from std_keras.training.objectives import create_task
from std_keras.training.state import TrainState
from std_keras.training.task import DistillationTask
from tests.training.tiny import config

# TensorFlow warns that data pipelines stay graphs, which is fine.
ALSO_DATA = pytest.mark.filterwarnings("ignore:Even though the .*run_functions_eagerly")
RESNET = {"model": "cifar_resnet20", "depth": 8, "patch_size": None, "width": None}


@pytest.fixture
def batch():
    """Logits of four classifiers and predictions of one teacher, 6 images and 5 classes."""
    rng = np.random.default_rng(2)
    names = ("classification", "auxiliary_0", "auxiliary_1")
    outputs = {n: tf.constant(rng.normal(size=(6, 5)), tf.float32) for n in names}
    teacher = tf.constant(rng.normal(0.0, 2.0, (6, 1, 5)), tf.float32)
    predictions = TeacherPredictions.of(PredictionFormat(num_classes=5, soft=True).encode(teacher))
    return outputs, tf.one_hot([0, 1, 2, 3, 4, 0], 5), predictions


def computed(task, batch):
    outputs, targets, predictions = batch
    count = predictions.classes.shape[1]
    loss, metrics = task.example_losses(
        outputs, targets, predictions=predictions, teacher_weights=tf.fill((6, count), 1.0 / count)
    )
    assert tuple(metrics) == task.metric_names()
    np.testing.assert_array_equal(loss, metrics["loss/total"])
    return metrics


def test_nasty(batch):
    outputs, targets, predictions = batch
    metrics = computed(NastyTask(weight=0.1, temperature=3.0), batch)
    away = undistillable.self_undermining(
        outputs["classification"], predictions.logits[:, 0], temperature=3.0
    )
    class_loss = losses.cross_entropy(outputs["classification"], targets)
    np.testing.assert_allclose(metrics["divergence/adversary"], away)
    np.testing.assert_allclose(metrics["loss/total"], class_loss - 0.1 * away, rtol=1e-5)
    assert metrics["loss/classification"].numpy().min() > 0


@pytest.mark.parametrize("taught", ["auxiliary_0", "auxiliary_1"])
def test_skeptical(batch, taught):
    outputs, targets, predictions = batch
    task = SkepticalTask(
        teacher_heads=((taught,),),
        kind="soft",
        alpha=0.9,
        temperature=4.0,
        taught=taught,
        deepest="auxiliary_1",
    )
    metrics = computed(task, batch)
    teaching = losses.soft_distillation(outputs[taught], predictions.logits[:, 0], temperature=4.0)
    expected, imitation = undistillable.skeptical(
        final=outputs["classification"],
        deepest=outputs["auxiliary_1"],
        taught=outputs[taught],
        teaching=teaching,
        targets=targets,
        alpha=0.9,
        temperature=4.0,
    )
    np.testing.assert_allclose(metrics["loss/total"], expected)
    np.testing.assert_allclose(metrics["loss/self_distillation"], imitation)
    np.testing.assert_allclose(metrics["loss/distillation"], teaching, rtol=1e-6)


def test_the_class_head_of_hinton(batch):
    """(1 - alpha) CE + alpha tau^2 KL on the same logits, with two equal teachers as with one."""
    outputs, targets, predictions = batch
    options = {"kind": "soft", "alpha": 0.7, "temperature": 2.0}
    metrics = computed(DistillationTask(teacher_heads=(("classification",),), **options), batch)
    z = outputs["classification"]
    expected = 0.3 * losses.cross_entropy(z, targets) + 0.7 * losses.soft_distillation(
        z, predictions.logits[:, 0], temperature=2.0
    )
    np.testing.assert_allclose(metrics["loss/total"], expected, rtol=1e-5)
    twice = TeacherPredictions.of(
        PredictionFormat(num_classes=5, soft=True).encode(tf.repeat(predictions.logits, 2, 1))
    )
    both = DistillationTask(teacher_heads=(("classification",),) * 2, **options)
    again = computed(both, (outputs, targets, twice))
    np.testing.assert_allclose(again["loss/total"], expected, rtol=1e-5)
    assert {"agreement/classification_0", "agreement/classification_1"} <= set(again)


def task_of(config, model):
    state = TrainState(model, models.training_model(model), keras.optimizers.SGD())
    form = PredictionFormat(num_classes=10, soft=config.distillation.needs_teacher_logits)
    task = create_task(config.distillation, config.mine, state, prediction_format=form)
    assert task.prediction_format is form
    return task


def test_the_objective_of_a_configuration():
    base = {"teacher": ("x",), "distillation": "soft", "alpha": 0.9, "temperature": 4.0}
    model = models.create_skeptical(
        "cifar_resnet20", input_shape=(8, 8, 1), num_classes=10, depth=8, stage=1
    )
    found = task_of(TrainConfig(objective="skeptical", **base), model)
    assert isinstance(found, SkepticalTask)
    assert (found.taught, found.deepest, found.alpha) == ("auxiliary_0", "auxiliary_1", 0.9)
    nasty = TrainConfig(objective="nasty", teacher=("x",), nasty_weight=0.3, nasty_temperature=7)
    found = task_of(nasty, model)
    assert isinstance(found, NastyTask)
    assert (found.weight, found.temperature, found.kind) == (0.3, 7, "soft")
    found = task_of(TrainConfig(objective="class_head", **base), model)
    assert type(found) is DistillationTask
    assert found.teacher_heads == (("classification",),)
    found = task_of(TrainConfig(teacher=("x",)), model)
    assert (type(found), found.teacher_heads) == (DistillationTask, ())


def test_sites_do_not_apply():
    made = config(objective="nasty", teacher=("x,site=both",))
    with pytest.raises(InputError, match="site=both does not apply"):
        build.build_model(made, build.load_data(made))


def lines(run, split="train"):
    written = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line for line in written if line["split"] == split]


@ALSO_DATA
@pytest.mark.usefixtures("eagerly")
def test_a_nasty_teacher_moves_away_and_is_a_teacher(teacher_run, tmp_path):
    """It starts as the adversary itself; the sign of the weight is what moves it."""
    run = tmp_path / "nasty"
    result = train(
        config(
            objective="nasty",
            teacher=(str(teacher_run),),
            initialize_from=str(teacher_run),
            depth=1,
            nasty_weight=4.0,
            nasty_temperature=4.0,
            learning_rate=0.03,
            log_every_steps=1,
        ),
        model_dir=run,
    ).result
    assert list(result["heads"]) == ["classification"]
    away = [line["divergence/adversary"] for line in lines(run)]
    assert away[0] == pytest.approx(0.0, abs=1e-4)
    assert away[-1] > 0.05
    last = lines(run)[-1]
    assert last["loss/total"] == pytest.approx(
        last["loss/classification"] - 4.0 * last["divergence/adversary"], rel=1e-4
    )
    # Its run directory is a teacher like any other.
    student = config(
        objective="class_head", distillation="soft", teacher=(str(run),), alpha=0.9, epochs=1
    )
    taught = train(student, model_dir=tmp_path / "student").result
    assert list(taught["heads"]) == ["classification"]
    assert "agreement/classification_0" in lines(tmp_path / "student")[-1]


@ALSO_DATA
@pytest.mark.usefixtures("eagerly")
def test_a_skeptical_student_from_start_to_kept_model(teacher_run, tmp_path):
    """With an average of the weights, so that both places must hold auxiliary classifiers."""
    given = config(
        **RESNET,
        objective="skeptical",
        distillation="soft",
        teacher=(str(teacher_run),),
        alpha=0.9,
        temperature=4.0,
        ema_decay=0.5,
        learning_rate=0.01,
        epochs=1,
        validation_fraction=0.1,
    )
    run = tmp_path / "run"
    result = train(given, model_dir=run).result
    plain = models.create("cifar_resnet20", input_shape=(8, 8, 1), num_classes=10, depth=8)
    assert list(result["heads"]) == ["classification"]
    assert result["parameters"] == models.trainable_parameters(plain)
    for name in ("model.keras", "best.keras"):
        kept = keras.models.load_model(run / name)
        assert not models.auxiliary_names(kept)
        assert models.trainable_parameters(kept) == result["parameters"]
    full = keras.models.model_from_json((run / "architecture.json").read_text())
    assert models.auxiliary_names(full) == ("auxiliary_0", "auxiliary_1")
    last = lines(run)[-1]
    assert {"loss/self_distillation", "accuracy/auxiliary_0"} <= set(last)
    assert "agreement/auxiliary_0_0" in last
    # The raw weights are read from the checkpoint of the full model.
    raw = load_trained(run, weights="raw")
    assert not models.auxiliary_names(raw)
    assert models.trainable_parameters(raw) == result["parameters"]

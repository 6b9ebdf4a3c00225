"""Whole runs on a part of the digits: what they leave behind, and what they refuse."""

from __future__ import annotations

import dataclasses
import json
import logging
import os

import keras
import numpy as np
import pytest
import tensorflow as tf

from std_keras import data, models, teachers
from std_keras.config import options, resolve
from std_keras.data.limit import limited
from std_keras.errors import InputError, NonFiniteError
from std_keras.runs.run_directory import RunDirectory
from std_keras.training import assembly, build, feed, stream, train
from std_keras.training.checkpoints import restore_weights
from std_keras.training.ema import WeightAverage
from std_keras.training.evaluators import Evaluators
from std_keras.training.metric_writer import MetricWriter
from std_keras.training.step import Trainer
from tests.training.test_metric_writer import events, scalars
from tests.training.tiny import config, teacher

# TensorFlow warns that data pipelines stay graphs, which is fine.
ALSO_DATA = pytest.mark.filterwarnings("ignore:Even though the .*run_functions_eagerly")

# A finished student


def metrics(path, split):
    lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["split"] == split]


def test_the_run_directory_holds_what_is_promised(student_run):
    assert sorted(p.name for p in student_run.iterdir() if not p.name.startswith(".")) == [
        "architecture.json",
        "checkpoints",
        "config.json",
        "examples.json",
        "labels.txt",
        "metrics.jsonl",
        "model.keras",
        "result.json",
        "teachers.json",
        "tensorboard",
    ]
    assert (student_run / "labels.txt").read_text().split() == list("0123456789")
    assert sorted(p.name for p in (student_run / "checkpoints").glob("*.index")) == [
        "ckpt-3.index",
        "ckpt-6.index",
    ]


def test_config_json_holds_every_resolved_flag(student_run, student_config):
    written = json.loads((student_run / "config.json").read_text())
    assert set(written) == set(options())
    filled = {"image_size": 8, "horizontal_flip": "no", "crop_padding": 1, "warmup_epochs": 0.4}
    filled |= {"mine_learning_rate": 1e-4, "mine_samples": 32, "evaluation_batch_size": 32}
    assert {name: written[name] for name in filled} == filled
    resolved = resolve(student_config, image_size=8, horizontal_flip=False)
    assert written == resolved.flat() | {"teacher": list(student_config.distillation.teachers)}


def test_result_json_is_what_model_keras_does(student_run):
    result = json.loads((student_run / "result.json").read_text())
    model = keras.models.load_model(student_run / "model.keras")
    assert result["parameters"] == sum(np.prod(w.shape) for w in model.trainable_weights)
    assert result["macs"] == models.multiply_accumulates(model)
    assert (result["steps"], result["epochs"]) == (6, 2)
    assert (result["head"], result["weights"]) == ("average", "ema")
    assert result["images_per_second"] == pytest.approx(6 * 32 / result["train_seconds"])
    images, labels = limited(data.load("digits"), test=50).test.take()

    def accuracy(logits):
        order = np.argsort(-logits.numpy(), axis=1)
        return np.mean(order[:, 0] == labels), np.mean((order[:, :5] == labels[:, None]).any(1))

    assert (result["top1"], result["top5"]) == pytest.approx(accuracy(model(images)))
    heads = models.heads_model(model)(images.astype(np.float32))
    assert list(result["heads"]) == list(heads)
    assert len(heads) == 5
    for name, logits in heads.items():
        own = result["heads"][name]
        assert (own["top1"], own["top5"]) == pytest.approx(accuracy(logits)), name


def test_model_keras_holds_the_average_and_the_checkpoint_both(student_run, student_config):
    model = keras.models.load_model(student_run / "model.keras")
    twin = keras.models.model_from_json((student_run / "architecture.json").read_text())
    average = WeightAverage(twin, decay=0.5)
    assert restore_weights(student_run / "checkpoints", model=twin, average=average) == 6
    raw = [w.copy() for w in twin.get_weights()]
    average.copy_to_model()
    differing = 0
    for saved, averaged, own in zip(model.weights, twin.get_weights(), raw, strict=True):
        np.testing.assert_array_equal(saved.numpy(), averaged, err_msg=saved.path)
        differing += not np.array_equal(averaged, own)
    assert differing > 10


STEP_FIGURES = {
    "loss/total",
    "loss/classification",
    "loss/distillation",
    "loss/distillation_0",
    "accuracy/classification",
    "teacher_0/weight",
    "teacher_0/entropy",
    "teacher_0/accuracy",
    "agreement/distillation_0_last",
    "mine/tokens_0_last",
    "norm/gradient",
    "norm/parameters",
    "learning_rate",
    "images_per_second",
    "data_wait",
}


def test_all_figures_are_logged_in_both_places(student_run):
    lines = metrics(student_run, "train")
    assert [line["step"] for line in lines] == [2, 4, 6]
    assert [line["epoch"] for line in lines] == [0.6667, 1.3333, 2.0]
    expected = set()
    for line in lines:
        assert set(line) == STEP_FIGURES | {"step", "epoch", "split"}
        assert all(np.isfinite(line[name]) for name in STEP_FIGURES)
        expected |= {(name, line["step"], np.float32(line[name])) for name in STEP_FIGURES}
    assert scalars(student_run / "tensorboard", "train") == expected
    assert lines[-1]["loss/total"] == pytest.approx(
        0.5 * lines[-1]["loss/classification"] + 0.5 * lines[-1]["loss/distillation"], rel=1e-5
    )


def test_every_head_is_evaluated_raw_and_averaged(student_run):
    heads = ("classification", "distillation_0_last", "average", "confidence", "distillation")
    names = {
        f"{w}/{h}/{m}" for w in ("raw", "ema") for h in heads for m in ("top1", "top5", "loss")
    }
    first, last = metrics(student_run, "eval")
    assert (first["step"], last["step"]) == (3, 6)
    assert names <= set(first)
    assert {f"test/{name}" for name in names} <= set(last)
    result = json.loads((student_run / "result.json").read_text())
    assert last["test/ema/average/top1"] == result["top1"]
    assert last["test/raw/average/top1"] == result["raw_heads"]["average"]["top1"]
    assert last["test/ema/average/loss"] != last["test/raw/average/loss"]


def test_tensorboard_shows_images_config_and_tokens(student_run):
    tags = set(events(student_run / "tensorboard", "train").Tags()["tensors"])
    assert {"augmented", "config", "tokens_0_last/spatial_token"} <= tags


def test_a_finished_run_is_left_as_it_is(student_run, student_config, monkeypatch):
    before = {p: p.stat().st_mtime_ns for p in student_run.rglob("*") if p.name != ".lock"}
    monkeypatch.setattr(Trainer, "call", lambda *a, **k: pytest.fail("it trained"))
    result = train(student_config, model_dir=student_run).result
    assert result == json.loads((student_run / "result.json").read_text())
    assert {p: p.stat().st_mtime_ns for p in student_run.rglob("*") if p.name != ".lock"} == before


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        ({"learning_rate": 0.02}, "learning_rate=0.01, now 0.02"),
        ({"seed": 1}, "seed=0, now 1"),
        ({"epochs": 3}, "epochs=2, now 3"),
        ({"distillation": "soft"}, "distillation=hard, now soft"),
        ({"teacher": ("other", "x")}, "now [other; x]"),
        ({"width": None}, "width=16, now (not given)"),
        ({"ema_decay": 0.0, "seed": 2}, "ema_decay=0.5, now 0.0; seed=0, now 2"),
        ({"mine_schedule": "epoch"}, "mine_schedule=step, now epoch"),
    ],
    ids=str,
)
def test_another_configuration_is_refused_by_name(student_run, student_config, change, shown):
    with pytest.raises(InputError) as info:
        train(student_config.replace(**change), model_dir=student_run)
    message = str(info.value)
    assert f"model_dir={student_run}" in message
    assert shown in message
    assert "batch_size" not in message


def test_a_data_set_whose_classes_have_changed_is_refused(student_run, student_config, monkeypatch):
    load = build.load_data

    def renamed(*args, **options):
        names = (*"012345678", "nine")
        return dataclasses.replace(load(*args, **options), label_names=names)

    monkeypatch.setattr(build, "load_data", renamed)
    with pytest.raises(InputError, match=f"dataset=digits: .*{student_run}/labels.txt"):
        train(student_config, model_dir=student_run)


# Bad input leaves nothing behind that would refuse the corrected command


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"model": "mixer_s17"}, "model=mixer_s17"),
        ({"dataset": "no_such_set"}, "dataset=no_such_set"),
        ({"dataset": "folder:/no/such/folder"}, "/no/such/folder"),
        ({"patch_size": 3}, "patch_size=3"),
        ({"batch_size": 101}, "batch_size=101"),
        ({"shortcut": "identity"}, "shortcut"),
        ({"distillation": "hard", "teacher": ("runs/nowhere",)}, "teacher=runs/nowhere"),
        ({"distillation": "hard", "teacher": ("keras:Nothing",)}, "teacher=keras:Nothing"),
        ({"distillation": "hard", "teacher": ("x,site=middle",)}, "site=middle"),
        ({"distillation": "hard", "teacher": ("x,colour=red",)}, "'colour=red'"),
        ({"strategy": "mirrored"}, "strategy=mirrored"),
        ({"max_train_examples": 100, "validation_fraction": 1e-9}, "validation_fraction=1e-09"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_bad_input_is_named(tmp_path, change, named):
    with pytest.raises(InputError) as info:
        train(config(**change), model_dir=tmp_path / "run")
    assert named in str(info.value)
    assert "\n" not in str(info.value)
    assert not (tmp_path / "run" / "config.json").exists()


def test_mine_samples_beyond_the_training_set_are_named(teacher_run, tmp_path):
    bad = config(
        distillation="hard",
        teacher=(str(teacher_run),),
        mine_weight=0.1,
        mine_schedule="epoch",
        mine_samples=102,
    )
    with pytest.raises(InputError, match=r"mine_samples=102 .* 100 examples"):
        train(bad, model_dir=tmp_path / "run")


def test_a_teacher_of_other_classes_is_named(tmp_path):
    network = models.create(
        "mixer_s16", input_shape=(8, 8, 1), num_classes=7, patch_size=4, width=8, depth=1
    )
    network.save(tmp_path / "seven.keras")
    source = f"{tmp_path}/seven.keras"
    bad = config(distillation="soft", teacher=(f"{source},input=byte",))
    with pytest.raises(InputError, match=f"teacher={source} has 7 classes.* has 10"):
        train(bad, model_dir=tmp_path / "run")


def test_a_run_directory_that_is_a_file_or_in_use(tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(InputError, match=f"model_dir={file}"):
        train(config(), model_dir=file)
    other = RunDirectory(tmp_path / "run")
    other.prepare()
    with pytest.raises(InputError, match=f"model_dir={tmp_path}/run is in use"):
        train(config(), model_dir=tmp_path / "run")
    other.release()


# Figures that are not finite


@ALSO_DATA
def test_a_rate_that_is_too_large_ends_the_run_by_name(eagerly, tmp_path):
    wild = config(
        learning_rate=1e30, optimizer="sgd", warmup_epochs=0.0, epochs=4, log_every_steps=1
    )
    with pytest.raises(NonFiniteError) as info:
        train(wild, model_dir=tmp_path)
    message = str(info.value)
    assert "norm/gradient became non-finite at step 2;" in message
    assert "checkpoint is none" in message
    assert "learning_rate" in message
    assert [line["step"] for line in metrics(tmp_path, "train")] == [1]
    assert not (tmp_path / "model.keras").exists()


@ALSO_DATA
def test_a_teacher_that_returns_nan_is_named_with_the_last_good_checkpoint(
    eagerly, tmp_path, monkeypatch
):
    """The teacher breaks after its first 40 images, so that there is a checkpoint of step 1."""
    seen = tf.Variable(0)

    def network(images):
        value = tf.where(seen > 40, float("nan"), 1.0)
        seen.assign_add(tf.shape(images)[0])
        return tf.fill((tf.shape(images)[0], 10), value)

    monkeypatch.setattr(teachers, "load", lambda *a, **k: teacher(network))
    monkeypatch.setattr("std_keras.teachers.identity.identity", lambda spec: {})
    options = {"checkpoint_every_steps": 1, "max_train_examples": 64, "teacher_check": 0}
    broken = config(distillation="soft", teacher=("keras:x",), **options)
    with pytest.raises(NonFiniteError) as info:
        train(broken, model_dir=tmp_path)
    message = str(info.value)
    assert "loss/distillation_0" in message and "loss/classification" not in message
    assert f"{tmp_path}/checkpoints/ckpt-" in message
    assert "teacher=keras:x returned non-finite values" in message


@ALSO_DATA
def test_information_that_is_not_finite_ends_the_run_before_a_checkpoint(
    eagerly, tmp_path, monkeypatch
):
    def broken_step(state, **_):
        return lambda batch: {"mine/tokens_0_last": float("nan")}

    monkeypatch.setattr(assembly, "create_epoch_step", broken_step)
    monkeypatch.setattr(
        teachers, "load", lambda *a, **k: teacher(lambda i: tf.ones((tf.shape(i)[0], 10)))
    )
    monkeypatch.setattr("std_keras.teachers.identity.identity", lambda spec: {})
    options = {"mine_weight": 0.1, "mine_schedule": "epoch", "max_train_examples": 32}
    with pytest.raises(NonFiniteError, match="mine/tokens_0_last became non-finite at step 1"):
        train(config(distillation="hard", teacher=("keras:x",), **options), model_dir=tmp_path)
    assert not list((tmp_path / "checkpoints").glob("*.index"))


# Validation, baselines, other models


@ALSO_DATA
def test_a_best_model_is_chosen_on_the_held_out_part_alone(eagerly, tmp_path, monkeypatch):
    evaluated = []
    original = Evaluators.run

    def spy(self, part):
        evaluated.append((part, int(self._state.optimizer.iterations)))
        return original(self, part)

    monkeypatch.setattr(Evaluators, "run", spy)
    options = {"validation_fraction": 0.1, "ema_decay": 0.5, "max_train_examples": 64}
    result = train(config(**options, learning_rate=0.01), model_dir=tmp_path).result
    assert evaluated == [("validation", 2), ("validation", 4), ("test", 4)]
    seen = [line for line in metrics(tmp_path, "eval") if "ema/classification/top1" in line]
    scores = [line["ema/classification/top1"] for line in seen]
    assert len(scores) == 2
    assert result["best_validation_top1"] == max(scores)
    held_out = data.load("digits", validation_fraction=0.1, data_seed=0).validation
    images, labels = held_out.take()
    best = keras.models.load_model(tmp_path / "best.keras")
    assert np.mean(best(images).numpy().argmax(-1) == labels) == pytest.approx(max(scores))


@ALSO_DATA
def test_the_best_model_may_be_the_one_that_is_fair_to_small_classes(
    eagerly, tmp_path, monkeypatch
):
    """Of two evaluations the first has the higher top-1, the second the fairer classes."""
    original = Evaluators.run
    scores = iter([(0.9, (1.0, 0.0)), (0.6, (0.6, 0.6))])

    def told(self, part):
        found = original(self, part)
        if part == "test":
            return found
        top1, of_classes = next(scores)
        for heads in found.values():
            heads.update(
                {
                    h: dataclasses.replace(a, top1=top1, of_classes=of_classes)
                    for h, a in heads.items()
                }
            )
        return found

    monkeypatch.setattr(Evaluators, "run", told)
    options = {"validation_fraction": 0.1, "max_train_examples": 64, "learning_rate": 0.01}
    result = train(config(**options, best_by="balanced_accuracy"), model_dir=tmp_path).result
    assert result["best_validation_balanced_accuracy"] == pytest.approx(0.6)
    assert "best_validation_top1" not in result
    best = keras.models.load_model(tmp_path / "best.keras")
    last = keras.models.load_model(tmp_path / "model.keras")
    for one, other in zip(best.weights, last.weights, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())


def test_the_best_needs_a_part_to_be_chosen_on(tmp_path):
    with pytest.raises(InputError, match="best_by=balanced_accuracy .* validation_fraction=0.1"):
        train(config(best_by="balanced_accuracy"), model_dir=tmp_path)


def test_the_training_images_are_not_the_held_out_ones():
    parts = data.load("digits", validation_fraction=0.1, data_seed=0)
    assert parts.train.size + parts.validation.size == 1437


@ALSO_DATA
def test_without_distillation_teachers_are_ignored_and_the_log_says_so(eagerly, tmp_path, caplog):
    model_dir = tmp_path / "run"
    plain = config(epochs=1, teacher=("runs/nowhere", "keras:Nothing"))
    with caplog.at_level(logging.INFO, logger="std_keras"):
        result = train(plain, model_dir=model_dir).result
    assert "distillation=none: the 2 teacher(s) named are ignored" in caplog.text
    assert list(result["heads"]) == ["classification"]
    assert result["top1"] == result["heads"]["classification"]["top1"]
    assert (result["head"], result["weights"]) == ("classification", "raw")
    assert "raw_heads" not in result


def test_a_resnet_learns_with_sgd(tmp_path):
    """A teacher's road: BatchNorm, L2, Nesterov momentum. The loss must go down."""
    result = train(
        config(
            model="cifar_resnet20",
            patch_size=None,
            width=None,
            depth=8,
            optimizer="sgd",
            learning_rate=0.05,
            weight_decay=5e-4,
            epochs=6,
            clip_norm=5.0,
            evaluate_every_epochs=6,
            profile_steps=2,
        ),
        model_dir=tmp_path,
    ).result
    lines = metrics(tmp_path, "train")
    assert lines[-1]["loss/total"] < 0.8 * lines[0]["loss/total"]
    assert result["top1"] > 0.15
    # A profile begins after 20 steps, which this run of 18 does not have.
    assert not list(tmp_path.rglob("*.xplane.pb"))


def test_nothing_is_left_open_for_the_next_run_in_this_process(student_run):
    again = RunDirectory(student_run)
    again.prepare()
    again.release()
    assert os.path.exists(student_run / ".lock")


def test_the_first_step_does_not_wait_for_tensorboard(tmp_path, monkeypatch):
    """The pictures are those of the first batch, shown once it was trained on, not made again."""
    order, shown, made = [], [], []
    call, images, stream_of = Trainer.call, MetricWriter.images, stream.training_stream

    def called(self, *arguments, **options):
        order.append("step")
        return call(self, *arguments, **options)

    def show(self, pixels, *, step):
        order.append(f"pictures of {step}")
        shown.append(pixels)
        images(self, pixels, step=step)

    def training_stream(*arguments, **options):
        made.append(options)
        return stream_of(*arguments, **options)

    monkeypatch.setattr(Trainer, "call", called)
    monkeypatch.setattr(MetricWriter, "images", show)
    monkeypatch.setattr(stream, "training_stream", training_stream)
    some = config(epochs=1, warmup_epochs=0)
    train(some, model_dir=tmp_path / "run")
    assert order[:2] == ["step", "pictures of 0"]
    assert order.count("pictures of 0") == 1
    assert len(made) == 1
    some = resolve(some, image_size=8, horizontal_flip=False)
    batch = feed.one_batch(some, build.load_data(some), step=0)
    np.testing.assert_array_equal(shown[0], batch["images"])


@ALSO_DATA
def test_figures_do_not_depend_on_how_steps_are_shared_out_among_calls(eagerly, tmp_path):
    logged = []
    for steps in (1, 7):
        options = config(epochs=2, log_every_steps=3, steps_per_call=steps)
        train(options, model_dir=tmp_path / str(steps))
        clocks = {"images_per_second", "data_wait"}
        lines = [
            {name: value for name, value in line.items() if name not in clocks}
            for line in metrics(tmp_path / str(steps), "train")
        ]
        logged.append(lines)
    assert logged[0] == logged[1]
    assert len(logged[0]) == 2

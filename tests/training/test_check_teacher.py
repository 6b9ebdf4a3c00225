"""The check-up of teachers, by itself and at the start of a run."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest
from sklearn.datasets import load_digits

import std_keras
from std_keras.data import load
from std_keras.errors import InputError
from std_keras.runs.run import Run
from std_keras.teachers import checkup
from std_keras.training import train
from std_keras.training.check_teacher import check_teacher, samples
from tests import processes
from tests.runtimes.networks import write_linear
from tests.training.tiny import config


def test_figures_are_those_of_an_evaluation(teacher_run):
    (found,) = check_teacher(config(teacher=(str(teacher_run),)), examples=0)
    assert found.top1 == pytest.approx(Run(teacher_run).result["top1"])
    assert (found.held_out, found.examples, found.train_examples) == ("test", 50, 100)
    on_train = std_keras.evaluate(teacher_run, split="train")
    assert found.train_agreement == pytest.approx(on_train.top1)


def test_the_held_out_part_of_train_is_used_if_there_is_one(teacher_run):
    own = config(teacher=(str(teacher_run),), validation_fraction=0.2)
    (found,) = check_teacher(own, examples=10)
    assert (found.held_out, found.examples) == ("validation", 10)


def test_a_range_that_is_not_given_is_looked_for(tmp_path, teacher_run):
    file = write_linear(tmp_path / "t.onnx")
    first, second = check_teacher(config(teacher=(str(file), str(teacher_run))), examples=20)
    assert set(first.top1_by_range) == {"byte", "unit", "signed", "imagenet"}
    assert "does not say which pixel range it expects" in first.warnings[0]
    assert second.top1_by_range is None


def turned_teacher(path, places):
    """Least squares on the digits, as a `.keras` file whose outputs are turned by some places."""
    digits = load_digits()
    pixels = digits.data / 16
    weights = np.linalg.lstsq(pixels, np.eye(10)[digits.target], rcond=None)[0]
    inputs = keras.Input((8, 8, 1))
    dense = keras.layers.Dense(10, use_bias=False)
    model = keras.Model(inputs, dense(keras.layers.Flatten()(inputs)))
    dense.set_weights([10 * np.roll(weights, places, axis=1)])
    model.save(path)
    return f"{path},input=unit"


def test_an_order_is_written_and_taken(tmp_path):
    names = tmp_path / "names.txt"
    plain, turned = (turned_teacher(tmp_path / f"{n}.keras", n) for n in (0, 3))
    (right,) = check_teacher(config(teacher=(plain,)), examples=0, labels_output=names)
    assert right.warnings == ()
    assert not names.exists()
    (found,) = check_teacher(config(teacher=(turned,)), examples=0, labels_output=names)
    assert "in another order" in found.warnings[0]
    assert names.read_text().splitlines() == list("7890123456")
    (mended,) = check_teacher(config(teacher=(f"{turned},labels={names}",)), examples=0)
    assert mended.top1 == right.top1 > 0.8
    assert mended.warnings == ()


@pytest.mark.parametrize(("baseline", "warned"), [(0.999, True), ("0.0", False)])
def test_a_baseline(teacher_run, baseline, warned):
    (found,) = check_teacher(config(teacher=(str(teacher_run),)), examples=20, baseline=baseline)
    assert any("without a teacher" in text for text in found.warnings) is warned


def test_a_run_as_baseline(teacher_run):
    (found,) = check_teacher(config(teacher=(str(teacher_run),)), examples=0, baseline=teacher_run)
    assert not any("without a teacher" in text for text in found.warnings)


@pytest.mark.parametrize("baseline", ["1.5", "-0.1", "no/such/run"])
def test_what_is_no_baseline(teacher_run, baseline):
    with pytest.raises(InputError, match=f"baseline={baseline}"):
        check_teacher(config(teacher=(str(teacher_run),)), baseline=baseline)


def test_a_place_that_cannot_be_written_is_refused_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr("std_keras.training.build.load_data", None)
    (tmp_path / "afile").write_text("")
    for place, why in (("afile/x", "afile is a file"), (".", "is a folder")):
        with pytest.raises(InputError, match=f"labels_output={tmp_path / place} .*{why}"):
            check_teacher(config(teacher=("x",)), labels_output=tmp_path / place)
    with pytest.raises(TypeError):  # A new folder would be made.
        check_teacher(config(teacher=("x",)), labels_output=tmp_path / "new/folder/x")


def test_no_teacher():
    with pytest.raises(InputError, match="`teacher` is missing"):
        check_teacher(config())


def test_a_run_begins_with_it_and_goes_on_without(teacher_run, tmp_path, caplog):
    caplog.set_level("INFO", logger="std_keras")
    own = config(
        depth=1, tokens="spatial", distillation="hard", teacher=(str(teacher_run),), teacher_check=9
    )
    with pytest.raises(std_keras.errors.Interrupted, match="a checkpoint is saved"):
        train(own, model_dir=tmp_path / "run", stop=lambda: "held-out" in caplog.text)
    assert "on 9 held-out images (test)" in caplog.text
    assert caplog.text.index("on 9 training images\n") > 0  # Nothing of speed and memory.
    caplog.clear()
    with pytest.raises(std_keras.errors.Interrupted):
        train(own.replace(teacher_check=0), model_dir=tmp_path / "other", stop=lambda: True)
    assert "held-out images" not in caplog.text


def test_a_run_is_stopped_between_the_batches_of_it(teacher_run, tmp_path, caplog, monkeypatch):
    caplog.set_level("INFO", logger="std_keras")
    tried, batch = [], checkup._batch
    monkeypatch.setattr(checkup, "_batch", lambda images: batch(tried.append(1) or images))
    own = config(
        depth=1,
        tokens="spatial",
        distillation="hard",
        teacher=(str(teacher_run),),
        teacher_check=99,
    )
    with pytest.raises(
        std_keras.errors.Interrupted, match="while a teacher was tried; run the same"
    ):
        train(own, model_dir=tmp_path / "run", stop=lambda: len(tried) >= 3)
    assert len(tried) == 3
    assert "held-out images" not in caplog.text
    assert not (tmp_path / "run" / "config.json").exists()


def test_reading_the_images_for_it_is_stopped_between_batches():
    dataset, asked = load("digits"), []
    with pytest.raises(std_keras.errors.Interrupted, match="reading test images for the teachers"):
        samples(dataset, 300, view_sizes=(), stop=lambda: asked.append(1) or len(asked) > 2)
    assert len(asked) == 3


def test_the_command(teacher_run):
    ended = processes.run(
        *("-m", "std_keras", "check-teacher"),
        f"--teacher={teacher_run}",
        "--dataset=digits",
        "--examples=30",
        "--baseline=0.99",
    )
    assert ended.returncode == 0, ended.stderr
    (found,) = json.loads(ended.stdout)
    assert found["examples"] == 30
    assert "warning: teacher" in ended.stderr
    missing = processes.run("-m", "std_keras", "check-teacher", "--dataset=digits")
    assert missing.returncode == 2
    assert "--teacher is missing" in missing.stderr

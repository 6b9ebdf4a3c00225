from __future__ import annotations

import dataclasses
import gc
import shutil

import numpy as np
import pytest

from std_keras import models, progress
from std_keras.config import TrainConfig
from std_keras.data import load
from std_keras.errors import InputError, Interrupted
from std_keras.runs.run_directory import RunDirectory
from std_keras.training import start, train
from std_keras.weights.class_names import NUMBERED
from std_keras.weights.initialize import input_normalization
from std_keras.weights.run import write_run
from tests.training.tiny import as_python

MODEL = {"patch_size": 4, "width": 8, "depth": 2}
CONFIG = TrainConfig(
    dataset="digits",
    **MODEL,
    augmentation="none",
    epochs=2,
    batch_size=32,
    max_train_examples=32,
    max_test_examples=16,
    warmup_epochs=0.0,
    learning_rate=1e-9,
    minimum_learning_rate=1e-9,
    weight_decay=0.0,
)


@pytest.fixture(scope="module")
def digits():
    return load("digits")


@pytest.fixture
def source(tmp_path):
    """A finished run with another normalisation than the data set's, and a head that is not 0."""

    def write(**changes):
        options = {"input_shape": (8, 8, 1), "num_classes": 10, "mean": 0.1, "std": 0.2}
        model = models.create("mixer_s16", **{**options, **MODEL, **changes})
        head = model.get_layer("classification").kernel
        head.assign(np.random.default_rng(0).normal(size=head.shape))
        run = RunDirectory(tmp_path / "source")
        write_run(run, model=model, config=CONFIG, label_names=tuple("0123456789"), origin={})
        return model, CONFIG.replace(initialize_from=str(run.path))

    return write


def assert_same_weights(model, other, **tolerance):
    for a, b in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, **tolerance)


def normalization(model):
    mean, std = input_normalization(model.to_json())
    return pytest.approx(mean), pytest.approx(std)


def test_without_the_flag_weights_and_normalisation_are_new(digits, tmp_path):
    model = start.create_model(CONFIG, digits, RunDirectory(tmp_path / "run"))
    assert normalization(model) == (list(digits.mean), list(digits.std))


def test_weights_and_normalisation_come_along(source, digits, tmp_path):
    model, config = source()
    started = start.create_model(config, digits, RunDirectory(tmp_path / "run"))
    assert_same_weights(started, model)
    assert normalization(started) == ([0.1], [0.2])


def test_a_run_that_goes_on_does_not_need_the_source(source, digits, tmp_path):
    model, config = source()
    run = RunDirectory(tmp_path / "run")
    first = start.create_model(config, digits, run)
    run.prepare()
    run.write_start(config, label_names=(), architecture=first.to_json())
    # Interrupted before its first checkpoint, it still has to start from the source.
    assert_same_weights(start.create_model(config, digits, run), model)
    run.checkpoints.mkdir()
    (run.checkpoints / "ckpt-3.index").touch()
    shutil.rmtree(config.optimization.initialize_from)
    assert normalization(start.create_model(config, digits, run)) == ([0.1], [0.2])


def test_heads_of_other_classes_are_new(source, digits, tmp_path):
    """As many, but with other names."""
    model, config = source()
    run = RunDirectory(config.optimization.initialize_from)
    run.labels_file.write_text("a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n")
    started = start.create_model(config, digits, RunDirectory(tmp_path / "run"))
    assert not started.get_layer("classification").kernel.numpy().any()
    np.testing.assert_array_equal(started.get_layer("stem").kernel, model.get_layer("stem").kernel)


@pytest.mark.parametrize(
    ("ours", "labels", "kept"),
    [
        (tuple("abcdefghij"), "names", False),  # Digits, and then fashion.
        (tuple("abcdefghij"), NUMBERED, True),  # Converted, and nobody said of what.
        (tuple("0123456789"), NUMBERED, True),
        (tuple("1023456789"), NUMBERED, False),
        (tuple("0123456789"), "names", True),
    ],
)
def test_heads_of_classes_that_are_numbers(source, digits, tmp_path, ours, labels, kept):
    model, config = source()
    run = RunDirectory(config.optimization.initialize_from)
    run.write_result({**run.read_result(), "origin": {"labels": labels}})
    data = dataclasses.replace(digits, label_names=ours)
    started = start.create_model(config, data, RunDirectory(tmp_path / "run"))
    same = np.array_equal(
        started.get_layer("classification").kernel, model.get_layer("classification").kernel
    )
    assert same == kept


def test_images_of_other_channels(source, digits, tmp_path):
    _, config = source(input_shape=(8, 8, 3))
    with pytest.raises(InputError, match=r"takes images of 3 channel\(s\), dataset=digits has 1"):
        start.create_model(config, digits, RunDirectory(tmp_path / "run"))


@pytest.mark.parametrize("unfinished", [False, True])
def test_only_a_finished_run_will_do(source, digits, tmp_path, unfinished):
    _, config = source()
    folder = RunDirectory(config.optimization.initialize_from)
    (folder.model_file if unfinished else folder.config_file).unlink()
    words = "is not finished" if unfinished else "not a run directory"
    with pytest.raises(InputError, match=f"initialize_from=.*{words}"):
        start.create_model(config, digits, RunDirectory(tmp_path / "run"))


def test_a_training_starts_there_and_goes_on_from_its_checkpoint(source, tmp_path):
    """With hardly any learning rate the weights stay what they were."""
    model, config = source()
    # What the source says need not be said again, neither now nor when it goes on.
    config = config.replace(steps_per_call=1, **dict.fromkeys(("model", *MODEL)))
    calls = iter([False, True])
    with as_python():
        with pytest.raises(Interrupted):
            train(config, model_dir=tmp_path / "run", stop=lambda: next(calls))
        shutil.rmtree(config.optimization.initialize_from)
        train(config, model_dir=tmp_path / "run")
    from std_keras.runs.trained import load_trained

    assert_same_weights(load_trained(tmp_path / "run"), model, atol=1e-6)
    with pytest.raises(InputError, match="initialize_from"):
        train(config.replace(initialize_from=None), model_dir=tmp_path / "run")
    with pytest.raises(InputError, match="width=8, now 16"):
        train(config.replace(width=16), model_dir=tmp_path / "run")


def test_larger_patches_start_a_student_of_larger_images(source, tmp_path, monkeypatch):
    """Twice the size in patches of twice the size; the sets of teachers are new."""
    model, config = source()
    said = []
    monkeypatch.setattr(progress, "say", said.append)
    config = config.replace(
        **dict.fromkeys(MODEL),
        image_size=16,
        distillation="soft",
        teacher=(config.optimization.initialize_from,),
    ).replace(patch_size=8, augmentation="none")
    with as_python():
        run = train(config, model_dir=tmp_path / "run")
    kept = {w.path: w.numpy() for w in run.model().weights}
    for weight in model.weights:
        if weight.path != "stem/kernel":
            np.testing.assert_allclose(kept[weight.path], weight, atol=1e-6)
    lines = [line for line in said if config.optimization.initialize_from in line]
    assert any("width=8" in line and "depth=2" in line for line in lines)
    assert any(
        "stem resampled from 4 to 8 pixels; new: tokens_0_last, distillation_0_last" in line
        for line in lines
    )


@pytest.mark.parametrize("before", [True, False])
def test_no_garbage_is_collected_before_the_first_step(tmp_path, before):
    """Then it is again, unless the caller wants none; `stop` is asked between the calls."""
    asked = []
    if not before:
        gc.disable()
    try:
        with as_python():
            train(
                CONFIG,
                model_dir=tmp_path / "run",
                stop=lambda: asked.append(gc.isenabled()) or False,
            )
        assert gc.isenabled() is before
    finally:
        gc.enable()
    assert asked.count(before) > 0 and asked[-1] is before
    assert asked[0] is False and asked == sorted(asked)


def test_garbage_is_collected_again_after_a_start_that_fails(tmp_path):
    with pytest.raises(InputError):
        train(CONFIG.replace(dataset="folder:nowhere"), model_dir=tmp_path / "run")
    assert gc.isenabled()

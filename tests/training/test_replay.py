"""A step that went wrong is repeated, and what broke is found."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from std_keras.errors import InputError, NonFiniteError
from std_keras.runs.run_directory import RunDirectory
from std_keras.training import train
from std_keras.training.replay import first_broken, replay
from tests.training.tiny import config


@pytest.fixture(scope="module")
def diverged(tmp_path_factory):
    """A run that saved a checkpoint after its first step and broke some steps later."""
    folder = tmp_path_factory.mktemp("diverged")
    options = {"learning_rate": 1e25, "warmup_epochs": 1, "epochs": 40, "optimizer": "sgd"}
    with pytest.raises(NonFiniteError) as caught:
        train(config(**options, checkpoint_every_steps=1, steps_per_call=1), model_dir=folder)
    return folder, str(caught.value)


def test_the_batch_is_kept_and_the_command_named(diverged):
    folder, message = diverged
    kept = list(folder.glob("nonfinite_step_*.npz"))
    assert len(kept) == 1
    assert str(kept[0]) in message
    assert f"std-keras replay --model_dir={folder}" in message
    with np.load(kept[0]) as arrays:
        assert arrays["images"].shape == (32, 8, 8, 1)
        assert arrays["targets"].shape == (32, 10)


def test_it_breaks_again_at_the_same_step_with_the_same_batch(diverged):
    folder, message = diverged
    before = {f: f.stat().st_mtime_ns for f in folder.rglob("*") if f.is_file()}
    report = replay(folder)
    last = max(report["steps"])
    assert f"non-finite at step {last};" in message
    assert report["finite"] is False
    assert report["same_batch"] is True
    assert report["first_broken"]["layer"] or report["first_broken"]["gradients"]
    assert before == {f: f.stat().st_mtime_ns for f in folder.rglob("*") if f.is_file()}


def test_it_repeats_what_mine_does_after_each_epoch(teacher_run, tmp_path):
    options = config(
        distillation="hard",
        teacher=(str(teacher_run),),
        mine_weight=5.0,
        mine_schedule="epoch",
        mine_samples=20,
        log_every_steps=1,
        steps_per_call=1,
        checkpoint_every_steps=1,
        keep_checkpoints=9,
        epochs=3,
    )
    train(options, model_dir=tmp_path)
    for step in range(3, 10):
        for file in tmp_path.glob(f"checkpoints/ckpt-{step}.*"):
            file.unlink()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").open()]
    logged = {line["step"]: line["loss/total"] for line in lines if "loss/total" in line}
    assert sum("mine/tokens_0_last" in line for line in lines) == 3
    steps = replay(tmp_path, step=9)["steps"]
    assert {step: values["loss/total"] for step, values in steps.items()} == {
        step: pytest.approx(logged[step], rel=1e-6) for step in range(3, 10)
    }
    assert not (tmp_path / "checkpoints" / "scratch").exists()


def test_another_batch_is_not_taken_for_the_same(diverged, tmp_path):
    folder, _ = diverged
    file = next(folder.glob("nonfinite_step_*.npz"))
    original = file.read_bytes()
    try:
        with np.load(file) as kept:
            images, targets = kept["images"].copy(), kept["targets"]
        images[3, 0, 0] += 1
        np.savez(file, images=images, targets=targets)
        assert replay(folder)["same_batch"] is False
        file.write_bytes(b"no arrays")
        with pytest.raises(InputError, match="is not a saved batch"):
            replay(folder)
    finally:
        file.write_bytes(original)


def test_a_step_that_cannot_be_replayed_is_named(diverged):
    folder, _ = diverged
    with pytest.raises(InputError, match="step=1000 must be after"):
        replay(folder, step=1000)
    with pytest.raises(InputError, match="dataset=folder:elsewhere: its images are not those"):
        replay(folder, dataset="folder:elsewhere")
    sound = RunDirectory(folder / "sound")
    sound.prepare()
    sound.write_start(config(), label_names=("a",), architecture="{}")
    sound.release()
    with pytest.raises(InputError, match="has no saved batch"):
        replay(sound.path)


@keras.saving.register_keras_serializable(package="tests")
class LogOfTheMean(keras.layers.Layer):
    def call(self, images):
        return ops.log(ops.mean(images, axis=(1, 2)))


def test_layer_examples_and_gradients_are_found():
    """The logarithm of a black image is minus infinity; nothing before it is wrong."""
    inputs = keras.Input((4, 4, 2))
    scaled = keras.layers.Rescaling(0.5, name="scaled")(inputs)
    logs = LogOfTheMean(name="logs")(scaled)
    outputs = keras.layers.Dense(3, name="head")(logs)
    model = keras.Model(inputs, outputs)
    images = np.random.default_rng(0).integers(1, 9, (5, 4, 4, 2)).astype("float32")
    images[3] = 0
    found = first_broken(model, tf.constant(images), tf.one_hot([0, 1, 2, 0, 1], 3))
    assert found["weights"] == []
    assert found["layer"] == "logs"
    assert found["examples"] == [3]
    assert "head/kernel" in found["gradients"]
    assert found["largest"]["scaled"] == pytest.approx(images.max() / 2)
    model.get_layer("head").bias.assign([0.0, np.nan, 0.0])
    found = first_broken(model, tf.constant(images + 1), tf.one_hot([0, 1, 2, 0, 1], 3))
    assert found["weights"] == ["head/bias"]
    assert found["layer"] == "head"
    assert found["examples"] == [0, 1, 2, 3, 4]

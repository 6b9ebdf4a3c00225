"""An interrupted run ends with the bits of one that was not."""

from __future__ import annotations

import json
import subprocess

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from std_keras.errors import InputError, Interrupted, MachineError
from std_keras.training import train
from std_keras.training.checkpoints import Checkpoints, newest_checkpoint
from std_keras.training.step import Trainer
from tests.training.killed import train_and_kill
from tests.training.tiny import as_python


class StopAfter:
    """A stop request that comes after some calls."""

    def __init__(self, calls):
        self.calls = calls

    def __call__(self):
        self.calls -= 1
        return self.calls < 0


def contents(path):
    """Every variable of the newest checkpoint, but for times and counts of saving."""
    reader = tf.train.load_checkpoint(newest_checkpoint(path / "checkpoints"))
    names = [n for n in reader.get_variable_to_shape_map() if n != "_CHECKPOINTABLE_OBJECT_GRAPH"]
    return {n: reader.get_tensor(n) for n in names if not n.startswith(("seconds", "save_counter"))}


def assert_same_end(path, expected):
    own, other = contents(path), contents(expected)
    assert set(own) == set(other)
    for name in own:
        np.testing.assert_array_equal(own[name], other[name], err_msg=name)
    models = [keras.models.load_model(p / "model.keras") for p in (path, expected)]
    for a, b in zip(*(m.get_weights() for m in models), strict=True):
        np.testing.assert_array_equal(a, b)
    results = [json.loads((p / "result.json").read_text()) for p in (path, expected)]
    for key in ("top1", "top5", "heads", "raw_heads", "steps", "parameters"):
        assert results[0].get(key) == results[1].get(key), key


def steps(path, split="train"):
    lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    return [line["step"] for line in lines if line["split"] == split and "loss/total" in line]


def figures(path):
    """The lines of the log of training, but for times."""
    lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    clocks = {"images_per_second", "data_wait"}
    return [{n: v for n, v in x.items() if n not in clocks} for x in lines if x["split"] == "train"]


def event_steps(path, tag="loss/total"):
    accumulator = EventAccumulator(str(path / "tensorboard" / "train"), {"tensors": 0})
    return [event.step for event in accumulator.Reload().Tensors(tag)]


def test_the_checkpoint_holds_everything_that_training_changes(student_run):
    found = contents(student_run)
    parts = {name.partition("/")[0] for name in found}
    assert parts == {
        "weights",
        "optimizer",
        "average",
        "critic_0",
        "critic_optimizer",
        "log_averages",
        "step",
        "best",
    }
    kinds = {str(v.dtype) for n, v in found.items() if n.startswith("weights/")}
    assert len(kinds) == 2, "the state of the random numbers is the one that is not float32"


# Calls end at the step 1, with which a process begins, and at 2, 3, 4 and 6, where figures are
# logged or an epoch ends.


def test_stopped_and_continued(student_config, student_run, tmp_path):
    with pytest.raises(Interrupted) as info:
        train(student_config, model_dir=tmp_path, stop=StopAfter(4))  # Once before the step.
    assert "after step 3 of 6" in str(info.value)
    assert str(tmp_path / "checkpoints") in str(info.value)
    assert newest_checkpoint(tmp_path / "checkpoints") == str(tmp_path / "checkpoints" / "ckpt-3")
    assert not (tmp_path / "model.keras").exists()

    with pytest.raises(InputError, match=r"alpha=0.5, now 0.25"):
        train(student_config.replace(alpha=0.25), model_dir=tmp_path)
    train(student_config, model_dir=tmp_path)
    assert_same_end(tmp_path, student_run)
    assert steps(tmp_path) == steps(student_run)
    # It stopped between two lines of the log, of which the second is the mean of steps 3 and 4.
    for own, other in zip(figures(tmp_path), figures(student_run), strict=True):
        assert own == other


def test_a_start_is_stopped_before_the_step_is_traced(student_config, tmp_path, monkeypatch):
    monkeypatch.setattr(Trainer, "make_ready", lambda *_: pytest.fail("it was traced"))
    with pytest.raises(Interrupted, match="before the first step"):
        train(student_config, model_dir=tmp_path, stop=lambda: True)


def test_a_full_disk_and_continued_with_other_flags_of_place_and_cadence(
    student_config, student_run, tmp_path, monkeypatch
):
    def full(**_):
        raise tf.errors.ResourceExhaustedError(None, None, "No space left on device")

    def save(self, *, step, seconds):
        if step == 6:
            monkeypatch.setattr(self._manager, "save", full)
        original(self, step=step, seconds=seconds)

    original = Checkpoints.save
    monkeypatch.setattr(Checkpoints, "save", save)
    with pytest.raises(MachineError, match=r"step 6 .*ckpt-3"):
        train(student_config, model_dir=tmp_path)
    monkeypatch.undo()
    other = student_config.replace(
        data_dir="elsewhere",
        steps_per_call=1,
        log_every_steps=1,
        evaluate_every_epochs=2,
        checkpoint_every_steps=1,
        keep_checkpoints=1,
        strategy="one_device",
    )
    train(other, model_dir=tmp_path)
    assert_same_end(tmp_path, student_run)
    assert steps(tmp_path) == [2, 4, 5, 6]


def test_stopped_and_continued_with_the_epoch_schedule_and_muon(student_config, tmp_path):
    """In the middle of the second epoch: MINE's samples of that epoch must be the same."""
    epoch = {"mine_schedule": "epoch", "mine_samples": 20}
    config = student_config.replace(**epoch, optimizer="muon", depth=1)
    with as_python():
        train(config, model_dir=tmp_path / "whole")
        with pytest.raises(Interrupted, match="after step 4 of 6"):
            train(config, model_dir=tmp_path / "run", stop=StopAfter(5))
        train(config, model_dir=tmp_path / "run")
    assert_same_end(tmp_path / "run", tmp_path / "whole")
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").open()]
    information = [line["step"] for line in lines if "mine/tokens_0_last" in line]
    assert information == [3, 6]


def test_killed_in_the_middle_and_continued(student_config, student_run, tmp_path):
    """kill -9 loses what came after the last checkpoint, and nothing else."""
    run = tmp_path / "run"
    every_step = student_config.replace(
        checkpoint_every_steps=1, log_every_steps=1, steps_per_call=1
    )
    train_and_kill(every_step, folder=tmp_path / "wanted", run=run, after_step=2)
    reached = int(newest_checkpoint(run / "checkpoints").rpartition("-")[2])
    assert 1 <= reached < 6
    with open(run / "metrics.jsonl", "a") as lines:
        lines.write('{"step": 6, "split": "train", "loss/total": 99.0}\n{"step": 7, "spl')

    train(every_step, model_dir=run)
    assert steps(run) == [1, 2, 3, 4, 5, 6], "no line twice, none from the killed process's future"
    assert event_steps(run) == [1, 2, 3, 4, 5, 6], "TensorBoard draws no zigzag"
    assert_same_end(run, student_run)


def test_killed_between_the_last_checkpoint_and_the_result(student_config, student_run, tmp_path):
    """All steps are done, but model.keras and result.json are missing: they are made."""
    run = tmp_path / "run"
    subprocess.run(["cp", "-r", str(student_run), str(run)], check=True)
    (run / "model.keras").unlink()
    (run / "result.json").unlink()
    train(student_config, model_dir=run)
    assert_same_end(run, student_run)
    assert steps(run) == steps(student_run)
    lines = (run / "metrics.jsonl").read_text().splitlines()
    assert sum("test/" in line for line in lines) == 1, "the last evaluation, once"
    names = ("test/ema/average/top1", "classes/text_summary")
    written = [
        value.tag
        for file in sorted((run / "tensorboard" / "eval").glob("events*"))
        for record in tf.data.TFRecordDataset(str(file)).as_numpy_iterator()
        for value in tf.compat.v1.Event.FromString(record).summary.value
    ]
    assert [written.count(name) for name in names] == [1, 0], set(written)

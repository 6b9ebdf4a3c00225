"""The evaluator of a cluster, beside a run that is already there."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from std_keras.errors import InputError, Interrupted
from std_keras.runs.run_directory import RunDirectory
from std_keras.training import train, watch
from tests.training.tiny import config

EVALUATOR = {"cluster": {"worker": ["h:1"]}, "task": {"type": "evaluator", "index": 0}}


@pytest.fixture
def copied_run(student_run, tmp_path):
    shutil.copytree(student_run, tmp_path / "run")
    return RunDirectory(tmp_path / "run")


def lines_of(run):
    return [json.loads(x) for x in (run.path / "evaluations.jsonl").read_text().splitlines()]


def test_the_last_checkpoint_has_the_accuracies_of_the_result(copied_run, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", json.dumps(EVALUATOR))
    train(config(), model_dir=copied_run.path)  # Of the flags, only where the data is counts.
    (line,) = lines_of(copied_run)
    result = copied_run.read_result()
    assert (line["step"], line["split"]) == (result["steps"], "test")
    for head, figures in result["heads"].items():
        for name, value in figures.items():
            np.testing.assert_allclose(line[f"ema/{head}/{name}"], value, rtol=1e-5)
    assert list(copied_run.tensorboard.glob("evaluator/events*"))
    train(config(), model_dir=copied_run.path)
    assert lines_of(copied_run) == [line], "what was evaluated is not evaluated again"


def test_it_waits_for_a_run_until_it_is_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(watch, "_LOOK_SECONDS", 0.0)
    asked = []

    def stop():
        asked.append(1)
        return len(asked) > 3

    with pytest.raises(Interrupted, match="to have a checkpoint"):
        watch.evaluate_checkpoints(config(), run=RunDirectory(tmp_path / "run"), stop=stop)
    assert not (tmp_path / "run").exists()


def test_it_waits_for_the_next_checkpoint_of_an_unfinished_run(copied_run, monkeypatch):
    monkeypatch.setattr(watch, "_LOOK_SECONDS", 0.0)
    result = copied_run.result_file.read_text()
    copied_run.result_file.unlink()

    def finish():
        """The evaluator asks while it waits: once it has evaluated, the run is finished."""
        if (copied_run.path / "evaluations.jsonl").exists():
            copied_run.result_file.write_text(result)
        return False

    watch.evaluate_checkpoints(config(), run=copied_run, stop=finish)
    assert len(lines_of(copied_run)) == 1


def test_checkpoints_that_are_all_damaged_are_refused(copied_run):
    for file in copied_run.checkpoints.glob("*.data-*"):
        file.write_bytes(b"")
    with pytest.raises(InputError, match="no checkpoint"):
        watch.evaluate_checkpoints(config(), run=copied_run, stop=lambda: False)

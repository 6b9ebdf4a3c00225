"""Runs, checkpoints and caches of version 0.1.0 still serve (see the fixture's README)."""

from __future__ import annotations

import json
import shutil

import pytest

from std_keras.runs.run_directory import RunDirectory
from std_keras.training import train
from tests import processes


@pytest.fixture
def runs(root, tmp_path, monkeypatch):
    """A copy; its configurations name the teacher and the cache relative to it."""
    folder = tmp_path / "first_round"
    shutil.copytree(root / "tests" / "fixtures" / "first_round", folder)
    monkeypatch.chdir(folder)
    return folder


def losses(run: RunDirectory) -> dict[int, float]:
    lines = [json.loads(line) for line in run.metrics_file.read_text().splitlines()]
    return {line["step"]: line["loss/total"] for line in lines if line["split"] == "train"}


def test_a_finished_run_evaluates_to_its_result(runs):
    done = processes.run("-m", "std_keras.evaluate", "--model_dir=finished", cwd=runs)
    assert done.returncode == 0, done.stderr
    before, now = RunDirectory("finished").read_result(), json.loads(done.stdout)
    one_image = 1 / 60
    for head, metrics in before["heads"].items():
        # Rounding may move an image that two classes share; it moves no more than one.
        assert now["heads"][head]["top1"] == pytest.approx(metrics["top1"], abs=one_image), head
        assert now["heads"][head]["loss"] == pytest.approx(metrics["loss"], rel=1e-3), head


def test_an_interrupted_run_goes_on_with_its_cache(runs, caplog):
    run, finished = RunDirectory("unfinished"), RunDirectory("finished")
    with caplog.at_level("INFO", logger="std_keras"):
        train(run.read_config(), model_dir="unfinished")
    assert "continuing unfinished after step 4" in caplog.text
    assert "no teacher is loaded" in caplog.text
    uninterrupted = losses(finished)
    assert sorted(uninterrupted) == [1, 2, 3, 4, 5, 6]
    assert losses(run) == pytest.approx(uninterrupted, rel=1e-3)


def test_a_finished_run_has_nothing_to_do(runs, caplog):
    before = (runs / "finished" / "model.keras").read_bytes()
    with caplog.at_level("INFO", logger="std_keras"):
        train(RunDirectory("finished").read_config(), model_dir="finished")
    assert "nothing to do" in caplog.text
    assert (runs / "finished" / "model.keras").read_bytes() == before

"""Runs in folders whose names mean something to TensorFlow, a shell or the flags."""

from __future__ import annotations

import json
import os

import pytest

from std_keras.errors import Interrupted
from std_keras.runs.run import Run
from std_keras.training import train
from tests.training import tiny
from tests.training.test_interruption import StopAfter, steps

# The first has a folder in it; none of their characters means anything to another.
NAMES = ["lr=[1e-3] run/a\\b{x},ü* ", os.fsdecode(b" caf\xe9")]


@pytest.mark.parametrize("name", NAMES)
def test_a_run_is_interrupted_and_continued(tmp_path, name):
    folder = tmp_path / name
    config = tiny.config(keep_checkpoints=1, ema_decay=0.5, depth=1)
    with tiny.as_python():
        with pytest.raises(Interrupted, match="after step 1 of 6"):
            train(config, model_dir=folder, stop=StopAfter(1))
        run = train(config, model_dir=folder)
    assert run.result["steps"] == 6
    assert steps(folder)[-1] == 6
    kept = [f.name for f in (folder / "checkpoints").glob("*.index")]
    assert kept == ["ckpt-6.index"], "those before it are removed"
    assert os.listdir(tmp_path) == [name.partition("/")[0]]
    assert os.listdir(folder.parent) == [folder.name]
    Run(folder).model(weights="raw")


def test_removing_a_checkpoint_touches_no_other_run(tmp_path):
    """`q?` is a pattern for `qa`, too."""
    for name in ("qa", "q?"):
        with tiny.as_python():
            train(tiny.config(keep_checkpoints=2, depth=1), model_dir=tmp_path / name)
    assert len(list((tmp_path / "qa" / "checkpoints").glob("*.index"))) == 2


@pytest.mark.parametrize("name", ["a[1],width=8,site=both"])
def test_a_teacher_with_a_comma_in_its_path(tmp_path, name):
    small = {"epochs": 1, "depth": 1}
    with tiny.as_python():
        train(tiny.config(**small), model_dir=tmp_path / name)
        teacher = f"{tmp_path / name},site=last"
        config = tiny.config(**small, distillation="hard", teacher=(teacher,))
        train(config, model_dir=tmp_path / "student")
    written = json.loads((tmp_path / "student" / "config.json").read_text())
    assert written["teacher"] == [f"{tmp_path / name},site=last"]

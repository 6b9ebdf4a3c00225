"""The program: what it prints, how it is stopped and continued, and its exit codes."""

from __future__ import annotations

import json
import os
import signal
import sys

import pytest

from std_keras import models
from std_keras.programs import program
from std_keras.programs.main import main

# TensorFlow says of every input pipeline that it is not run as Python.
pytestmark = pytest.mark.filterwarnings("ignore:Even though the `tf.config")
FLAGS = ("--dataset=digits", "--batch_size=32", "--max_train_examples=100", "--epochs=2")


@pytest.fixture
def precompute(monkeypatch, capsys):
    """Runs the program in this process; returns exit code, standard output and error."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["std-keras", "precompute", *map(str, arguments)])
        kept = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
        try:
            code = program.run(main)
        finally:
            for number, handler in kept.items():
                signal.signal(number, handler)
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def teacher(tmp_path):
    path = tmp_path / "teacher.keras"
    models.create("cifar_resnet20", depth=8, input_shape=(8, 8, 1), num_classes=10).save(path)
    return f"--teacher={path},input=byte"


def test_fills_stops_at_a_signal_and_continues(precompute, teacher, tmp_path, monkeypatch, eagerly):
    from std_keras.training.cached_predictions import Recorder

    def add(self, *arguments):
        original(self, *arguments)
        os.kill(os.getpid(), signal.SIGTERM)

    given = (*FLAGS, teacher, f"--teacher_cache={tmp_path / 'labels'}", "--distillation=soft")
    original = Recorder.add
    monkeypatch.setattr(Recorder, "add", add)
    code, printed, said = precompute(*given)
    assert (code, printed) == (75, "")
    assert "run the same command to continue" in said
    monkeypatch.setattr(Recorder, "add", original)
    results = []
    for _ in range(2):
        code, printed, said = precompute(*given)
        assert code == 0, said
        results.append(json.loads(printed))
    assert [r["computed"] for r in results] == [192, 0]
    # 6 bytes, the logits of 10 classes in float16, and two headers of 32 bytes in 32 views.
    assert results[0]["bytes_per_view"] == 6 + 20 + 2
    files = list((tmp_path / "labels").rglob("chunk_*"))
    assert sum(file.stat().st_size for file in files) == 192 * 28


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((), "--teacher_cache is missing"),
        (("--teacher_cache=labels",), "--distillation=none uses no teacher"),
        (("--teacher_cache=labels", "--distillation=hard", "--batch_size=101"), "--batch_size=101"),
        (("--teacher_cache=labels", "--teacher=", "--distillation=hard"), "--teacher"),
    ],
)
def test_bad_input_is_one_line(precompute, teacher, flags, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, printed, said = precompute(*FLAGS, teacher, *flags)
    assert (code, printed) == (2, "")
    assert message in said
    assert not (tmp_path / "labels").exists()

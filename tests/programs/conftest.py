"""Commands inside of this process, and finished runs of seconds for those that look into runs."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tensorflow as tf

from std_keras.config import TrainConfig
from std_keras.programs import program
from std_keras.programs.main import main
from std_keras.training import train


def _config(**changes) -> TrainConfig:
    small = {
        "model": "mixer_s16",
        "patch_size": 4,
        "width": 16,
        "depth": 2,
        "batch_size": 48,
        "max_train_examples": 96,
        "max_test_examples": 60,
        "epochs": 1,
        "learning_rate": 0.01,
        "log_every_steps": 1,
    }
    return TrainConfig(**{**small, **changes})


@contextlib.contextmanager
def eager_functions() -> Iterator[None]:
    """Runs tf.functions as Python: tracing costs more than these few batches."""
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(False)


@pytest.fixture
def eagerly() -> Iterator[None]:
    """See `eager_functions`."""
    with eager_functions():
        yield


@pytest.fixture
def run_command(monkeypatch, capsys) -> Callable[..., tuple[int, str, str]]:
    """Runs `std-keras ARGUMENTS` in this process; returns exit code, standard output and error."""
    monkeypatch.setattr(program.StopRequest, "install", lambda self: None)

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["std-keras", *map(str, arguments)])
        code = program.run(main)
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


@pytest.fixture(scope="session")
def digits_runs(tmp_path_factory) -> dict[str, Path]:
    """A teacher, a student without one, and a student with two token sets. Tests only read them."""
    folder = tmp_path_factory.mktemp("runs")
    runs = {name: folder / name for name in ("teacher", "baseline", "student")}
    student = _config(
        epochs=2,
        distillation="hard",
        teacher=(f"{runs['teacher']},site=both",),
        mine_weight=0.01,
        ema_decay=0.5,
    )
    with eager_functions():
        train(_config(seed=5), model_dir=runs["teacher"])
        train(_config(width=8), model_dir=runs["baseline"])
        train(student, model_dir=runs["student"])
    return runs

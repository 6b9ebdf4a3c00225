from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import tensorflow as tf

from std_keras.config import TrainConfig
from std_keras.training import train
from tests.training.tiny import as_python, config


@pytest.fixture(scope="session", autouse=True)
def plain_graphs() -> Iterator[None]:
    """A graph runs a few times here: optimising it would take longer than running it."""
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    yield
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": False})


@pytest.fixture
def eagerly() -> Iterator[None]:
    """The whole test in `as_python`; one that trains needs its filter of warnings as a mark."""
    with as_python():
        yield


@pytest.fixture(scope="session")
def teacher_run(tmp_path_factory) -> Path:
    """A finished run of one epoch, which can be a teacher."""
    path = tmp_path_factory.mktemp("teacher") / "run"
    train(config(epochs=1, depth=1, seed=5, learning_rate=0.01), model_dir=path)
    return path


@pytest.fixture(scope="session")
def student_config(teacher_run) -> TrainConfig:
    """A student with everything that a checkpoint must hold: 2 epochs of 3 steps."""
    return config(
        depth=2,  # The first block is never left out: only the second draws random numbers.
        distillation="hard",
        teacher=(str(teacher_run),),
        mine_weight=0.1,
        ema_decay=0.5,
        stochastic_depth=0.3,
        label_smoothing=0.1,
        learning_rate=0.01,
    )


@pytest.fixture(scope="session")
def student_run(student_config, tmp_path_factory) -> Path:
    """That student, trained without an interruption. Tests only read it."""
    path = tmp_path_factory.mktemp("student") / "run"
    train(student_config, model_dir=path)
    return path

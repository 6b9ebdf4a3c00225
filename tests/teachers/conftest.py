from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest

from std_keras.config import TrainConfig
from std_keras.runs.run_directory import RunDirectory

DIGITS = tuple("0123456789")


@pytest.fixture
def network() -> Callable[..., keras.Model]:
    """Makes a tiny classifier with random weights."""

    def create(
        shape: tuple[int | None, ...] = (8, 8, 1), classes: int = 10, activation: str | None = None
    ) -> keras.Model:
        keras.utils.set_random_seed(1)
        inputs = keras.Input(shape)
        pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(inputs))
        outputs = keras.layers.Dense(classes, activation=activation)(pooled)
        return keras.Model(inputs, outputs)

    return create


@pytest.fixture
def make_run(tmp_path) -> Callable[..., Path]:
    """Writes a run directory, finished unless there is no model."""

    def create(model: keras.Model | None, labels: tuple[str, ...] = DIGITS) -> Path:
        run = RunDirectory(tmp_path / "run")
        run.prepare()
        run.write_start(TrainConfig(), label_names=labels, architecture="{}")
        if model is not None:
            model.save(run.model_file)
        run.release()
        return run.path

    return create


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (5, 8, 8, 1), dtype=np.uint8)

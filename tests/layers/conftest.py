from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import pytest


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.fixture
def reload(tmp_path) -> Callable[[keras.Model], keras.Model]:
    """Saves a model as .keras and loads it again."""

    def save_and_load(model: keras.Model) -> keras.Model:
        model.save(tmp_path / "model.keras")
        return keras.models.load_model(tmp_path / "model.keras")

    return save_and_load

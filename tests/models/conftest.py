from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import pytest

from std_keras import models


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(11)


@pytest.fixture
def images(rng) -> np.ndarray:
    return rng.integers(0, 256, size=(4, 16, 16, 3), dtype=np.uint8)


@pytest.fixture(scope="session")
def randomize() -> Callable[[keras.Model], keras.Model]:
    """Gives every weight a random value of a sensible size (heads and norms start constant)."""

    def set_weights(model: keras.Model) -> keras.Model:
        rng = np.random.default_rng(13)
        for weight in model.weights:
            if "seed" in weight.path:
                continue
            values = rng.normal(size=weight.shape) / np.sqrt(np.prod(weight.shape[:-1]) + 1.0)
            if "variance" in weight.path:
                values = rng.uniform(0.5, 1.5, size=weight.shape)
            elif "gamma" in weight.path:
                values = 1.0 + 0.3 * values
            weight.assign(values)
        return model

    return set_weights


@pytest.fixture(scope="session")
def small_options() -> dict[str, Any]:
    """A Mixer of four blocks on 16 px: 16 patches (P), 12 channels (N), 5 classes."""
    return {
        "input_shape": (16, 16, 3),
        "num_classes": 5,
        "patch_size": 4,
        "width": 12,
        "depth": 4,
    }


@pytest.fixture(scope="session")
def small_student(small_options, randomize) -> Callable[..., keras.Model]:
    """Builds a small student with random weights."""

    def create(**student_options: Any) -> keras.Model:
        student = models.create_student("mixer_s16", **{**small_options, **student_options})
        return randomize(student)

    return create


@pytest.fixture(scope="session")
def reload(tmp_path_factory) -> Callable[[keras.Model], keras.Model]:
    """Saves a model as .keras and loads it again."""

    def save_and_load(model: keras.Model) -> keras.Model:
        path = tmp_path_factory.mktemp("saved") / "model.keras"
        model.save(path)
        return keras.models.load_model(path)

    return save_and_load


@pytest.fixture
def mixed_bfloat16() -> Iterator[None]:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    yield
    keras.config.set_dtype_policy(before)

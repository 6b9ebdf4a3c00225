from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

from std_keras import models


def _randomized(model: keras.Model) -> keras.Model:
    """Gives every weight a random value of a sensible size (heads and norms start constant)."""
    rng = np.random.default_rng(5)
    for weight in model.weights:
        values = rng.normal(size=weight.shape) / np.sqrt(np.prod(weight.shape[:-1]) + 1.0)
        if "variance" in weight.path:
            values = rng.uniform(0.5, 1.5, size=weight.shape)
        elif "gamma" in weight.path:
            values = 1.0 + 0.3 * values
        elif weight.path.endswith("kernel"):
            values = 2.0 * values
        weight.assign(values)
    return model


@pytest.fixture(scope="session")
def randomized() -> Callable[[keras.Model], keras.Model]:
    """Gives every weight of a model a random value."""
    return _randomized


@pytest.fixture(scope="session")
def create_student() -> Callable[..., keras.Model]:
    """Builds a small student on 8x8 images, 10 classes, with random weights everywhere."""

    def create(**options: Any) -> keras.Model:
        defaults: dict[str, Any] = {
            "input_shape": (8, 8, 1),
            "num_classes": 10,
            "patch_size": 2,
            "width": 32,
            "depth": 2,
            "teacher_sites": ["last"],
        }
        chosen = {**defaults, **options}
        name = chosen.pop("model", "mixer_s16")
        return _randomized(
            models.create_student(name, **{k: v for k, v in chosen.items() if v is not None})
        )

    return create


@pytest.fixture(scope="session")
def student(create_student) -> keras.Model:
    """Two teachers: one reads the first block, one the second."""
    return create_student(teacher_sites=["intermediate", "last"])


@pytest.fixture(scope="session")
def images() -> np.ndarray:
    return np.random.default_rng(6).integers(0, 256, size=(24, 8, 8, 1), dtype=np.uint8)


@pytest.fixture(scope="session")
def resnet() -> keras.Model:
    """A small convolutional model with BatchNorm and strided shortcuts."""
    return _randomized(
        models.create("cifar_resnet20", input_shape=(8, 8, 1), num_classes=10, shortcut="identity")
    )

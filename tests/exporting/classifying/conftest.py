from __future__ import annotations

import numpy as np
import pytest

from std_keras.exporting.classifying import ModelCard


@pytest.fixture(scope="session")
def photograph() -> np.ndarray:
    """(50, 71, 3) uint8: smooth areas, an edge and some noise, as photographs have them."""
    y, x = np.mgrid[0:50, 0:71]
    rng = np.random.default_rng(11)
    planes = [120 + 90 * np.sin(x / 9 + k) + 40 * np.cos(y / (5 + k)) for k in range(3)]
    image = np.stack(planes, axis=-1) + rng.normal(scale=12, size=(50, 71, 3))
    image[10:30, 20:33] = (250, 20, 60)
    return np.clip(image, 0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def card() -> ModelCard:
    labels = ("zero", "one", "große Zwei", "three, four", *(f"class {i}" for i in range(4, 10)))
    return ModelCard(
        name="mixer_s16",
        version="1.2.3",
        labels=labels,
        image_size=16,
        channels=3,
        crop_ratio=0.875,
        head="average",
        dataset="numbers",
        top1=0.75,
        examples=40,
    )

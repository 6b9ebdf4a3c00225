"""How PyTorch's convolutions and linear layers start."""

from __future__ import annotations

import keras


def fan_in_uniform(seed: int | None = None) -> keras.initializers.VarianceScaling:
    """U(-1/sqrt(fan_in), 1/sqrt(fan_in)), PyTorch's default, which many published recipes have.

    Args:
      seed: of the kernel; None for one of Keras' own.
    """
    return keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform", seed=seed)

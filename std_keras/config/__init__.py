"""What one run is: every option with its default, its meaning and its limits."""

from __future__ import annotations

from std_keras.config.train_config import (
    TrainConfig,
    defaults,
    differing_options,
    options,
    resolve,
    with_model_of,
)

__all__ = [
    "TrainConfig",
    "defaults",
    "differing_options",
    "options",
    "resolve",
    "with_model_of",
]

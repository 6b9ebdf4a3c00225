"""What one run is: every option with its default, its meaning and its limits."""

from __future__ import annotations

from std_keras.config.train_config import TrainConfig, differing_flags, options, resolve

__all__ = ["TrainConfig", "differing_flags", "options", "resolve"]

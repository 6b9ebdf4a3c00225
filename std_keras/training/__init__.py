"""Training: the step, the loop round it, and what the loop looks after."""

from __future__ import annotations

from std_keras.training.run import train

__all__ = ["train"]

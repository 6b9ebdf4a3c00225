"""Training: the step, the loop around it, and everything they manage."""

from __future__ import annotations

from std_keras.training.train import train

__all__ = ["train"]

"""Training: the step, the loop around it, and everything they manage."""

from __future__ import annotations

from std_keras import quiet

quiet.ensure_tensorflow()  # Before the import below, which would load it noisily.

from std_keras.training.train import train  # noqa: E402

__all__ = ["train"]

"""A learned token beside the patches."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from std_keras.layers.learned_row import LearnedRow


@keras.saving.register_keras_serializable(package="std_keras")
class AppendToken(LearnedRow):
    """Appends one learned row, the same for every example: (B, P, N) -> (B, P+1, N).

    As DeiT's distillation token (Touvron et al. 2021, arXiv 2012.12877); starts truncated normal
    with a standard deviation of 0.02.
    """

    def call(self, inputs: Any) -> Any:
        return ops.concatenate([inputs, self.row(inputs)], axis=1)

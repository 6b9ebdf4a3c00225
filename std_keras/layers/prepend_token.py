"""A learned token before the patches."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from std_keras.layers.learned_row import LearnedRow


@keras.saving.register_keras_serializable(package="std_keras")
class PrependToken(LearnedRow):
    """Prepends one learned row, the same for every example: (B, P, N) -> (B, 1+P, N).

    The class token of ViT (Dosovitskiy et al. 2021, arXiv 2010.11929) and the distillation token of
    DeiT (Touvron et al. 2021, arXiv 2012.12877), whose sequence is [class, distillation, patches];
    starts truncated normal with a standard deviation of 0.02.
    """

    def call(self, inputs: Any) -> Any:
        return ops.concatenate([self.row(inputs), inputs], axis=1)

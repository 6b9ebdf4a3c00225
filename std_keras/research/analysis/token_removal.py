"""What a head loses without a token: the token is replaced by its mean over the images.

A head is a linear layer on [T_S ‖ T_C], so its logits without what one token says about *this*
image (mean ablation) follow exactly from the tokens and the head's weights.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def head_logits(tokens: Sequence[np.ndarray], kernel: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Logits (n, K) of a head on the concatenated tokens.

    Args:
        tokens: (n, d) each, in the order in which the head reads them.
        kernel: (sum of d, K).
        bias: (K,).
    """
    return np.concatenate(tokens, axis=1).astype(np.float64) @ kernel + bias


def without_token(
    tokens: Sequence[np.ndarray], kernel: np.ndarray, bias: np.ndarray, *, removed: int
) -> np.ndarray:
    """As `head_logits`, with token number `removed` replaced by its mean over the images."""
    kept = list(tokens)
    kept[removed] = np.broadcast_to(kept[removed].mean(axis=0), kept[removed].shape)
    return head_logits(kept, kernel, bias)


def average_without(
    class_logits: np.ndarray, distillation: Sequence[np.ndarray], *, removed: int
) -> np.ndarray:
    """The fused prediction of a student that never had the head number `removed`.

    (class + mean of the remaining distillation heads) / 2; the class head if none remains.
    """
    rest = [head for index, head in enumerate(distillation) if index != removed]
    return class_logits if not rest else (class_logits + np.mean(rest, axis=0)) / 2

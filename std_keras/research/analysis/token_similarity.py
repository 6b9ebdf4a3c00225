"""Do tokens copy what they read, or each other: cosine similarities.

DeiT compares its class and distillation token in this way (Touvron et al. 2021, arXiv 2012.12877,
section 4: 0.06 at the input, 0.93 at the last layer). A spatial token T_S (N channels) is compared
with the P patches, a channel token T_C (P patches) with the N channels, and a token with the token
of its kind in another set. T_S and T_C of one set lie in different spaces and have no cosine; their
dependence is measured by CKA and by mutual information instead.
"""

from __future__ import annotations

import numpy as np


def cosine(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Cosine along the last axis, in float64; 0 where a vector is zero."""
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    norms = np.linalg.norm(first, axis=-1) * np.linalg.norm(second, axis=-1)
    dots = np.sum(first * second, axis=-1)
    return np.divide(dots, norms, out=np.zeros_like(dots), where=norms > 0)


def to_patches(spatial: np.ndarray, features: np.ndarray) -> np.ndarray:
    """Cosines (B, P) of spatial tokens (B, N) with the patches of features (B, P, N)."""
    return cosine(spatial[:, None, :], features)


def to_channels(channel: np.ndarray, features: np.ndarray) -> np.ndarray:
    """Cosines (B, N) of channel tokens (B, P) with the channels of features (B, P, N)."""
    return cosine(channel[:, None, :], np.swapaxes(features, 1, 2))


def summary(cosines: np.ndarray) -> dict[str, float]:
    """Mean and mean magnitude of all cosines, and the mean over examples of the largest.

    Args:
        cosines: (B, ...), signed.
    """
    flat = cosines.reshape(len(cosines), -1)
    return {
        "mean": float(flat.mean()),
        "mean_magnitude": float(np.abs(flat).mean()),
        "mean_of_largest": float(flat.max(axis=1).mean()),
    }

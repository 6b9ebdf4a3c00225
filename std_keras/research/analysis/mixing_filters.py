"""Weights as pictures: token-mixing filters, embedding filters, and norms layer by layer.

Source: Tolstikhin et al. 2021, arXiv 2105.01601, section 3.5 and Figure 5: a hidden unit of a
token-mixing MLP has one weight per patch, which is an image of √P × √P; early layers look globally,
later ones locally and in pairs of opposite phase.
"""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np

# Where the families keep the first matrix that mixes patches, as the end of a weight's path.
_MIXING = ("token_mlp/hidden/kernel", "token_dense/kernel")


def token_mixing_filters(model: keras.Model) -> dict[str, np.ndarray]:
    """Filters (units, √P, √P) by block, largest norm first.

    For Mixers the first layer of the token-mixing MLP, for ResMLP and gMLP the one matrix along the
    patches, one filter per output patch. Empty for models that do not mix patches by a matrix, and
    blocks whose patches do not form a square are left out.
    """
    found = {}
    for layer in model.layers:
        if layer.name.startswith("tokens_"):
            continue  # A token set also holds MLPs along the patches; they are not a block's.
        for weight in layer.weights:
            path = weight.path
            if not path.endswith(_MIXING):
                continue
            kernel = np.asarray(weight.numpy(), np.float32)
            side = math.isqrt(kernel.shape[0])
            if side * side == kernel.shape[0]:
                order = np.argsort(-np.linalg.norm(kernel, axis=0), kind="stable")
                found[layer.name] = kernel[:, order].T.reshape(-1, side, side)
    return found


def embedding_filters(model: keras.Model) -> np.ndarray | None:
    """Filters (units, h, w, C) of the stem's convolution, largest norm first; None without one."""
    for layer in model.layers:
        for weight in layer.weights:
            if layer.name.startswith("stem") and len(weight.shape) == 4:
                kernel = np.asarray(weight.numpy(), np.float32)
                order = np.argsort(-np.sum(kernel**2, axis=(0, 1, 2)), kind="stable")
                return np.transpose(kernel[..., order], (3, 0, 1, 2))
    return None


def as_pictures(filters: np.ndarray) -> np.ndarray:
    """Filters of 3 channels as colours, others as grey: (units, h, w, 3) in 0..1 or (units, h, w).

    Every filter is scaled by its own largest magnitude; 0 is mid-grey. Filters with other numbers
    of channels are shown by the mean over channels, in the signed form.
    """
    if filters.shape[-1] != 3:
        return filters.mean(axis=-1)
    limits = np.abs(filters).max(axis=(1, 2, 3), keepdims=True)
    return 0.5 + 0.5 * filters / np.where(limits > 0, limits, 1.0)


def weight_norms(model: keras.Model) -> list[dict[str, Any]]:
    """Of every trainable weight: name, shape, Frobenius norm, RMS, and largest magnitude."""
    rows: list[dict[str, Any]] = []
    for weight in model.trainable_weights:
        values = np.asarray(weight.numpy(), np.float64)
        rows.append(
            {
                "name": weight.path,
                "shape": list(values.shape),
                "norm": float(np.sqrt(np.sum(values**2))),
                "rms": float(np.sqrt(np.mean(values**2))),
                "largest": float(np.abs(values).max()),
            }
        )
    return rows


def locality(filters: np.ndarray) -> np.ndarray:
    """How local each filter is: the effective share of the patches that it uses, (units,).

    The participation ratio (Σ w²)² / Σ w⁴, divided by P: 1/P for a single patch, 1 for equal
    magnitudes everywhere. A filter of normal random weights has about 1/3.
    """
    squares = filters.reshape(len(filters), -1).astype(np.float64) ** 2
    fourth = np.sum(squares**2, axis=1)
    ratio = np.divide(
        squares.sum(axis=1) ** 2, fourth, out=np.zeros(len(filters)), where=fourth > 0
    )
    return ratio / squares.shape[1]

"""The losses as pure functions of tensors: distillation, and the mutual information (MINE)."""

from __future__ import annotations

from std_keras.losses.class_weights import balanced_class_weights, example_weights
from std_keras.losses.distillation import (
    CONFIDENCES,
    KINDS,
    SCOPES,
    agreement,
    confidence_weights,
    cross_entropy,
    distillation,
    hard_distillation,
    negative_entropy,
    soft_distillation,
    total,
    weights_of_confidences,
)

__all__ = [
    "CONFIDENCES",
    "KINDS",
    "SCOPES",
    "agreement",
    "balanced_class_weights",
    "confidence_weights",
    "cross_entropy",
    "distillation",
    "example_weights",
    "hard_distillation",
    "negative_entropy",
    "soft_distillation",
    "total",
    "weights_of_confidences",
]

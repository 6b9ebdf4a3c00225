"""Weights of classes that differ in size, and of examples by their classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf


def balanced_class_weights(examples: Sequence[int] | np.ndarray) -> np.ndarray:
    """Weights with which every class counts alike: the inverse of its size.

    Their mean over the examples is 1, so the loss keeps its scale (the "balanced" of scikit-learn).

    Args:
        examples: how many each class has, (K,).

    Returns:
        (K,) float32; 0 for a class without examples.
    """
    counts = np.asarray(examples, np.float64)
    there = counts > 0
    weights = np.zeros_like(counts)
    weights[there] = counts.sum() / (there.sum() * counts[there])
    return weights.astype(np.float32)


def example_weights(
    targets: tf.Tensor, class_weights: Sequence[float] | np.ndarray, *, label_smoothing: float = 0.0
) -> tf.Tensor:
    """The weight of each example: that of its class; of a mixed one, the mean in its proportions.

    Args:
        targets: (B, K), label distributions.
        class_weights: (K,).
        label_smoothing: ε of the targets, (1 − ε) · label + ε / K. It is taken out again, or the
            weights of rare classes would leak into all others.

    Returns:
        (B,), of the targets' type.
    """
    weights = tf.constant(np.asarray(class_weights), targets.dtype)
    smoothed = tf.linalg.matvec(targets, weights)
    return (smoothed - label_smoothing * tf.reduce_mean(weights)) / (1.0 - label_smoothing)

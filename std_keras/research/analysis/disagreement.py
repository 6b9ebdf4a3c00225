"""Who decides like whom: the disagreement matrix, accuracy by class, and contested images.

Sources: Touvron et al. 2021 (DeiT), arXiv 2012.12877, Table 4, for the matrix; the Jensen–Shannon
divergence of several distributions, Lin 1991, IEEE Trans. Inf. Theory 37(1), Eq. 5.1.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from std_keras.research.analysis.agreement import softmax


def disagreement_matrix(decisions: np.ndarray) -> np.ndarray:
    """Fraction of images on which two voters decide differently.

    Args:
        decisions: (M, n) classes; the ground truth can be one of the M voters, and its row then
            holds the error rates.

    Returns:
        (M, M), symmetric, zeros on the diagonal.

    Raises:
        ValueError: there are no images.
    """
    if decisions.ndim != 2 or not decisions.shape[1]:
        raise ValueError(f"decisions (M, n) are needed, got {decisions.shape}")
    return np.stack([np.mean(decisions != row, axis=1) for row in decisions])


def class_accuracy(decisions: np.ndarray, labels: np.ndarray, *, num_classes: int) -> np.ndarray:
    """Accuracy of every voter on the images of every class.

    Args:
        decisions: (M, n) classes.
        labels: (n,) true classes.
        num_classes: K.

    Returns:
        (M, K); NaN for a class without images.
    """
    total = np.bincount(labels, minlength=num_classes)
    right = [
        np.bincount(labels, weights=(row == labels).astype(float), minlength=num_classes)
        for row in decisions
    ]
    with np.errstate(invalid="ignore"):
        return np.stack(right) / total


def confusion_matrix(decisions: np.ndarray, labels: np.ndarray, *, num_classes: int) -> np.ndarray:
    """(K, K) counts: row the true class, column the decision."""
    flat = np.bincount(labels * num_classes + decisions, minlength=num_classes**2)
    return flat.reshape(num_classes, num_classes)


def divergence(logits: Sequence[np.ndarray]) -> np.ndarray:
    """How far the predicted distributions of several voters are apart, for each image.

    The Jensen–Shannon divergence with equal weights: the entropy of the mean distribution minus the
    mean entropy. 0 if all agree; log M if all M are certain of different classes.

    Args:
        logits: M arrays (n, K).

    Returns:
        (n,), in nats.
    """
    if len(logits) < 2:
        raise ValueError(f"at least two voters are needed, got {len(logits)}")
    mean = np.zeros(logits[0].shape)
    entropies = np.zeros(len(logits[0]))
    for voter in logits:
        p = softmax(voter)
        mean += p / len(logits)
        entropies += _entropy(p) / len(logits)
    return np.maximum(_entropy(mean) - entropies, 0.0)


def _entropy(probabilities: np.ndarray) -> np.ndarray:
    logs = np.log(np.where(probabilities > 0, probabilities, 1.0))
    return -np.sum(probabilities * logs, axis=-1)

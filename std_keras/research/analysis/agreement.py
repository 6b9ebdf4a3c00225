"""Does a student decide as its teacher does: top-1 agreement and predictive KL.

Source: Stanton et al. 2021, "Does Knowledge Distillation Really Work?", arXiv 2106.05945, Eq. 4
and 5. They call the match with the teacher *fidelity*, and find that it and accuracy part.
"""

from __future__ import annotations

import math

import numpy as np


def top1_agreement(first: np.ndarray, second: np.ndarray) -> float:
    """Fraction of images on which two classifiers have the same top class.

    Args:
        first: (n, K) logits or probabilities.
        second: (n, K).

    Raises:
        ValueError: the shapes differ, or there are no images.
    """
    _check_pair(first, second)
    return float(np.mean(first.argmax(axis=1) == second.argmax(axis=1)))


def accuracy(logits: np.ndarray, labels: np.ndarray) -> float:
    """Fraction of images (n, K) whose top class is their label (n,)."""
    return float(np.mean(logits.argmax(axis=1) == labels))


def predictive_kl(teacher: np.ndarray, student: np.ndarray) -> float:
    """Mean over images of KL(teacher ‖ student) between the predicted distributions, in nats.

    A class to which the teacher gives probability 0 (a logit of −inf) adds nothing.

    Args:
        teacher: (n, K) logits.
        student: (n, K) logits.

    Raises:
        ValueError: the shapes differ, or there are no images.
    """
    _check_pair(teacher, student)
    log_p, log_q = log_softmax(teacher), log_softmax(student)
    p = np.exp(log_p)
    return float(np.mean(np.sum(p * (np.where(p > 0, log_p, 0.0) - log_q), axis=1)))


def standard_error(fraction: float, count: int) -> float:
    """Of a fraction of `count` independent images: √(f (1 − f) / n)."""
    return math.sqrt(max(fraction * (1.0 - fraction), 0.0) / count)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Logarithms of the softmax along the last axis, in float64."""
    logits = np.asarray(logits, np.float64)
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities along the last axis, in float64."""
    return np.exp(log_softmax(logits))


def _check_pair(first: np.ndarray, second: np.ndarray) -> None:
    if first.ndim != 2 or first.shape != second.shape or not len(first):
        raise ValueError(
            f"two arrays (n, K) of one shape are needed, got {first.shape} and {second.shape}"
        )

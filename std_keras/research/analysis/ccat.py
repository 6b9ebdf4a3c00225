"""Confidence-calibrated adversarial training: how sure a model should be near an image.

The farther an adversarial image is from the original, the nearer its target is to the uniform
distribution; at test time what a model is not sure of is rejected.

Source: Stutz et al. 2020, "Confidence-Calibrated Adversarial Training: Generalizing to Unseen
Attacks", ICML, arXiv 1910.06259, and davidstutz's confidence-calibrated-adversarial-training.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf


def share_of_label(difference: tf.Tensor, *, epsilon: float, rho: float) -> tf.Tensor:
    """λ = (1 − min(1, ‖δ‖∞ / ε))^ρ of adversarial differences.

    Args:
        difference: δ, (B, H, W, C).
        epsilon: ε > 0, where nothing of the label remains.
        rho: ρ > 0; the larger, the sooner the label is given up.

    Returns:
        (B,), from 0 to 1.
    """
    largest = tf.reduce_max(tf.abs(difference), axis=(1, 2, 3))
    return (1.0 - tf.minimum(1.0, largest / epsilon)) ** rho


def smoothed_targets(labels: tf.Tensor, share: tf.Tensor, *, num_classes: int) -> tf.Tensor:
    """λ · onehot(y) + (1 − λ) / K.

    Args:
        labels: (B,) classes.
        share: λ, (B,).
        num_classes: K.

    Returns:
        (B, K), each row with sum 1.
    """
    share = share[:, tf.newaxis]
    return share * tf.one_hot(labels, num_classes) + (1.0 - share) / num_classes


def wrong_confidence(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """max over k ≠ y of softmax(logits)_k: what the attack on confidence maximises. (B,)."""
    own = tf.one_hot(labels, logits.shape[-1])
    return tf.reduce_max(tf.nn.softmax(logits) * (1.0 - own), axis=-1)


def acceptance_threshold(
    confidences: np.ndarray, correct: np.ndarray, *, accepted: float = 0.99
) -> float:
    """The largest threshold that at least this part of the right decisions reaches.

    Args:
        confidences: (n,) largest probabilities on clean images.
        correct: (n,) whether the decision is right.
        accepted: the part that must not be rejected.

    Returns:
        The threshold; 0 if no decision is right.
    """
    right = np.sort(np.asarray(confidences)[np.asarray(correct, bool)])
    if not len(right):
        return 0.0
    # The smallest count of rejections is rounded down, except for the rounding of 0.99 itself.
    return float(right[int((1.0 - accepted) * len(right) + 1e-9)])


def thresholded_error(
    *,
    clean_wrong: np.ndarray,
    clean_confidence: np.ndarray,
    adversarial_wrong: np.ndarray,
    adversarial_confidence: np.ndarray,
    threshold: float,
) -> float:
    """Robust error among the examples that are accepted, clean or adversarial.

    An example counts as an error if its clean or its adversarial image is accepted and wrong, and
    as accepted if one of the two is. With threshold 0 it is the ordinary robust error.

    Args:
        clean_wrong: (n,) decisions that are wrong.
        clean_confidence: (n,) largest probabilities.
        adversarial_wrong: the same for the adversarial image of each example.
        adversarial_confidence: the same for the adversarial image of each example.
        threshold: confidences from here on are accepted.

    Returns:
        A fraction; 0 if nothing is accepted.
    """
    clean = np.asarray(clean_confidence) >= threshold
    adversarial = np.asarray(adversarial_confidence) >= threshold
    errors = (clean & np.asarray(clean_wrong, bool)) | (
        adversarial & np.asarray(adversarial_wrong, bool)
    )
    accepted = int(np.sum(clean | adversarial))
    return float(np.sum(errors) / accepted) if accepted else 0.0

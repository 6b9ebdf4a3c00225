"""Losses of teachers that resist distillation, and of students that learn from them anyway.

A nasty teacher classifies well, but spreads the rest of its probability so that who imitates it
learns worse. A skeptical student lets the teacher reach an auxiliary classifier in the middle of
the network alone. As in `std_keras.losses`, everything is per example and in float32.

Sources: Ma et al. 2021, "Undistillable: Making A Nasty Teacher That CANNOT teach students", ICLR,
arXiv 2105.07381, and VITA-Group/Nasty-Teacher; Kundu et al. 2021, "Analyzing the Confidentiality
of Undistillable Teachers in Knowledge Distillation", NeurIPS, and ksouvik52/Skeptical2021.
"""

from __future__ import annotations

import tensorflow as tf

from std_keras import losses
from std_keras.errors import InputError

SELF_WEIGHT = 0.3  # Of the published code: the auxiliary classifier's share of imitation.


def self_undermining(
    logits: tf.Tensor, adversary_logits: tf.Tensor, *, temperature: float
) -> tf.Tensor:
    """τ² · KL(softmax(z/τ) ‖ softmax(a/τ)): how far a teacher z is from its frozen adversary a.

    Unlike in distillation the moving side comes first. The gradient flows into z alone and is
    τ · p ⊙ (log p/q − KL), with p and q the two distributions; for large τ the divergence tends to
    half the mean square over classes of the centred z − a.

    Args:
        logits: z, (B, K).
        adversary_logits: a, (B, K); a constant.
        temperature: τ > 0.

    Returns:
        (B,), in nats.

    Raises:
        InputError: the temperature is not positive.
        ValueError: the shapes differ.
    """
    if not temperature > 0:
        raise InputError(f"temperature={temperature} must be above 0, such as 4")
    adversary = tf.stop_gradient(tf.cast(adversary_logits, tf.float32))
    return temperature**2 * _divergence(tf.cast(logits, tf.float32), adversary, temperature)


def nasty(class_loss: tf.Tensor, divergence: tf.Tensor, *, weight: float) -> tf.Tensor:
    """Loss of a nasty teacher: CE − ω τ² KL(teacher ‖ adversary) (Ma et al. 2021, Eq. 2).

    A teacher that is certain of anything gains up to about ω τ² log K, if the adversary is nearly
    uniform at τ: 1.5 nats with the published choice for CIFAR-10, 9 nats for CIFAR-100. If that is
    far above the cross-entropy, it pays to be wrong.

    Args:
        class_loss: (B,), cross-entropy with the labels.
        divergence: (B,), from `self_undermining`.
        weight: ω.

    Returns:
        (B,).
    """
    return tf.cast(class_loss, tf.float32) - weight * tf.cast(divergence, tf.float32)


def skeptical(
    *,
    final: tf.Tensor,
    deepest: tf.Tensor,
    taught: tf.Tensor,
    teaching: tf.Tensor,
    targets: tf.Tensor,
    alpha: float,
    temperature: float,
) -> tuple[tf.Tensor, tf.Tensor]:
    """The hybrid loss of a skeptical student (Kundu et al. 2021).

    α · teaching + (1 − α) · CE(taught, y)
    + 0.3 · KL(softmax(final/τ) ‖ softmax(deepest/τ)) + 0.7 · CE(deepest, y) + CE(final, y).

    As in the published code the self-distillation has no factor τ², and the final logits are not
    held constant in it: its gradient moves both sides.

    Args:
        final: logits (B, K) of the class head, which alone remains after training.
        deepest: logits (B, K) of the auxiliary classifier nearest to the end.
        taught: logits (B, K) of the auxiliary classifier that the teachers reach; it may be the
            deepest one.
        teaching: (B,), the distillation loss of the taught logits.
        targets: (B, K) label distributions.
        alpha: α, from 0 to 1.
        temperature: τ > 0.

    Returns:
        The loss (B,), and the self-distillation (B,) without its weight.
    """
    imitation = _divergence(tf.cast(final, tf.float32), tf.cast(deepest, tf.float32), temperature)
    loss = (
        losses.total(losses.cross_entropy(taught, targets), teaching, alpha=alpha)
        + SELF_WEIGHT * imitation
        + (1.0 - SELF_WEIGHT) * losses.cross_entropy(deepest, targets)
        + losses.cross_entropy(final, targets)
    )
    return loss, imitation


def _divergence(first: tf.Tensor, second: tf.Tensor, temperature: float) -> tf.Tensor:
    """KL(softmax(first/τ) ‖ softmax(second/τ)), (B,); the gradient flows into both."""
    if not first.shape.is_compatible_with(second.shape):
        raise ValueError(f"shapes must be equal (B, K), but are {first.shape} and {second.shape}")
    log_p = tf.nn.log_softmax(first / temperature)
    log_q = tf.nn.log_softmax(second / temperature)
    return tf.reduce_sum(tf.exp(log_p) * (log_p - log_q), axis=-1)

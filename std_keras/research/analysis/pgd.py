"""Projected gradient ascent on images: the worst images near given ones.

Source: Madry et al. 2018, "Towards Deep Learning Models Resistant to Adversarial Attacks",
arXiv 1706.06083; momentum on the normalised gradient and keeping the best image of all steps as
in davidstutz's confidence-calibrated-adversarial-training.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import tensorflow as tf

NORMS = ("linf", "l2")
_LARGEST = 255.0


@dataclass(frozen=True)
class Attack:
    """How near, and how long.

    Attributes:
        epsilon: radius of the ball, in pixel values of 0..255; for `l2` of the whole image.
        steps: of ascent.
        norm: `linf` or `l2`.
        momentum: of the normalised gradient.
        reach: step size times steps, as a multiple of epsilon.

    Raises:
        ValueError: a value outside its limits.
    """

    epsilon: float
    steps: int
    norm: str = "linf"
    momentum: float = 0.0
    reach: float = 2.5

    def __post_init__(self) -> None:
        if self.norm not in NORMS:
            raise ValueError(f"norm={self.norm!r} is not one of {', '.join(NORMS)}")
        if self.epsilon < 0 or self.steps < 1 or not 0 <= self.momentum < 1 or self.reach <= 0:
            raise ValueError(f"{self}: epsilon >= 0, steps >= 1, 0 <= momentum < 1, reach > 0")


def maximize(
    objective: Callable[[tf.Tensor], tf.Tensor], images: tf.Tensor, attack: Attack
) -> tf.Tensor:
    """Images near the given ones for which the objective is large; a constant to gradients.

    It starts at the images themselves, and returns for each the best of all steps, so that the
    objective never becomes smaller. Pixels stay in 0..255 and are not rounded.

    Args:
        objective: images (B, H, W, C) to (B,), each depending on its own image alone.
        images: (B, H, W, C) of 0..255.
        attack: see `Attack`.

    Returns:
        (B, H, W, C) float32.
    """
    clean = tf.cast(images, tf.float32)
    size = attack.epsilon * attack.reach / attack.steps

    def value_and_gradient(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = objective(x)
        return value, tape.gradient(value, x)

    def step(
        index: tf.Tensor, x: tf.Tensor, speed: tf.Tensor, best: tf.Tensor, highest: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        value, gradient = value_and_gradient(x)
        best, highest = _better(value, x, best, highest)
        speed = attack.momentum * speed + _steepest(gradient, attack.norm)
        moved = project(x + size * speed - clean, epsilon=attack.epsilon, norm=attack.norm)
        return index + 1, tf.clip_by_value(clean + moved, 0.0, _LARGEST), speed, best, highest

    lowest = tf.fill(tf.shape(clean)[:1], -float("inf"))
    _, last, _, best, highest = tf.while_loop(
        lambda index, *_: index < attack.steps,
        step,
        (tf.constant(0), clean, tf.zeros_like(clean), clean, lowest),
    )
    best, _ = _better(objective(last), last, best, highest)
    return tf.stop_gradient(best)


def project(difference: tf.Tensor, *, epsilon: float, norm: str) -> tf.Tensor:
    """The nearest difference (B, H, W, C) in the ball of radius epsilon."""
    if norm == "linf":
        return tf.clip_by_value(difference, -epsilon, epsilon)
    return difference * tf.minimum(1.0, epsilon / tf.maximum(_length(difference), 1e-12))


def _steepest(gradient: tf.Tensor, norm: str) -> tf.Tensor:
    """The direction of length 1 in which the objective rises most."""
    if norm == "linf":
        return tf.sign(gradient)
    return gradient / tf.maximum(_length(gradient), 1e-12)


def _length(values: tf.Tensor) -> tf.Tensor:
    return tf.sqrt(tf.reduce_sum(values**2, axis=(1, 2, 3), keepdims=True))


def _better(
    value: tf.Tensor, x: tf.Tensor, best: tf.Tensor, highest: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """The better of each pair of images, with its value."""
    higher = value > highest
    return tf.where(higher[:, None, None, None], x, best), tf.where(higher, value, highest)

"""Colour jitter: brightness, contrast and colour by random factors, in random order.

As torchvision's ColorJitter(s, s, s), which timm applies after (or without) AutoAugment and
RandAugment: each factor is uniform in [max(0, 1 - s), 1 + s].
"""

from __future__ import annotations

import tensorflow as tf

from std_keras.data.augmentation.blend import rounded_factor
from std_keras.data.augmentation.operations import Operation
from std_keras.data.randomness import ALGORITHM, Purpose, derive_seed

_OPERATIONS = (Operation.BRIGHTNESS, Operation.CONTRAST, Operation.COLOR)


def draw_color_jitter(
    strength: float, *, batch_size: int, seed: int, step: int | tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Operations (B, 3) int32 and their factors (B, 3) float32."""
    uniform = tf.random.stateless_uniform(
        (2, batch_size, 3), seed=derive_seed(seed, Purpose.COLOR_JITTER, step), alg=ALGORITHM
    )
    order = tf.argsort(uniform[0], axis=1)
    operations = tf.gather(tf.constant(_OPERATIONS, tf.int32), order)
    least = max(0.0, 1.0 - strength)
    factors = least + (1.0 + strength - least) * uniform[1]
    return operations, rounded_factor(factors)

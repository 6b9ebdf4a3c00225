"""RandAugment: a few random operations for each image, all at one magnitude.

Cubuk et al. 2019, arXiv 1909.13719, as in timm (`timm/data/auto_augment.py`), whose
`rand-m9-mstd0.5-inc1` is DeiT's: each of n layers picks one of 15 operations and applies it with
probability 0.5, at a magnitude of 0..10 with some normal noise; "increasing" means that a larger
magnitude changes the image more, for all operations.
"""

from __future__ import annotations

import dataclasses

import tensorflow as tf

from std_keras.data.augmentation.blend import rounded_factor
from std_keras.data.augmentation.operations import Operation
from std_keras.data.randomness import ALGORITHM, Purpose, derive_seed

# In timm's order.
OPERATIONS = (
    Operation.AUTO_CONTRAST,
    Operation.EQUALIZE,
    Operation.INVERT,
    Operation.ROTATE,
    Operation.POSTERIZE,
    Operation.SOLARIZE,
    Operation.SOLARIZE_ADD,
    Operation.COLOR,
    Operation.CONTRAST,
    Operation.BRIGHTNESS,
    Operation.SHARPNESS,
    Operation.SHEAR_X,
    Operation.SHEAR_Y,
    Operation.TRANSLATE_X,
    Operation.TRANSLATE_Y,
)
GREATEST_MAGNITUDE = 10.0
_TRANSLATION = 0.45  # of the side, at the greatest magnitude


@dataclasses.dataclass(frozen=True)
class RandAugment:
    """What is drawn for each image.

    Attributes:
        layers: how many operations are drawn.
        magnitude: 0..10.
        std: standard deviation of the noise on the magnitude.
        probability: of each drawn operation to be applied.
        increasing: whether posterize, solarize, colour, contrast, brightness and sharpness also
            change the image more at a larger magnitude.
    """

    layers: int = 2
    magnitude: float = 9.0
    std: float = 0.5
    probability: float = 0.5
    increasing: bool = True

    def draw(
        self, *, batch_size: int, seed: int, step: int | tf.Tensor, image_shape: tuple[int, ...]
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Operations (B, layers) int32 and their arguments (B, layers) float32."""
        shape = (batch_size, self.layers)
        uniform = tf.random.stateless_uniform(
            (3, *shape), seed=derive_seed(seed, Purpose.RAND_AUGMENT, step), alg=ALGORITHM
        )
        noise = tf.random.stateless_normal(
            shape, seed=derive_seed(seed, Purpose.RAND_AUGMENT_MAGNITUDE, step), alg=ALGORITHM
        )
        choice = tf.cast(uniform[0] * len(OPERATIONS), tf.int32)
        operations = tf.gather(tf.constant(OPERATIONS, tf.int32), choice)
        operations = tf.where(uniform[1] < self.probability, operations, Operation.IDENTITY)
        magnitudes = tf.clip_by_value(self.magnitude + self.std * noise, 0.0, GREATEST_MAGNITUDE)
        arguments = arguments_of(
            operations,
            magnitudes / GREATEST_MAGNITUDE,
            negative=uniform[2] < 0.5,
            increasing=self.increasing,
            image_shape=image_shape,
        )
        return operations, arguments


def arguments_of(
    operations: tf.Tensor,
    levels: tf.Tensor,
    *,
    negative: tf.Tensor,
    increasing: bool,
    image_shape: tuple[int, ...],
) -> tf.Tensor:
    """timm's mapping from a level (magnitude / 10, in 0..1) to the argument of an operation.

    Args:
        operations: any shape, int32.
        levels: the same shape, float32.
        negative: the same shape, bool; the direction, where an operation has two.
        increasing: see `RandAugment`.
        image_shape: (H, W, C).
    """
    height, width = image_shape[:2]
    signed = tf.where(negative, -levels, levels)
    bits = tf.floor(levels * 4)
    threshold = tf.minimum(256.0, tf.floor(levels * 256))
    if increasing:
        bits, threshold = 4 - bits, 256 - threshold
        factor = tf.maximum(0.1, 1 + 0.9 * signed)
    else:
        factor = 1.8 * levels + 0.1
    factor = rounded_factor(factor)
    by_operation = {
        Operation.ROTATE: 30 * signed,
        Operation.POSTERIZE: bits,
        Operation.SOLARIZE: threshold,
        Operation.SOLARIZE_ADD: tf.minimum(128.0, tf.floor(levels * 110)),
        Operation.COLOR: factor,
        Operation.CONTRAST: factor,
        Operation.BRIGHTNESS: factor,
        Operation.SHARPNESS: factor,
        Operation.SHEAR_X: 0.3 * signed,
        Operation.SHEAR_Y: 0.3 * signed,
        Operation.TRANSLATE_X: _TRANSLATION * width * signed,
        Operation.TRANSLATE_Y: _TRANSLATION * height * signed,
    }
    arguments = tf.zeros_like(levels)
    for operation, values in by_operation.items():
        arguments = tf.where(operations == operation, values, arguments)
    return arguments

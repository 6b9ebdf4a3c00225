"""AutoAugment's policy for CIFAR-10: one of 25 pairs of operations for each image.

Cubuk et al. 2018, arXiv 1805.09501, Table 7, as in github.com/DeepVoltaire/AutoAugment, which
github.com/omihub777/MLP-Mixer-CIFAR uses: rotation is counter-clockwise alone and, like
translation, takes the nearest pixel; shears interpolate; what comes from outside is grey (128).
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from std_keras.data.augmentation.blend import FACTOR_STEPS
from std_keras.data.augmentation.operations import Operation
from std_keras.data.randomness import ALGORITHM, Purpose, derive_seed

FILL = 128

_INVERT, _CONTRAST, _ROTATE = Operation.INVERT, Operation.CONTRAST, Operation.ROTATE_NEAREST
_SHARPNESS, _COLOR, _BRIGHTNESS = Operation.SHARPNESS, Operation.COLOR, Operation.BRIGHTNESS
_TRANSLATE_X, _TRANSLATE_Y = Operation.TRANSLATE_X, Operation.TRANSLATE_Y
_SHEAR_Y, _AUTO_CONTRAST = Operation.SHEAR_Y, Operation.AUTO_CONTRAST
_EQUALIZE, _POSTERIZE, _SOLARIZE = Operation.EQUALIZE, Operation.POSTERIZE, Operation.SOLARIZE

# (operation, probability, magnitude 0..9) twice; magnitudes of operations without argument are 0.
CIFAR10_POLICY: tuple[tuple[tuple[Operation, float, int], tuple[Operation, float, int]], ...] = (
    ((_INVERT, 0.1, 0), (_CONTRAST, 0.2, 6)),
    ((_ROTATE, 0.7, 2), (_TRANSLATE_X, 0.3, 9)),
    ((_SHARPNESS, 0.8, 1), (_SHARPNESS, 0.9, 3)),
    ((_SHEAR_Y, 0.5, 8), (_TRANSLATE_Y, 0.7, 9)),
    ((_AUTO_CONTRAST, 0.5, 0), (_EQUALIZE, 0.9, 0)),
    ((_SHEAR_Y, 0.2, 7), (_POSTERIZE, 0.3, 7)),
    ((_COLOR, 0.4, 3), (_BRIGHTNESS, 0.6, 7)),
    ((_SHARPNESS, 0.3, 9), (_BRIGHTNESS, 0.7, 9)),
    ((_EQUALIZE, 0.6, 0), (_EQUALIZE, 0.5, 0)),
    ((_CONTRAST, 0.6, 7), (_SHARPNESS, 0.6, 5)),
    ((_COLOR, 0.7, 7), (_TRANSLATE_X, 0.5, 8)),
    ((_EQUALIZE, 0.3, 0), (_AUTO_CONTRAST, 0.4, 0)),
    ((_TRANSLATE_Y, 0.4, 3), (_SHARPNESS, 0.2, 6)),
    ((_BRIGHTNESS, 0.9, 6), (_COLOR, 0.2, 8)),
    ((_SOLARIZE, 0.5, 2), (_INVERT, 0.0, 0)),
    ((_EQUALIZE, 0.2, 0), (_AUTO_CONTRAST, 0.6, 0)),
    ((_EQUALIZE, 0.2, 0), (_EQUALIZE, 0.6, 0)),
    ((_COLOR, 0.9, 9), (_EQUALIZE, 0.6, 0)),
    ((_AUTO_CONTRAST, 0.8, 0), (_SOLARIZE, 0.2, 8)),
    ((_BRIGHTNESS, 0.1, 3), (_COLOR, 0.7, 0)),
    ((_SOLARIZE, 0.4, 5), (_AUTO_CONTRAST, 0.9, 0)),
    ((_TRANSLATE_Y, 0.9, 9), (_TRANSLATE_Y, 0.7, 9)),
    ((_AUTO_CONTRAST, 0.9, 0), (_SOLARIZE, 0.8, 3)),
    ((_EQUALIZE, 0.8, 0), (_INVERT, 0.1, 0)),
    ((_TRANSLATE_Y, 0.7, 9), (_AUTO_CONTRAST, 0.9, 0)),
)


def draw_cifar10_policy(
    *, batch_size: int, seed: int, step: int | tf.Tensor, image_shape: tuple[int, ...]
) -> tuple[tf.Tensor, tf.Tensor]:
    """Operations (B, 2) int32 and their arguments (B, 2) float32."""
    uniform = tf.random.stateless_uniform(
        (batch_size, 5), seed=derive_seed(seed, Purpose.AUTO_AUGMENT, step), alg=ALGORITHM
    )
    pair = tf.cast(uniform[:, 0] * len(CIFAR10_POLICY), tf.int32)
    policy = np.array(CIFAR10_POLICY)  # (25, 2, 3)
    operations = tf.gather(tf.constant(policy[..., 0], tf.int32), pair)
    applied = uniform[:, 1:3] < tf.gather(tf.constant(policy[..., 1], tf.float32), pair)
    # Both directions of every argument, so that drawing is a choice between two tables.
    arguments = [
        tf.gather(tf.constant(_arguments(sign, image_shape), tf.float32), pair) for sign in (1, -1)
    ]
    chosen = tf.where(uniform[:, 3:5] < 0.5, *arguments)
    return tf.where(applied, operations, Operation.IDENTITY), chosen


@tf.autograph.experimental.do_not_convert  # Plain numbers; it warns that it cannot read `match`.
def _arguments(sign: int, image_shape: tuple[int, ...]) -> list[list[float]]:
    return [[_argument(op, level, sign, image_shape) for op, _, level in p] for p in CIFAR10_POLICY]


def _argument(operation: Operation, level: int, sign: int, image_shape: tuple[int, ...]) -> float:
    """The argument at a magnitude of 0..9; a sign where the operation has two directions."""
    height, width = image_shape[:2]
    part = level / 9
    match operation:
        case Operation.SHEAR_X | Operation.SHEAR_Y:
            return sign * 0.3 * part
        case Operation.TRANSLATE_X | Operation.TRANSLATE_Y:
            side = width if operation == Operation.TRANSLATE_X else height
            # The nearest pixel: a whole number of pixels.
            return float(np.floor(sign * 150 / 331 * part * side + 0.5))
        case Operation.ROTATE_NEAREST:
            return 30 * part
        case Operation.POSTERIZE:
            return float(round(8 - 4 * part))
        case Operation.SOLARIZE:
            return 256 * (1 - part)
        case Operation.COLOR | Operation.CONTRAST | Operation.BRIGHTNESS | Operation.SHARPNESS:
            # As `rounded_factor`, but a plain number also where a graph is being built.
            return round((1 + sign * 0.9 * part) * FACTOR_STEPS) / FACTOR_STEPS
    return 0.0

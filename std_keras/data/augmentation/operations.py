"""The operations of RandAugment, AutoAugment and colour jitter, by number.

An image gets a list of (operation, argument) pairs; operations differ from image to image. All
images of a batch go through one loop that XLA compiles: an image costs what its own operations
cost, and no operation is computed to be thrown away.
"""

from __future__ import annotations

import enum
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from std_keras.data.augmentation import affine, enhance, tables


class Operation(enum.IntEnum):
    """Names as in timm; the argument of each is what PIL's function takes."""

    IDENTITY = 0
    AUTO_CONTRAST = 1
    EQUALIZE = 2
    INVERT = 3
    POSTERIZE = 4  # bits kept, 0..8
    SOLARIZE = 5  # threshold, 0..256
    SOLARIZE_ADD = 6  # what is added below 128
    CONTRAST = 7  # factor, a multiple of 1 / blend.FACTOR_STEPS; so the next three
    BRIGHTNESS = 8
    COLOR = 9
    SHARPNESS = 10
    SHEAR_X = 11  # pixels per pixel
    SHEAR_Y = 12
    TRANSLATE_X = 13  # pixels
    TRANSLATE_Y = 14
    ROTATE = 15  # degrees
    ROTATE_NEAREST = 16  # degrees


_TABLES: dict[Operation, Callable[[tf.Tensor, tf.Tensor], tf.Tensor]] = {
    Operation.AUTO_CONTRAST: tables.auto_contrast,
    Operation.EQUALIZE: tables.equalize,
    Operation.INVERT: tables.invert,
    Operation.POSTERIZE: tables.posterize,
    Operation.SOLARIZE: tables.solarize,
    Operation.SOLARIZE_ADD: tables.solarize_add,
    Operation.CONTRAST: tables.contrast,
    Operation.BRIGHTNESS: tables.brightness,
}

# Operations of one group share their compiled code.
_GROUPS: tuple[tuple[Operation, ...], ...] = (
    (Operation.IDENTITY,),
    tuple(_TABLES),
    (Operation.COLOR,),
    (Operation.SHARPNESS,),
    (Operation.SHEAR_X, Operation.TRANSLATE_X),
    (Operation.SHEAR_Y, Operation.TRANSLATE_Y),
    (Operation.ROTATE,),
    (Operation.ROTATE_NEAREST,),
)
_GROUP_OF = np.array([next(i for i, g in enumerate(_GROUPS) if op in g) for op in Operation])
_RANK_IN_GROUP = np.array([_GROUPS[_GROUP_OF[op]].index(op) for op in Operation])


def apply_operation(
    image: tf.Tensor, operation: tf.Tensor, argument: tf.Tensor, *, fill: tuple[int, ...]
) -> tf.Tensor:
    """One operation on one image; to be compiled.

    Args:
        image: (H, W, C) uint8, C = 1 or 3.
        operation: () int32, an `Operation`.
        argument: () float32, see `Operation`.
        fill: colour of what comes from outside the image, one value for each channel.
    """
    color = tf.constant(fill, tf.uint8)
    rank = tf.gather(tf.constant(_RANK_IN_GROUP, tf.int32), operation)

    def look_up() -> tf.Tensor:
        shape = (image.shape[-1], 256)

        def table_of(make: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]) -> tf.Tensor:
            return tf.broadcast_to(tf.cast(make(image, argument), tf.uint8), shape)

        makers = [lambda make=make: table_of(make) for make in _TABLES.values()]
        return tables.look_up(image, tf.switch_case(rank, makers))

    shears = rank == 0
    line = {
        "slope": tf.where(shears, argument, 0.0),
        "offset": tf.where(shears, 0.0, argument),
        "fill": color,
    }
    branches: list[Callable[[], tf.Tensor]] = [
        lambda: image,
        look_up,
        lambda: enhance.color(image, argument),
        lambda: enhance.sharpness(image, argument),
        lambda: affine.transform_rows(image, **line),
        lambda: affine.transform_columns(image, **line),
        lambda: affine.rotate(image, degrees=argument, fill=color),
        lambda: affine.rotate_nearest(image, degrees=argument, fill=color),
    ]
    return tf.switch_case(tf.gather(tf.constant(_GROUP_OF, tf.int32), operation), branches)


def apply_operations(
    image: tf.Tensor, operations: tf.Tensor, arguments: tf.Tensor, *, fill: tuple[int, ...]
) -> tf.Tensor:
    """The operations (L,) with their arguments (L,), one after the other, on one image."""
    count = operations.shape[0]

    def step(i: tf.Tensor, image: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return i + 1, apply_operation(image, operations[i], arguments[i], fill=fill)

    # A loop, not copies of the code: compiling takes seconds.
    _, image = tf.while_loop(lambda i, _: i < count, step, (0, image), maximum_iterations=count)
    return image

"""The augmentation recipe: what is drawn for a step, and what it does to the images.

`draw` decides and `apply` obeys. `draw` gives the parameters of a whole global batch as a pure
function of (data seed, step); a replica slices out its rows and applies them to its own images, so
any number of replicas makes the same batch. A new operation adds a field to `Augmentation`, a
`Purpose` for its random numbers, its parameters in `draw` and its pixels in `apply`.
"""

from __future__ import annotations

import dataclasses

import tensorflow as tf

from std_keras.data.randomness import ALGORITHM, Purpose, derive_seed


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """Random crop with zero padding, and horizontal flip (the usual recipe of small images).

    Attributes:
        crop_padding: pixels of zeros round the image before a crop of the original size; 0 is off.
        horizontal_flip: mirror half of the images.
    """

    crop_padding: int = 0
    horizontal_flip: bool = False

    def __post_init__(self) -> None:
        if self.crop_padding < 0:
            raise ValueError(f"crop_padding must be 0 or more, got {self.crop_padding}")

    def draw(self, *, batch_size: int, seed: int, step: int | tf.Tensor) -> dict[str, tf.Tensor]:
        """Parameters of the global batch of a step, each with leading axis batch_size.

        `corner` (B, 2) int32: row and column, within the padded image, where the crop begins;
        `flip` (B,) bool. What is switched off is not in the dictionary.
        """
        parameters: dict[str, tf.Tensor] = {}
        if self.crop_padding:
            parameters["corner"] = tf.random.stateless_uniform(
                (batch_size, 2),
                seed=derive_seed(seed, Purpose.CROP, step),
                minval=0,
                maxval=2 * self.crop_padding + 1,
                dtype=tf.int32,
                alg=ALGORITHM,
            )
        if self.horizontal_flip:
            uniform = tf.random.stateless_uniform(
                (batch_size,), seed=derive_seed(seed, Purpose.FLIP, step), alg=ALGORITHM
            )
            parameters["flip"] = uniform < 0.5
        return parameters

    def apply(self, images: tf.Tensor, parameters: dict[str, tf.Tensor]) -> tf.Tensor:
        """Images (b, H, W, C) uint8 with their b rows of the parameters; same shape and type."""
        if not parameters:
            return images
        batch, height, width = tf.shape(images)[0], images.shape[1], images.shape[2]
        rows = tf.tile(tf.range(height)[None], (batch, 1))
        columns = tf.tile(tf.range(width)[None], (batch, 1))
        # The flip is a reversed list of columns: five times faster than reversing the images.
        if "flip" in parameters:
            columns = tf.where(parameters["flip"][:, None], columns[:, ::-1], columns)
        if "corner" in parameters:
            around = [self.crop_padding, self.crop_padding]
            images = tf.pad(images, [[0, 0], around, around, [0, 0]])
            rows += parameters["corner"][:, :1]
            columns += parameters["corner"][:, 1:]
            images = tf.gather(images, rows, axis=1, batch_dims=1)
        return tf.gather(images, columns, axis=2, batch_dims=1)

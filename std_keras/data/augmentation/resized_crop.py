"""Random resized crop: a part of the picture, of random area and shape, scaled to the image size.

Szegedy et al. 2014, arXiv 1409.4842, section 6, as in torchvision and timm: up to ten tries of an
area (uniform) and a ratio of width to height (log-uniform); the first that fits into the picture
counts; if none does, the largest central crop of a permitted ratio.
"""

from __future__ import annotations

import dataclasses
import math

import tensorflow as tf

from std_keras.data.randomness import ALGORITHM, Purpose, derive_seed

_TRIES = 10


@dataclasses.dataclass(frozen=True)
class ResizedCrop:
    """Which crops are drawn.

    Attributes:
        scale: least part of the picture's area; the greatest is all of it.
        ratio: greatest ratio of width to height; the least is its inverse.
    """

    scale: float = 0.08
    ratio: float = 4 / 3

    def draw(self, *, batch_size: int, seed: int, step: int | tf.Tensor) -> dict[str, tf.Tensor]:
        """What `box` needs: it cannot be made before the picture's size is known.

        `crop_area` (B, 10): parts of the area; `crop_ratio` (B, 10): width / height;
        `crop_place` (B, 2) in [0, 1): where, from top to bottom and from left to right.
        """
        uniform = tf.random.stateless_uniform(
            (batch_size, 2 * _TRIES + 2),
            seed=derive_seed(seed, Purpose.RESIZED_CROP, step),
            alg=ALGORITHM,
        )
        log_ratio = math.log(self.ratio) * (2 * uniform[:, _TRIES : 2 * _TRIES] - 1)
        return {
            "crop_area": self.scale + (1 - self.scale) * uniform[:, :_TRIES],
            "crop_ratio": tf.exp(log_ratio),
            "crop_place": uniform[:, 2 * _TRIES :],
        }

    def box(
        self, height: tf.Tensor | int, width: tf.Tensor | int, drawn: dict[str, tf.Tensor]
    ) -> tf.Tensor:
        """The crop in a picture of this size, from one image's row of `draw`.

        Returns:
            (4,) int32: top, left, height, width.
        """
        sides = tf.cast(tf.stack([height, width]), tf.float32)
        areas = drawn["crop_area"] * sides[0] * sides[1]
        heights = tf.round(tf.sqrt(areas / drawn["crop_ratio"]))
        widths = tf.round(tf.sqrt(areas * drawn["crop_ratio"]))
        fits = (heights <= sides[0]) & (widths <= sides[1]) & (heights >= 1) & (widths >= 1)
        first = tf.argmax(fits)
        size = tf.stack([heights[first], widths[first]])
        top_left = tf.floor(drawn["crop_place"] * (sides - size + 1))

        central = tf.stack(
            [
                tf.minimum(sides[0], tf.round(sides[1] * self.ratio)),
                tf.minimum(sides[1], tf.round(sides[0] * self.ratio)),
            ]
        )
        middle = tf.floor((sides - central) / 2)
        found = tf.reduce_any(fits)
        box = tf.concat([tf.where(found, top_left, middle), tf.where(found, size, central)], 0)
        return tf.cast(box, tf.int32)

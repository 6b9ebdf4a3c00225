"""mixup and CutMix: every image of a batch is mixed with another one, and so are the targets.

mixup (Zhang et al. 2017, arXiv 1710.09412) averages two images with weights lambda and 1 - lambda;
CutMix (Yun et al. 2019, arXiv 1905.04899) puts a box of one into the other, and lambda is the part
that remains. As timm's Mixup in mode batch: one choice, one lambda, one box for the whole batch.

timm mixes image i with image B - 1 - i. The order of a batch is random, so that any fixed pairing
means the same; `partners` pairs so that the partners stay together when a batch is split.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import tensorflow as tf

from std_keras.data.randomness import ALGORITHM, Purpose, derive_seed


@dataclasses.dataclass(frozen=True)
class Mixing:
    """What is drawn for each batch.

    Attributes:
        mixup_alpha: lambda is Beta(alpha, alpha); 0 for no mixup.
        cutmix_alpha: likewise for CutMix.
        probability: of a batch to be mixed at all.
        switch_probability: of CutMix instead of mixup, if there are both.
    """

    mixup_alpha: float = 0.0
    cutmix_alpha: float = 0.0
    probability: float = 1.0
    switch_probability: float = 0.5

    @property
    def on(self) -> bool:
        return self.probability > 0 and (self.mixup_alpha > 0 or self.cutmix_alpha > 0)

    def draw(
        self, *, batch_size: int, seed: int, step: int | tf.Tensor, image_shape: tuple[int, ...]
    ) -> dict[str, tf.Tensor]:
        """The same for every image of the batch.

        `mix_pixels` (B,) float32: weight of the own image in the average (1 for CutMix);
        `mix_box` (B, 4) int32: top, left, bottom, right of what the partner gives;
        `mix_targets` (B,) float32: weight of the own target.
        """
        height, width = image_shape[:2]
        uniform = tf.random.stateless_uniform(
            (4,), seed=derive_seed(seed, Purpose.MIX, step), dtype=tf.float64, alg=ALGORITHM
        )
        mixes = uniform[0] < self.probability
        cuts = tf.constant(self.cutmix_alpha > 0)
        if self.mixup_alpha > 0 and self.cutmix_alpha > 0:
            cuts = uniform[1] < self.switch_probability
        mixup_lambda = self._beta(self.mixup_alpha, Purpose.MIXUP_RATIO, seed, step)
        cutmix_lambda = self._beta(self.cutmix_alpha, Purpose.CUTMIX_RATIO, seed, step)

        sides = tf.constant([height, width], tf.int32)
        cut = tf.cast(tf.cast(sides, tf.float64) * tf.sqrt(1 - cutmix_lambda), tf.int32)
        middle = tf.cast(tf.cast(sides, tf.float64) * uniform[2:], tf.int32)
        begin = tf.clip_by_value(middle - cut // 2, 0, sides)
        end = tf.clip_by_value(middle + (cut + 1) // 2, 0, sides)
        box = tf.where(mixes & cuts, tf.concat([begin, end], 0), 0)
        # What really remains, after the box was cut off at the border.
        remains = 1 - tf.reduce_prod(box[2:] - box[:2]) / (height * width)
        pixels = tf.where(mixes & ~cuts, mixup_lambda, tf.ones((), tf.float64))
        return {
            "mix_pixels": tf.fill((batch_size,), tf.cast(pixels, tf.float32)),
            "mix_box": tf.tile(box[None], (batch_size, 1)),
            "mix_targets": tf.fill(
                (batch_size,), tf.cast(tf.where(cuts, remains, pixels), tf.float32)
            ),
        }

    def _beta(self, alpha: float, purpose: Purpose, seed: int, step: int | tf.Tensor) -> tf.Tensor:
        """() float64 of Beta(alpha, alpha): the share of one of two gamma variables."""
        if alpha <= 0:
            return tf.ones((), tf.float64)
        one, other = tf.unstack(
            tf.random.stateless_gamma(
                (2,),
                seed=derive_seed(seed, purpose, step),
                alpha=tf.constant(alpha, tf.float64),
                dtype=tf.float64,
            )
        )
        # For a tiny alpha both may be zero: then it is one or the other.
        return tf.where(one + other > 0, one / (one + other), 1.0)


def partners(batch_size: int) -> np.ndarray:
    """(B,) int64: which image each image of a global batch is mixed with.

    The two halves of every four swap: 0 with 2, 1 with 3, and so on; what is left of a batch that
    is no multiple of 4 goes round in a circle with the last four. A shard that holds a multiple of
    4 images holds all partners too; others have to decode a few images besides.

    It is not 0 with 1 and 2 with 3, because those pairs are what the mutual information term
    compares (`std_keras.mine.derangement`), and two mixtures of the same two images are no
    independent pair. Nobody is alone, unless the batch has one image.
    """
    indices = np.arange(batch_size)
    rest = batch_size % 4
    if rest and batch_size > 4:
        rest += 4
    whole = batch_size - rest
    indices[:whole] ^= 2
    if rest:
        indices[whole:] = whole + np.roll(np.arange(rest), -2 if rest > 3 else -1)
    return indices


def mix_images(images: tf.Tensor, others: tf.Tensor, drawn: dict[str, tf.Tensor]) -> tf.Tensor:
    """Images (b, H, W, C) uint8 mixed with `others`; rounded to uint8.

    Rounding to whole pixel values, as timm does where it mixes before normalisation, keeps a batch
    at a quarter of the size and every network that takes uint8 usable as a teacher.
    """
    rows, columns = tf.range(images.shape[1])[:, None], tf.range(images.shape[2])[None]
    sides = tf.unstack(drawn["mix_box"], axis=1)
    top, left, bottom, right = (side[:, None, None] for side in sides)
    inside = (rows >= top) & (rows < bottom) & (columns >= left) & (columns < right)
    weight = drawn["mix_pixels"][:, None, None, None]

    def averaged() -> tf.Tensor:
        own, other = tf.cast(images, tf.float32), tf.cast(others, tf.float32)
        return tf.cast(tf.round(own * weight + other * (1.0 - weight)), tf.uint8)

    # A batch needs one or the other, or neither.
    mixed = tf.cond(tf.reduce_all(weight == 1.0), lambda: images, averaged)

    def cut() -> tf.Tensor:
        return tf.where(inside[..., None], others, mixed)

    return tf.cond(tf.reduce_any(bottom > top), cut, lambda: mixed)


def mix_targets(targets: tf.Tensor, others: tf.Tensor, drawn: dict[str, tf.Tensor]) -> tf.Tensor:
    """Targets (b, K) float32, mixed with `others`; rows still sum to one."""
    weight = drawn["mix_targets"][:, None]
    return targets * weight + others * (1.0 - weight)

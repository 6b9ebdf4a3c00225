"""The augmentation recipe: what is drawn for a step, and what it does to the images.

`draw` decides and the others obey. `draw` gives the parameters of a whole global batch as a pure
function of (data seed, step); a replica slices out its rows and applies them to its own images, so
any number of replicas makes the same batch. A new part adds a field to `Augmentation`, a `Purpose`
for its random numbers, its parameters in `draw` and its pixels in `apply`.

The order is DeiT's: crop and flip, AutoAugment or RandAugment, colour jitter, erasing, mixing.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from std_keras import xla_cache
from std_keras.data.augmentation.auto_augment import FILL, draw_cifar10_policy
from std_keras.data.augmentation.color_jitter import draw_color_jitter
from std_keras.data.augmentation.erasing import draw_boxes, draw_noise_keys, erase
from std_keras.data.augmentation.larger_view import scaled_padding, scaled_parameters
from std_keras.data.augmentation.mixing import Mixing, mix_images, mix_targets, partners
from std_keras.data.augmentation.operations import apply_operations
from std_keras.data.augmentation.padded_crop import (
    crop_and_flip,
    draw_alternating_flips,
    draw_corners,
    draw_flips,
)
from std_keras.data.augmentation.rand_augment import RandAugment
from std_keras.data.augmentation.resized_crop import ResizedCrop
from std_keras.data.randomness import Purpose
from std_keras.data.source import Source

Parameters = dict[str, tf.Tensor]


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """What is done to the images; nothing, as it stands.

    Attributes:
        crop_padding: pixels of zeros round the image before a crop of the original size; 0 is off.
        crop_twice: do the padded crop two times, one after the other.
        resized_crop: crop a random part of the picture and scale it to the image size, or None.
        horizontal_flip: mirror half of the images.
        alternate_flip: with `horizontal_flip`, mirror each image in every other epoch, and not by
            chance.
        rand_augment: RandAugment, or None.
        auto_augment: AutoAugment's policy for CIFAR-10.
        color_jitter: strength of brightness, contrast and colour jitter; 0 is off.
        erasing: probability of random erasing.
        erasing_count: greatest number of erased boxes.
        mixing: mixup and CutMix.
        mean: of each channel of the data set, pixels in 0..1: the colour of what RandAugment moves
            in from outside, and of erased boxes.
        std: standard deviation of the noise in erased boxes.
    """

    crop_padding: int = 0
    crop_twice: bool = False
    resized_crop: ResizedCrop | None = None
    horizontal_flip: bool = False
    alternate_flip: bool = False
    rand_augment: RandAugment | None = None
    auto_augment: bool = False
    color_jitter: float = 0.0
    erasing: float = 0.0
    erasing_count: int = 1
    mixing: Mixing = dataclasses.field(default_factory=Mixing)
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)

    def __post_init__(self) -> None:
        if self.crop_padding < 0:
            raise ValueError(f"crop_padding must be 0 or more, got {self.crop_padding}")
        if self.rand_augment and self.auto_augment:
            raise ValueError("rand_augment and auto_augment exclude each other")
        if self.erasing_count < 1:
            raise ValueError(f"erasing_count must be at least 1, got {self.erasing_count}")

    @property
    def has_operations(self) -> bool:
        """Whether images go through operations such as equalize or rotate."""
        return bool(self.rand_augment or self.auto_augment or self.color_jitter)

    def draw(
        self, *, batch_size: int, seed: int, step: int | tf.Tensor, image_shape: tuple[int, ...]
    ) -> Parameters:
        """Parameters of the global batch of a step, each with leading axis batch_size.

        Args:
            batch_size: B, global.
            seed: the data seed.
            step: the step.
            image_shape: (H, W, C) of the images.

        Returns:
            `corner`, `second_corner` (B, 2) int32: row and column, within the padded image, where
            the crop begins; `flip` (B,) bool; `crop_*`: see `ResizedCrop.draw`; `operations` and
            `arguments` (B, L): see `operations.Operation`; `erase_boxes` (B, count, 4) int32: top,
            left, height, width; `erase_key` (B, 2) int32; `mix_*`: see `Mixing.draw`. What is
            switched off is not there.

        Raises:
            ValueError: for operations on images that are neither grey nor RGB.
        """
        parameters: Parameters = {}
        this = {"batch_size": batch_size, "seed": seed, "step": step}
        if self.crop_padding:
            padding = self.crop_padding
            parameters["corner"] = draw_corners(padding, purpose=Purpose.CROP, **this)
            if self.crop_twice:
                again = draw_corners(padding, purpose=Purpose.SECOND_CROP, **this)
                parameters["second_corner"] = again
        if self.horizontal_flip and not self.alternate_flip:
            parameters["flip"] = draw_flips(**this)
        if self.resized_crop:
            parameters |= self.resized_crop.draw(**this)
        if self.has_operations:
            operations, arguments = self._draw_operations(image_shape=image_shape, **this)
            parameters |= {"operations": operations, "arguments": arguments}
        if self.erasing:
            parameters["erase_boxes"] = draw_boxes(
                probability=self.erasing,
                count=self.erasing_count,
                image_shape=image_shape,
                **this,
            )
            parameters["erase_key"] = draw_noise_keys(**this)
        if self.mixing.on:
            parameters |= self.mixing.draw(image_shape=image_shape, **this)
        return parameters

    def _draw_operations(
        self, *, image_shape: tuple[int, ...], **this
    ) -> tuple[tf.Tensor, tf.Tensor]:
        if image_shape[-1] not in (1, 3):
            raise ValueError(f"images must be grey or RGB, got {image_shape[-1]} channels")
        drawn = []
        if self.rand_augment:
            drawn.append(self.rand_augment.draw(image_shape=image_shape, **this))
        if self.auto_augment:
            drawn.append(draw_cifar10_policy(image_shape=image_shape, **this))
        if self.color_jitter:
            drawn.append(draw_color_jitter(self.color_jitter, **this))
        operations, arguments = zip(*drawn, strict=True)
        return tf.concat(operations, axis=1), tf.concat(arguments, axis=1)

    def draw_by_image(self, raw: tf.Tensor, *, seed: int, epoch: int | tf.Tensor) -> Parameters:
        """Parameters that depend on which images there are, (B,) entries of a source."""
        if not (self.horizontal_flip and self.alternate_flip):
            return {}
        return {"flip": draw_alternating_flips(raw, seed=seed, epoch=epoch)}

    def decode(
        self, source: Source, raw: tf.Tensor, parameters: Parameters
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Raw entries (b,) of a source to images and labels, as `Source.decode`.

        The random resized crop happens here, since it cuts from the picture before it is scaled.
        """
        (images,), labels = self.decode_views(source, raw, parameters, (source.image_shape[0],))
        return images, labels

    def decode_views(
        self, source: Source, raw: tf.Tensor, parameters: Parameters, sizes: Sequence[int]
    ) -> tuple[list[tf.Tensor], tf.Tensor]:
        """As `decode`, the same part of each picture at several sizes; see `Source`."""
        if self.resized_crop is None:
            return source.decode_views(raw, sizes)
        drawn = {name: parameters[name] for name in ("crop_area", "crop_ratio", "crop_place")}
        return source.decode_views(raw, sizes, box=self.resized_crop.box, drawn=drawn)

    def at_size(
        self, parameters: Parameters, *, image_size: int, size: int
    ) -> tuple[Augmentation, Parameters]:
        """This recipe and what it drew, for views of another size; see `larger_view`."""
        if size == image_size:
            return self, parameters
        scaled = scaled_parameters(
            parameters,
            padding=self.crop_padding,
            whole_shifts=self.auto_augment,
            image_size=image_size,
            size=size,
        )
        padding = scaled_padding(self.crop_padding, image_size=image_size, size=size)
        return dataclasses.replace(self, crop_padding=padding), scaled

    def apply(self, images: tf.Tensor, parameters: Parameters) -> tf.Tensor:
        """Images (b, H, W, C) uint8 with their b rows of the parameters; same shape and type.

        All but the resized crop (`decode`) and mixing (`mix`).
        """
        corners = [parameters[n] for n in ("corner", "second_corner") if n in parameters]
        flip = parameters.get("flip")
        each = {name: value for name, value in parameters.items() if name in _EACH_IMAGE}
        if each and flip is not None:  # The loop does it at less cost.
            each["flip"], flip = flip, None
        for corner in corners[:-1]:
            images = crop_and_flip(images, padding=self.crop_padding, corner=corner, flip=None)
        if corners or flip is not None:
            last = corners[-1] if corners else None
            images = crop_and_flip(images, padding=self.crop_padding, corner=last, flip=flip)
        return _each_image(self)(images, each) if each else images

    def partners(self, batch_size: int) -> np.ndarray | None:
        """Which image of the global batch each is mixed with, (B,) int64, or None."""
        return partners(batch_size) if self.mixing.on else None

    def mix(
        self,
        images: tf.Tensor,
        targets: tf.Tensor,
        other_images: tf.Tensor,
        other_targets: tf.Tensor,
        parameters: Parameters,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Images and targets (b, K) mixed with those of their partners."""
        mixed = self.mix_images(images, other_images, parameters)
        return mixed, mix_targets(targets, other_targets, parameters)

    def mix_images(
        self, images: tf.Tensor, other_images: tf.Tensor, parameters: Parameters
    ) -> tf.Tensor:
        """Images mixed with those of their partners."""
        drawn = {name: value for name, value in parameters.items() if name.startswith("mix_")}
        return _mixed_images(images, other_images, drawn)

    def _fill(self) -> tuple[int, ...]:
        if self.auto_augment:
            return (FILL,) * len(self.mean)
        return tuple(round(255 * value) for value in self.mean)


# Parameters that belong to the loop over images.
_EACH_IMAGE = ("operations", "arguments", "erase_boxes", "erase_key")

_mixed_images = xla_cache.compiled(mix_images)


@functools.cache
def _each_image(recipe: Augmentation) -> Callable[[tf.Tensor, Parameters], tf.Tensor]:
    """The compiled loop over images of what differs from image to image."""

    def one(row: Parameters) -> tf.Tensor:
        image = row["image"]
        if "flip" in row:
            whole = image
            image = tf.cond(row["flip"], lambda: tf.reverse(whole, (1,)), lambda: whole)
        if "operations" in row:
            image = apply_operations(
                image, row["operations"], row["arguments"], fill=recipe._fill()
            )
        if "erase_boxes" in row:
            image = erase(
                image, row["erase_boxes"], row["erase_key"], mean=recipe.mean, std=recipe.std
            )
        return image

    def loop(images: tf.Tensor, parameters: Parameters) -> tf.Tensor:
        signature = tf.TensorSpec(images.shape[1:], images.dtype)
        return tf.map_fn(one, {"image": images, **parameters}, fn_output_signature=signature)

    return xla_cache.compiled(loop)

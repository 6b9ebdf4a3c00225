"""From the resolved options of augmentation to the recipe of the data pipeline."""

from __future__ import annotations

from typing import Any, TypeVar

from std_keras.config.augmentation import AugmentationOptions, resolved_augmentation
from std_keras.data import Augmentation, DataSet
from std_keras.data.augmentation import Mixing, RandAugment, ResizedCrop
from std_keras.errors import InputError

_Value = TypeVar("_Value")


def create_augmentation(
    options: AugmentationOptions, dataset: DataSet, *, batch_size: int
) -> Augmentation:
    """The recipe of options that `config.resolve` has filled in.

    Args:
        options: which operations, and how strong.
        dataset: gives the shape of the images and their mean and standard deviation.
        batch_size: over all devices; mixing needs two images.

    Raises:
        InputError: for operations that images of this data set cannot go through.
    """
    rand_augment = None
    if options.auto_augment == "rand":
        rand_augment = RandAugment(
            layers=_set(options.rand_augment_layers),
            magnitude=_set(options.rand_augment_magnitude),
            std=_set(options.rand_augment_std),
            probability=_set(options.rand_augment_probability),
            increasing=_set(options.rand_augment_increasing),
        )
    resized_crop = None
    if options.crop == "resized":
        resized_crop = ResizedCrop(scale=_set(options.crop_scale), ratio=_set(options.crop_ratio))
    repeats = _set(options.repeated_augmentation)
    if options.horizontal_flip == "alternate" and repeats > 1:
        raise InputError(
            f"horizontal_flip=alternate: with repeated_augmentation={repeats} an epoch holds an "
            "image several times; use repeated_augmentation=1"
        )
    recipe = Augmentation(
        crop_padding=_set(options.crop_padding) if options.crop == "padded" else 0,
        crop_twice=_set(options.crop_twice),
        resized_crop=resized_crop,
        horizontal_flip=options.horizontal_flip != "no",
        alternate_flip=options.horizontal_flip == "alternate",
        rand_augment=rand_augment,
        auto_augment=options.auto_augment == "cifar10",
        color_jitter=_set(options.color_jitter),
        erasing=_set(options.random_erasing),
        erasing_count=_set(options.random_erasing_count),
        mixing=Mixing(
            mixup_alpha=_set(options.mixup_alpha),
            cutmix_alpha=_set(options.cutmix_alpha),
            probability=_set(options.mix_probability),
            switch_probability=_set(options.mix_switch_probability),
        ),
        mean=dataset.mean,
        std=dataset.std,
    )
    channels = dataset.image_shape[-1]
    if recipe.has_operations and channels not in (1, 3):
        name = "color_jitter" if options.auto_augment == "none" else "auto_augment"
        raise InputError(
            f"{name}={getattr(options, name)} needs grey or RGB images, but "
            f"dataset={dataset.name} has {channels} channels; "
            "use auto_augment=none and color_jitter=0"
        )
    if recipe.mixing.on and batch_size < 2:
        raise InputError(
            f"batch_size={batch_size}: mixup and CutMix mix two images of a batch; use at "
            "least 2, or mixup_alpha=0 and cutmix_alpha=0"
        )
    return recipe


def picture_options(options: AugmentationOptions, *, image_size: int | None) -> dict[str, Any]:
    """How `data.load` has to treat pictures, for options that need not be resolved.

    Args:
        options: which crop they ask for.
        image_size: the side of the images that the user asked for; None for the data set's own.
    """
    size = image_size
    values = resolved_augmentation(options, image_size=size or 1, flip_keeps_class=False)
    return {
        # Without `image_size` all pictures have the size of the images; nothing is scaled.
        "whole_pictures": size is not None and values["crop"] == "resized",
        "eval_crop_ratio": values["eval_crop_ratio"] if size is not None else 1.0,
    }


def _set(value: _Value | None) -> _Value:
    """A value that `config.resolve` must have filled in."""
    if value is None:
        raise ValueError("the configuration is not resolved; call std_keras.config.resolve first")
    return value

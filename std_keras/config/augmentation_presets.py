"""Augmentation presets: the values of all augmentation flags that were not given.

Sources: `deit`: Touvron et al. 2021, arXiv 2012.12877, Table 9, and the defaults of
github.com/facebookresearch/deit with timm; `mixer_cifar`: github.com/omihub777/MLP-Mixer-CIFAR.
"""

from __future__ import annotations

from typing import Any

SMALL_IMAGE = 32
"""Side in pixels up to which DeiT pads and crops instead of cropping and scaling."""

# What a part does once it is switched on, whatever the preset.
_COMMON: dict[str, Any] = {
    "crop": "none",
    "crop_twice": False,
    "crop_scale": 0.08,
    "crop_ratio": 4 / 3,
    "auto_augment": "none",
    "rand_augment_layers": 2,
    "rand_augment_magnitude": 9.0,
    "rand_augment_std": 0.5,
    "rand_augment_probability": 0.5,
    "rand_augment_increasing": True,
    "color_jitter": 0.0,
    "random_erasing": 0.0,
    "random_erasing_count": 1,
    "mixup_alpha": 0.0,
    "cutmix_alpha": 0.0,
    "mix_probability": 1.0,
    "mix_switch_probability": 0.5,
    "label_smoothing": 0.0,
    "repeated_augmentation": 1,
    "eval_crop_ratio": 1.0,
}

# What each switches on; `horizontal_flip` is only a wish, which a data set of characters denies.
_PRESETS: dict[str, dict[str, Any]] = {
    "none": {"horizontal_flip": False},
    "crop_flip": {"horizontal_flip": True, "crop": "padded"},
    "deit": {
        "horizontal_flip": True,
        "crop": "resized",
        "auto_augment": "rand",
        "color_jitter": 0.3,
        "random_erasing": 0.25,
        "mixup_alpha": 0.8,
        "cutmix_alpha": 1.0,
        "label_smoothing": 0.1,
        "repeated_augmentation": 3,
        "eval_crop_ratio": 0.875,
    },
    "mixer_cifar": {
        "horizontal_flip": False,
        "crop": "padded",
        "crop_twice": True,
        "auto_augment": "cifar10",
        "cutmix_alpha": 1.0,
        "mix_probability": 0.5,
        "label_smoothing": 0.1,
    },
}

NAMES = tuple(_PRESETS)


def resolved(
    given: dict[str, Any], *, preset: str, image_size: int, flip_keeps_class: bool
) -> dict[str, Any]:
    """Every augmentation flag with the value it was given, or else the preset's.

    Args:
        given: the augmentation flags by name; None, or `auto` for the flip, if not given.
        preset: one of `NAMES`.
        image_size: side of the images in pixels.
        flip_keeps_class: whether a mirrored image of the data set keeps its class.
    """
    values = {**_COMMON, **_PRESETS[preset]}
    flips = values.pop("horizontal_flip") and flip_keeps_class
    if preset == "deit" and image_size <= SMALL_IMAGE:
        values |= {"crop": "padded", "eval_crop_ratio": 1.0}
    # DeiT's 4 pixels for 32, and as much for other sizes.
    values["crop_padding"] = max(1, image_size // 8)
    chosen = {name: values[name] if given[name] is None else given[name] for name in values}
    # timm leaves colour jitter out beside AutoAugment and RandAugment, unless it is forced.
    if given["color_jitter"] is None and chosen["auto_augment"] != "none":
        chosen["color_jitter"] = 0.0
    flip = given["horizontal_flip"]
    chosen["horizontal_flip"] = flip if flip != "auto" else ("yes" if flips else "no")
    return chosen

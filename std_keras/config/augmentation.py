"""What training does to images before the model sees them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar

from std_keras.config import augmentation_presets as presets
from std_keras.config.option import (
    AUGMENTATION,
    COUNT,
    FRACTION,
    NATURAL,
    PART,
    OptionGroup,
    option_field,
)


@dataclass(frozen=True, kw_only=True)
class AugmentationOptions(OptionGroup):
    """What training does to images before the model sees them; `--help` explains each field."""

    topic: ClassVar[str] = AUGMENTATION

    preset: str = option_field(
        "crop_flip",
        str,
        "Recipe: what the flags below take if they are not given. crop_flip is a padded random "
        "crop and a flip; deit adds RandAugment, erasing, mixup and CutMix; mixer_cifar has "
        "AutoAugment and CutMix.",
        choices=presets.NAMES,
        flag="augmentation",
    )
    crop: str | None = option_field(
        None,
        str,
        "Random crop: after padding, or of a random part that is scaled to the image size.",
        choices=("none", "padded", "resized"),
    )
    crop_padding: int | None = option_field(
        None,
        int,
        "Pixels of zero padding round the image before the random crop; an eighth of the image "
        "size if not given.",
        **NATURAL,
    )
    crop_twice: bool | None = option_field(
        None, bool, "Do the padded crop two times, one after the other."
    )
    crop_scale: float | None = option_field(
        None,
        float,
        "Least part of the picture's area in a resized crop; the greatest is all of it.",
        check=lambda v: 0 < v <= 1,
        wanted="above 0 and at most 1",
    )
    crop_ratio: float | None = option_field(
        None,
        float,
        "Greatest ratio of width to height of a resized crop; the least is its inverse.",
        check=lambda v: v >= 1,
        wanted="at least 1",
    )
    horizontal_flip: str = option_field(
        "auto",
        str,
        "Whether to mirror images at random; auto does what the recipe says, but leaves it out for "
        "digits and house numbers; alternate mirrors each image in every other epoch, a random "
        "half of them in the first.",
        choices=("auto", "yes", "no", "alternate"),
    )
    auto_augment: str | None = option_field(
        None,
        str,
        "Random operations on each image: RandAugment, or AutoAugment's policy for CIFAR-10.",
        choices=("none", "rand", "cifar10"),
    )
    rand_augment_layers: int | None = option_field(
        None, int, "RandAugment: operations drawn for each image.", **COUNT
    )
    rand_augment_magnitude: float | None = option_field(
        None,
        float,
        "RandAugment: magnitude.",
        check=lambda v: 0 <= v <= 10,
        wanted="between 0 and 10",
    )
    rand_augment_std: float | None = option_field(
        None,
        float,
        "RandAugment: standard deviation of the noise on the magnitude.",
        **NATURAL,
    )
    rand_augment_probability: float | None = option_field(
        None, float, "RandAugment: part of the drawn operations applied.", **PART
    )
    rand_augment_increasing: bool | None = option_field(
        None,
        bool,
        "RandAugment: all operations change the image more at a larger magnitude.",
    )
    color_jitter: float | None = option_field(
        None,
        float,
        "Strength of random brightness, contrast and colour; beside --auto_augment only if given.",
        **NATURAL,
    )
    random_erasing: float | None = option_field(
        None, float, "Part of the images that get a box of noise.", **PART
    )
    random_erasing_count: int | None = option_field(
        None, int, "Greatest number of boxes in an image.", **COUNT
    )
    mixup_alpha: float | None = option_field(
        None,
        float,
        "mixup: its weight is drawn from Beta(alpha, alpha); 0 for no mixup.",
        **NATURAL,
    )
    cutmix_alpha: float | None = option_field(
        None, float, "CutMix: likewise; 0 for no CutMix.", **NATURAL
    )
    mix_probability: float | None = option_field(
        None, float, "Part of the batches with mixup or CutMix.", **PART
    )
    mix_switch_probability: float | None = option_field(
        None,
        float,
        "Part of these batches with CutMix, if there are both.",
        **PART,
    )
    label_smoothing: float | None = option_field(
        None, float, "Label mass spread over all classes.", **FRACTION
    )
    repeated_augmentation: int | None = option_field(
        None,
        int,
        "How often an image comes in an epoch, each time augmented anew; an epoch keeps its length "
        "and has fewer images.",
        **COUNT,
    )
    eval_crop_ratio: float | None = option_field(
        None,
        float,
        "Part of the short side that the square of an evaluated picture has; for pictures that "
        "--image_size scales.",
        check=lambda v: 0 < v <= 1,
        wanted="above 0 and at most 1",
    )


def resolved_augmentation(
    options: AugmentationOptions, *, image_size: int, flip_keeps_class: bool
) -> dict[str, Any]:
    """The value of each option that takes part: as given, or else the preset's.

    Args:
        options: as the user gave them.
        image_size: side of the images in pixels.
        flip_keeps_class: whether a mirrored image of the data set keeps its class.
    """
    given = {field.name: getattr(options, field.name) for field in dataclasses.fields(options)}
    preset = given.pop("preset")
    return presets.resolved(
        given, preset=preset, image_size=image_size, flip_keeps_class=flip_keeps_class
    )

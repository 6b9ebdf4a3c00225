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
        "Preset: the defaults of the flags below. crop_flip is a padded random crop and a flip; "
        "deit adds RandAugment, random erasing, mixup and CutMix; mixer_cifar has AutoAugment and "
        "CutMix.",
        choices=presets.NAMES,
        flag="augmentation",
    )
    crop: str | None = option_field(
        None,
        str,
        "Random crop: padded crops the zero-padded image; resized crops a random area and "
        "resizes it to the image size.",
        choices=("none", "padded", "resized"),
    )
    crop_padding: int | None = option_field(
        None,
        int,
        "Pixels of zero padding on each side before the random crop; an eighth of the image size "
        "if not given.",
        **NATURAL,
    )
    crop_twice: bool | None = option_field(None, bool, "Apply the padded crop twice in a row.")
    crop_scale: float | None = option_field(
        None,
        float,
        "Smallest area of a resized crop, as a fraction of the image's; the largest is all of it.",
        check=lambda v: 0 < v <= 1,
        wanted="above 0 and at most 1",
    )
    crop_ratio: float | None = option_field(
        None,
        float,
        "Largest aspect ratio (width / height) of a resized crop; the smallest is its inverse.",
        check=lambda v: v >= 1,
        wanted="at least 1",
    )
    horizontal_flip: str = option_field(
        "auto",
        str,
        "Flip images horizontally: yes at random, alternate each image in every other epoch (a "
        "random half of them in the first); auto follows the preset, except for digits, letters "
        "and house numbers, which are not flipped.",
        choices=("auto", "yes", "no", "alternate"),
    )
    auto_augment: str | None = option_field(
        None,
        str,
        "Random operations on each image: RandAugment, or AutoAugment's policy for CIFAR-10.",
        choices=("none", "rand", "cifar10"),
    )
    rand_augment_layers: int | None = option_field(
        None, int, "RandAugment: operations per image.", **COUNT
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
        None, float, "RandAugment: probability that a drawn operation is applied.", **PART
    )
    rand_augment_increasing: bool | None = option_field(
        None,
        bool,
        "RandAugment: make every operation stronger with increasing magnitude.",
    )
    color_jitter: float | None = option_field(
        None,
        float,
        "Strength of random brightness, contrast and colour; with --auto_augment it is used only "
        "if given.",
        **NATURAL,
    )
    random_erasing: float | None = option_field(
        None, float, "Probability that boxes of an image are replaced by noise.", **PART
    )
    random_erasing_count: int | None = option_field(
        None, int, "Largest number of erased boxes per image.", **COUNT
    )
    mixup_alpha: float | None = option_field(
        None,
        float,
        "mixup: the mixing weight is drawn from Beta(alpha, alpha); 0 turns mixup off.",
        **NATURAL,
    )
    cutmix_alpha: float | None = option_field(
        None,
        float,
        "CutMix: the mixing weight is drawn from Beta(alpha, alpha); 0 turns CutMix off.",
        **NATURAL,
    )
    mix_probability: float | None = option_field(
        None, float, "Probability that a batch is mixed by mixup or CutMix.", **PART
    )
    mix_switch_probability: float | None = option_field(
        None,
        float,
        "Probability that a mixed batch uses CutMix instead of mixup, if both are on.",
        **PART,
    )
    label_smoothing: float | None = option_field(
        None, float, "Label smoothing: probability spread evenly over all classes.", **FRACTION
    )
    repeated_augmentation: int | None = option_field(
        None,
        int,
        "Times that each image appears in an epoch, each time with a new augmentation; an epoch "
        "keeps its length and covers fewer images.",
        **COUNT,
    )
    eval_crop_ratio: float | None = option_field(
        None,
        float,
        "Evaluation: side of the central square crop, as a fraction of the shorter side; for "
        "images that --image_size resizes.",
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

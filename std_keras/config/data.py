"""Where images come from, and how they are held."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from std_keras.config.option import (
    COUNT,
    DATA,
    FRACTION,
    NATURAL,
    OptionGroup,
    option_field,
)


@dataclass(frozen=True, kw_only=True)
class DataOptions(OptionGroup):
    """Where images come from, and how they are held; `--help` explains each field."""

    topic: ClassVar[str] = DATA

    dataset: str = option_field(
        "digits",
        str,
        "digits, the name of a TFDS data set (cifar100, imagenette/160px-v2), or folder:PATH with "
        "one folder per class under train/ and val/.",
    )
    data_dir: str | None = option_field(
        None, str, "Where TFDS keeps its prepared data sets.", shapes_result=False
    )
    image_size: int | None = option_field(
        None, int, "Height and width in pixels; the data set's own if not given.", **COUNT
    )
    validation_fraction: float = option_field(
        0.0,
        float,
        "Part of the train split that is held out, watched, and used to choose a best model.",
        **FRACTION,
    )
    corrupt_images: str = option_field(
        "refuse",
        str,
        "What to do about unreadable images of folder: data.",
        choices=("refuse", "skip"),
    )
    max_train_examples: int = option_field(
        0, int, "Train on this many examples only; 0 for all. For dry runs.", **NATURAL
    )
    max_test_examples: int = option_field(
        0, int, "Test on this many examples only; 0 for all. For dry runs.", **NATURAL
    )
    cache_gb: float = option_field(
        4.0,
        float,
        "Data sets up to this size (decoded, in GiB) are held in memory; larger ones are streamed.",
        **NATURAL,
    )
    data_seed: int = option_field(
        0, int, "Seed of the order of the data and of the augmentation.", **NATURAL
    )
    augmentation_views: int = option_field(
        0,
        int,
        "Augment the data of this many epochs anew and repeat them from then on, so that their "
        "teacher labels (--teacher_cache) serve any number of epochs; 0 to augment all anew.",
        **NATURAL,
    )

"""Where images come from, and how they are stored."""

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
    """Where images come from, and how they are stored; `--help` explains each field."""

    topic: ClassVar[str] = DATA

    dataset: str = option_field(
        "digits",
        str,
        "digits, the name of a TFDS data set (cifar100, imagenette/160px-v2), folder:PATH with one "
        "folder per class under train/ and val/ (or without them, see --test_fraction), "
        "csv:FILE with the columns path,label and maybe split, parquet:PATH with those or with "
        "images as the Hugging Face hub stores them, hf:ORG/NAME as its datasets library has it "
        "in its cache (or hf:FOLDER), or FILE.npz with images and labels.",
    )
    data_dir: str | None = option_field(
        None, str, "Directory of the prepared TFDS data sets.", shapes_result=False
    )
    image_size: int | None = option_field(
        None, int, "Height and width in pixels; the data set's own if not given.", **COUNT
    )
    validation_fraction: float = option_field(
        0.0,
        float,
        "Fraction of each class of the train split to hold out for validation and for choosing the "
        "best model.",
        **FRACTION,
    )
    test_fraction: float = option_field(
        0.0,
        float,
        "Fraction of each class to hold out as the test split of a data set without one.",
        **FRACTION,
    )
    test_seed: int = option_field(
        0,
        int,
        "Seed of --test_fraction; apart from --data_seed, so that a teacher and its student, and "
        "runs with other seeds, are tested on the same images.",
        **NATURAL,
    )
    corrupt_images: str = option_field(
        "refuse",
        str,
        "What to do with unreadable images of folder:, csv:, parquet: and hf: data.",
        choices=("refuse", "skip"),
    )
    max_train_examples: int = option_field(
        0, int, "Train on at most this many examples, for dry runs; 0 for all.", **NATURAL
    )
    max_test_examples: int = option_field(
        0, int, "Test on at most this many examples, for dry runs; 0 for all.", **NATURAL
    )
    cache_gb: float = option_field(
        4.0,
        float,
        "Data sets up to this size (decoded, in GiB, with the larger views that teachers see) are "
        "cached in memory; larger ones are streamed.",
        **NATURAL,
    )
    decoded_dir: str = option_field(
        "auto",
        str,
        "Folder that keeps decoded images for the next start; auto for std_keras/decoded in the "
        "user's cache folder (at most 4 GiB), none for nowhere.",
        shapes_result=False,
    )
    data_seed: int = option_field(0, int, "Seed of the shuffling and the augmentation.", **NATURAL)
    augmentation_views: int = option_field(
        0,
        int,
        "Number of epochs with new augmentations, which are then repeated, so that cached teacher "
        "predictions (--teacher_cache) serve any number of epochs; 0 augments every epoch anew.",
        **NATURAL,
    )

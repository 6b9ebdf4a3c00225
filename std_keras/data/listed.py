"""Parts that are lists of image files with labels: read, checked, and cut where one is missing."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import IO

import numpy as np
from PIL import Image

from std_keras.data.decoded_images import DecodedImages
from std_keras.data.file_identities import file_identities
from std_keras.data.files import FileSource
from std_keras.data.loaded import Loaded, TestPart
from std_keras.data.randomness import derive_seed
from std_keras.data.source import IndexedSource, Progress, held_out_purpose
from std_keras.data.stratified import held_out_rows
from std_keras.errors import InputError

Part = tuple[Sequence[str], np.ndarray]
"""Paths (n,) and labels (n,)."""

SKIP = ", or pass corrupt_images=skip"
"""What an error advises those who have that option."""

LOOKED_AT = 256  # Pictures whose size is read for the log.


def load_listed(
    parts: Mapping[str, Part],
    *,
    label_names: tuple[str, ...],
    origins: Mapping[str, str],
    flag: str,
    image_size: int,
    cache_bytes: float,
    corrupt_images: str,
    eval_crop_ratio: float,
    whole_pictures: bool,
    test_part: TestPart,
    kept_images: DecodedImages,
    progress: Progress,
) -> Loaded:
    """Reads the parts `train`, `test` and `validation`, of which `test_part` makes the second.

    Images are decoded once, in parallel, if that takes at most `cache_bytes`, else read while
    training; `whole_pictures` leaves train to be read while training. The squares of the other
    parts have `eval_crop_ratio` of a picture's short side. What is decoded once is kept in
    `kept_images` for the next time.

    Raises:
        InputError: for a part without images, and for unreadable images. With
            corrupt_images="skip" they are left out; then images that are to be read while training
            are all decoded once beforehand.
    """
    origins = dict(origins)
    if "test" not in parts:
        parts, origins = _with_test_part(parts, origins, test_part=test_part, flag=flag)
    sources = {}
    for part, (paths, labels) in parts.items():
        ratio = 1.0 if part == "train" else eval_crop_ratio
        sources[part] = FileSource(paths, labels, image_size=image_size, crop_ratio=ratio)

    total_bytes = sum(source.size for source in sources.values()) * image_size**2 * 3
    kept: dict[str, IndexedSource] = {}
    corrupt: list[str] = []
    for part, source in sources.items():
        if total_bytes <= cache_bytes and not (whole_pictures and part == "train"):
            kept[part], bad = source.read_all(
                kept_images=kept_images, progress=progress, what=f"reading {part} images"
            )
        else:
            # What is unreadable must be known before the first epoch, or its length would change.
            bad = source.find_corrupt(
                thorough=corrupt_images == "skip",
                kept_images=kept_images,
                progress=progress,
                what=f"checking {part} images",
            )
            kept[part] = source.without(bad)
        corrupt += [name for name in bad if name not in corrupt]
    if corrupt and corrupt_images == "refuse":
        raise InputError(
            f"{flag}: {len(corrupt)} of {sum(s.size for s in sources.values())} images cannot be "
            f"decoded ({some(corrupt)}); repair or remove them{SKIP}"
        )
    for part, readable in kept.items():
        if not readable.size:
            raise InputError(
                f"{flag}: none of the images of the {part} part ({origins[part]}) can be decoded"
            )
    return Loaded(
        label_names=label_names,
        train=kept["train"],
        test=kept["test"],
        origins=origins,
        validation=kept.get("validation"),
        skipped=tuple(corrupt),
        sides=short_sides([path for paths, _ in parts.values() for path in paths]),
    )


def _with_test_part(
    parts: Mapping[str, Part], origins: Mapping[str, str], *, test_part: TestPart, flag: str
) -> tuple[dict[str, Part], dict[str, str]]:
    """The parts, with a test part that is cut from train."""
    paths, labels = np.asarray(parts["train"][0], dtype=object), np.asarray(parts["train"][1])
    source = origins["train"]
    if test_part.whole:
        return {**parts, "test": parts["train"]}, {**origins, "test": f"{source}, all of it"}
    rows = held_out_rows(
        labels,
        file_identities(paths),
        fraction=test_part.fraction,
        seed=derive_seed(test_part.seed, held_out_purpose("test_fraction")),
    )
    if not len(rows):
        raise InputError(
            f"test_fraction={test_part.fraction:g}: none of the {len(labels)} images of {flag} "
            "would be held out, for each class keeps at least one; use a larger fraction, or add "
            "images"
        )
    rest = np.setdiff1d(np.arange(len(labels)), rows)
    return (
        {
            **parts,
            "train": (paths[rest].tolist(), labels[rest]),
            "test": (paths[rows].tolist(), labels[rows]),
        },
        {
            **origins,
            "train": f"the rest of {source}",
            "test": test_part.origin(source),
        },
    )


def short_sides(files: Sequence[str | IO[bytes]]) -> tuple[int, ...]:
    """The shorter sides of some pictures, as their headers say, ascending."""
    sides = []
    for path in files[:: max(1, -(-len(files) // LOOKED_AT))]:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # About sizes and metadata, as `picture_file`.
                with Image.open(path) as picture:
                    sides.append(min(picture.size))
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            pass  # Unreadable pictures are reported elsewhere.
    return tuple(sorted(sides))


def some(names: Sequence[str], *, most: int = 3) -> str:
    """The first names, and how many more there are."""
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest

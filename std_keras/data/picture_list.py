"""Pictures that a table lists with their labels: what every kind of table becomes."""

from __future__ import annotations

import dataclasses
import os
import unicodedata
from collections.abc import Sequence
from typing import Any

import numpy as np

from std_keras.data.decoded_images import NOT_KEPT, DecodedImages
from std_keras.data.label_names import in_order, numbered, usable
from std_keras.data.listed import Part, load_listed, some
from std_keras.data.loaded import Loaded, TestPart
from std_keras.data.source import Progress, no_progress
from std_keras.errors import InputError

SPLITS = {
    "train": "train",
    "test": "test",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
}
"""What tables call the parts, and their names here."""


@dataclasses.dataclass(frozen=True)
class PictureList:
    """A table's rows.

    Attributes:
        flag: what the user named, for errors.
        rows: path (as it is written), class name and part of every picture.
        folder: what the paths are relative to.
        label_names: the classes in the order of their numbers.
        unit: what the table calls a row.
        numbers: of the class of every row, where two classes may have one name; None where the
            name tells it.
    """

    flag: str
    rows: Sequence[tuple[str, str, str]]
    folder: str
    label_names: tuple[str, ...]
    unit: str = "line"
    numbers: Sequence[int] | None = None

    def located(self, path: str) -> str:
        """The place of a picture."""
        return located(path, self.folder)


def located(path: str, folder: str) -> str:
    """The place of a picture that a table in a folder calls `path`.

    The file may have the other spelling of Unicode, if the table was made on another system.
    """
    place = os.path.join(folder, os.path.expanduser(path))
    if not place.isascii() and not os.path.exists(place):
        for form in ("NFC", "NFD"):
            other = os.path.join(folder, unicodedata.normalize(form, os.path.expanduser(path)))
            if os.path.exists(other):
                return other
    return place


Row = tuple[str, Any, str]
"""Path, label as it is written, part."""


def labelled(
    rows: Sequence[Row], names: Sequence[str] | None, *, flag: str, folder: str
) -> PictureList:
    """The rows of a table whose labels are names, or whole numbers, of which `names` may be.

    A part without labels (null or -1) is left out.

    Raises:
        InputError: for a label that is missing or has no name, and for pictures that are not there.
    """
    found = _named(_without_unlabelled(rows, flag=flag), names, flag=flag, folder=folder)
    missing = [path for path, _, _ in found.rows if not os.path.isfile(found.located(path))]
    if missing:
        raise InputError(
            f"{flag}: {len(missing)} of {len(found.rows)} files are not there: {some(missing)}"
        )
    return found


def _without_unlabelled(rows: Sequence[Row], *, flag: str) -> list[Row]:
    """The rows of all parts that have labels, as a test part that was published may not.

    Raises:
        InputError: if a part has some labels, or none has any.
    """
    lacking = {split: 0 for _, _, split in rows}
    for _, label, split in rows:
        lacking[split] += label in (None, -1, "")
    counts = {split: sum(row[2] == split for row in rows) for split in lacking}
    for split, count in lacking.items():
        if 0 < count < counts[split]:
            raise InputError(
                f"{flag}: {count} of {counts[split]} rows of the split {split} have no label"
            )
    kept = [row for row in rows if not lacking[row[2]]]
    if not kept:
        raise InputError(f"{flag}: has no rows with labels")
    return kept


def _named(
    rows: Sequence[Row], names: Sequence[str] | None, *, flag: str, folder: str
) -> PictureList:
    """The rows with class names instead of numbers.

    Args:
        rows: with names or whole numbers as labels.
        names: of the numbers; None if there are none.
        flag: what the user named, for errors.
        folder: of the paths.

    Raises:
        InputError: for a number without a name.
    """
    found: set[Any] = {label for _, label, _ in rows}
    numbers: Sequence[int] | None = None
    called = {label: usable(str(label), what=f"{flag}: a row has the label") for label in found}
    if not all(isinstance(label, int) for label in found):
        names = in_order(called.values())
    elif names is None:
        names = [called[label] for label in sorted(found)]
    else:
        names = numbered(names, flag=flag)
        called = dict(enumerate(names))
        outside = sorted(found - set(called))
        if outside:
            raise InputError(f"{flag}: has the label {outside[0]}, but {len(names)} class names")
        numbers = [label for _, label, _ in rows]
    return PictureList(
        flag,
        [(path, called[label], part) for path, label, part in rows],
        folder,
        tuple(names),
        "row",
        numbers,
    )


def load_picture_list(
    table: PictureList,
    *,
    image_size: int,
    cache_bytes: float,
    corrupt_images: str,
    eval_crop_ratio: float = 1.0,
    whole_pictures: bool = False,
    test_part: TestPart,
    kept_images: DecodedImages = NOT_KEPT,
    progress: Progress = no_progress,
) -> Loaded:
    """The parts of a table; see `load_listed`.

    Without test rows, the validation rows are the test part, as val/ of `folder:` is; without
    either the test part is cut by `test_part`.

    Raises:
        InputError: for a table without train rows, or unreadable images (with
            corrupt_images="skip" they are left out).
    """
    flag, unit = table.flag, table.unit
    numbers = table.numbers
    if numbers is None:
        known = {name: i for i, name in enumerate(table.label_names)}
        numbers = [known[label] for _, label, _ in table.rows]
    listed: dict[str, tuple[list[str], list[int]]] = {}
    for (path, _, split), number in zip(table.rows, numbers, strict=True):
        paths, labels = listed.setdefault(split, ([], []))
        paths.append(table.located(path))
        labels.append(number)
    if "train" not in listed:
        raise InputError(f"{flag}: no {unit} has the split train")
    origins = {part: f"the {unit}s with split {part}" for part in listed}
    if list(listed) == ["train"]:
        origins = {"train": "the list"}
        test_part.require(flag, f"has no {unit}s with split test")
    elif "test" not in listed:
        listed["test"], origins["test"] = listed.pop("validation"), origins.pop("validation")
    if "test" in listed:
        test_part.refuse_other(flag, origins["test"])
    parts: dict[str, Part] = {part: (p, np.asarray(n)) for part, (p, n) in listed.items()}
    return load_listed(
        parts,
        label_names=table.label_names,
        origins=origins,
        flag=flag,
        image_size=image_size,
        cache_bytes=cache_bytes,
        corrupt_images=corrupt_images,
        eval_crop_ratio=eval_crop_ratio,
        whole_pictures=whole_pictures,
        test_part=test_part,
        kept_images=kept_images,
        progress=progress,
    )

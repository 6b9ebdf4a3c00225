"""One's own images: a table of paths and labels."""

from __future__ import annotations

import csv
import os

import numpy as np

from std_keras.data.decoded_images import NOT_KEPT, DecodedImages
from std_keras.data.listed import Part, load_listed, some
from std_keras.data.loaded import Loaded, TestPart
from std_keras.data.source import Progress, no_progress
from std_keras.errors import InputError

_SPLITS = {"train": "train", "test": "test", "val": "validation", "validation": "validation"}


def load_csv(
    file: str,
    *,
    image_size: int | None,
    cache_bytes: float,
    corrupt_images: str,
    eval_crop_ratio: float = 1.0,
    whole_pictures: bool = False,
    test_part: TestPart,
    kept_images: DecodedImages = NOT_KEPT,
    progress: Progress = no_progress,
) -> Loaded:
    """A CSV file (UTF-8) whose first line names the columns `path`, `label` and maybe `split`.

    Paths are relative to the file's folder. Label names are sorted. A split is train, test or
    validation (val); without test rows, the validation rows are the test part, as val/ of
    `folder:` is; without either, or without the column, the test part is cut by `test_part`. See
    `load_listed`.

    Raises:
        InputError: for a file or line that cannot be used, files that are missing, or unreadable
            images (with corrupt_images="skip" they are left out).
    """
    flag = f"dataset=csv:{file}"
    if image_size is None:
        raise InputError(f"`image_size` is needed for csv: data ({flag}), e.g. image_size=224")
    rows = read_rows(file)
    folder = os.path.dirname(os.path.expanduser(file))
    label_names = _label_names(rows)
    numbers = {name: i for i, name in enumerate(label_names)}
    listed: dict[str, tuple[list[str], list[int]]] = {}
    for path, label, split in rows:
        paths, labels = listed.setdefault(split, ([], []))
        paths.append(located(path, folder))
        labels.append(numbers[label])
    if "train" not in listed:
        raise InputError(f"{flag}: no line has the split train")
    origins = {part: f"the lines with split {part}" for part in listed}
    if list(listed) == ["train"]:
        origins = {"train": "the list"}
        test_part.require(flag, "has no lines with split test")
    elif "test" not in listed:
        listed["test"], origins["test"] = listed.pop("validation"), origins.pop("validation")
    if "test" in listed:
        test_part.refuse_other(flag, origins["test"])
    parts: dict[str, Part] = {part: (p, np.asarray(n)) for part, (p, n) in listed.items()}
    return load_listed(
        parts,
        label_names=label_names,
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


def csv_label_names(file: str) -> tuple[str, ...]:
    """The names that `load_csv` gives to the classes.

    Raises:
        InputError: for a file or line that cannot be used, and for pictures that are not there.
    """
    return _label_names(read_rows(file))


def _label_names(rows: list[tuple[str, str, str]]) -> tuple[str, ...]:
    return tuple(sorted({label for _, label, _ in rows}))


def located(path: str, folder: str) -> str:
    """The place of a picture that a line names, relative to the file's folder or absolute."""
    return os.path.join(folder, os.path.expanduser(path))


def read_rows(file: str) -> list[tuple[str, str, str]]:
    """Path (as it is written), label and split of every line.

    Raises:
        InputError: for a file or line that cannot be used, and for pictures that are not there.
    """
    flag = f"dataset=csv:{file}"
    file = os.path.expanduser(file)
    folder = os.path.dirname(file)
    found, missing = [], []
    try:
        with open(file, encoding="utf-8-sig", newline="") as lines:
            table = csv.DictReader(lines, skipinitialspace=True)
            columns = {(name or "").strip().lower(): name for name in table.fieldnames or ()}
            if not {"path", "label"} <= set(columns):
                raise InputError(
                    f"{flag}: the first line must name the columns, path,label or "
                    f"path,label,split; it is {','.join(table.fieldnames or ())!r}"
                )
            for row in table:
                path, label = ((row[columns[name]] or "").strip() for name in ("path", "label"))
                split = (row[columns["split"]] or "").strip() if "split" in columns else "train"
                if not path or not label:
                    raise InputError(f"{flag}: line {table.line_num} lacks a path or a label")
                if split.lower() not in _SPLITS:
                    raise InputError(
                        f"{flag}: line {table.line_num} has the split {split!r}; it must be "
                        "train, test or validation"
                    )
                found.append((path, label, _SPLITS[split.lower()]))
                if not os.path.isfile(located(path, folder)):
                    missing.append(f"{located(path, folder)} (line {table.line_num})")
    except OSError as error:
        raise InputError(f"{flag}: cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{flag}: is not a CSV file in UTF-8: {error}") from error
    if not found:
        raise InputError(f"{flag}: has no lines but the first")
    if missing:
        raise InputError(
            f"{flag}: {len(missing)} of {len(found)} files are not there: {some(missing)}"
        )
    return found

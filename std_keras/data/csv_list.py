"""One's own images: a table of paths and labels, as text."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path

from std_keras.data.label_names import in_order, usable
from std_keras.data.listed import some
from std_keras.data.picture_list import SPLITS, PictureList, located
from std_keras.errors import InputError
from std_keras.files.texts import read_text


def read_csv(file: str) -> PictureList:
    """A CSV file whose first line names the columns `path`, `label` and maybe `split`.

    Paths are relative to the file's folder. Label names are sorted, see `in_order`. A split is
    train, test or validation (val); without the column, all lines are train.

    Raises:
        InputError: for a file or line that cannot be used, and for pictures that are not there.
    """
    flag = f"dataset=csv:{file}"
    rows = _read_rows(file, flag=flag)
    names = in_order(label for _, label, _ in rows)
    return PictureList(flag, rows, os.path.dirname(os.path.expanduser(file)), names)


def _read_rows(file: str, *, flag: str) -> list[tuple[str, str, str]]:
    """Path (as it is written), label and split of every line.

    Raises:
        InputError: for a file or line that cannot be used, and for pictures that are not there.
    """
    file = os.path.expanduser(file)
    folder = os.path.dirname(file)
    try:
        text = read_text(Path(file))
    except OSError as error:
        raise InputError(f"{flag}: cannot be read: {error.strerror}") from error
    except ValueError as error:  # Not UTF-8, or a path with a null character.
        raise InputError(f"{flag}: is not a CSV file in UTF-8 or UTF-16: {error}") from error
    found, missing = [], []
    try:
        table = csv.DictReader(io.StringIO(text, newline=""), skipinitialspace=True)
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
            if split.lower() not in SPLITS:
                raise InputError(
                    f"{flag}: line {table.line_num} has the split {split!r}; it must be "
                    "train, test or validation"
                )
            label = usable(label, what=f"{flag}: line {table.line_num} has the label")
            found.append((path, label, SPLITS[split.lower()]))
            if not os.path.isfile(located(path, folder)):
                missing.append(f"{located(path, folder)} (line {table.line_num})")
    except csv.Error as error:
        raise InputError(f"{flag}: is not a CSV file in UTF-8 or UTF-16: {error}") from error
    if not found:
        raise InputError(f"{flag}: has no lines but the first")
    if missing:
        raise InputError(
            f"{flag}: {len(missing)} of {len(found)} files are not there: {some(missing)}"
        )
    return found

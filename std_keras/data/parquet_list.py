"""Images in Parquet files: lists of paths and labels, and image sets of the Hugging Face hub.

The hub's files hold the pictures themselves. They are unpacked once, to a cache, and are files like
all others from there on: upright, RGB, skipped or refused, compared.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from std_keras.data.picture_cache import PictureCache, file_states
from std_keras.data.picture_list import SPLITS, PictureList, Row, labelled
from std_keras.errors import DISK_FAULTS, InputError, reason_of
from std_keras.extras import imported
from std_keras.files.paths import user_path
from std_keras.files.whole_file import UnreadableWholeError, check_is_file

SUFFIX = ".parquet"
_IMAGES, _LABELS = ("image", "img"), ("label", "labels")
_PATH, _SPLIT = "path", "split"
_AT_ONCE = 64  # Rows; pictures of some megabytes may be among them.
_BY_SPLIT = re.compile(r"([a-z]+)(?![a-z])", re.IGNORECASE)


def find_parquet(place: str) -> None:
    """Raises InputError if there is no such file, or no folder of such files."""
    _files(user_path(place), flag=f"dataset=parquet:{place}")


def read_parquet(place: str) -> PictureList:
    """A Parquet file with `path` or `image`, `label` and maybe `split`; or a folder of such files.

    `path` is that of a picture, relative to the file's folder. `image` is a picture itself, as the
    hub stores it: `bytes`, and maybe `path`, its name. Of a folder, or `data/` in it, the files are
    read whose names begin with a split: `train-00000-of-00002.parquet`, `test.parquet`. Labels are
    names or whole numbers; numbers that the file gives names (the hub's `ClassLabel`) have these.
    A split without labels (null or -1) is left out.

    Raises:
        InputError: if pyarrow is missing, for files that cannot be used, and for pictures that are
            not there.
    """
    flag = f"dataset=parquet:{place}"
    arrow: Any = imported("pyarrow.parquet", needed_by=flag)
    files = _files(user_path(place), flag=flag)
    for file, _ in files:
        try:
            check_is_file(file)
        except UnreadableWholeError as error:
            raise InputError(f"{flag}: {file.name} {error}") from error
    cache = PictureCache(file_states(file for file, _ in files))
    rows: list[Row] = []
    names: Sequence[str] | None = None
    embedded: set[bool] = set()
    if cache.there:
        rows, names = cache.read(flag=flag)
        embedded.add(True)
    else:
        with cache:
            for file, split in files:
                with _readable(file, flag=flag), arrow.ParquetFile(file) as table:
                    columns = _Columns(table.schema_arrow, split, flag=flag, file=file)
                    embedded.add(columns.image is not None)
                    names = names or columns.label_names
                    if split is not None and columns.unlabelled(table):
                        rows.append(("", None, split))  # It is left out: nothing is unpacked.
                        continue
                    rows += columns.rows(table, cache)
            if True in embedded:
                cache.keep(rows, names)
    if len(embedded) > 1:
        raise InputError(f"{flag}: some of its files hold pictures, others paths; name one of them")
    folder = cache.folder if True in embedded else files[0][0].parent
    return labelled(rows, names, flag=flag, folder=str(folder))


class _Columns:
    """Which column of a file holds what."""

    def __init__(self, schema: Any, split: str | None, *, flag: str, file: Path) -> None:
        types = schema.types
        kinds = {name: types[index] for index, name in enumerate(schema.names)}
        self._where = f"{flag}: {file.name}"
        self._stem = file.stem
        have = f"has the columns {', '.join(kinds) or 'none'}"
        self.image = next((name for name in _IMAGES if _is_image(kinds.get(name))), None)
        self.label = next((name for name in _LABELS if name in kinds), None)
        if (self.image is None and _PATH not in kinds) or self.label is None:
            raise InputError(
                f"{self._where} {have}; it must have `label`, and `path` or `image` (of "
                "pictures as the Hugging Face hub stores them, bytes and path)"
            )
        self.split = split
        self.wanted = [self.image or _PATH, self.label]
        if split is None and _SPLIT in kinds:
            self.wanted.append(_SPLIT)
        self.label_names = _label_names(schema.metadata or {}, self.label)

    def batches(self, table: Any) -> Iterator[list[tuple[Any, Any, str]]]:
        """Image or path, label and part of some rows at a time."""
        row = 0
        for batch in table.iter_batches(batch_size=_AT_ONCE, columns=self.wanted):
            found = []
            values = [batch.column(name).to_pylist() for name in self.wanted]
            for first, label, *split in zip(*values, strict=True):
                row += 1
                part = self._part(split[0], row) if split else self.split or "train"
                if isinstance(label, bool) or not isinstance(label, int | str | None):
                    raise InputError(
                        f"{self._where}: row {row} has the label {label!r}; labels must be whole "
                        "numbers or names"
                    )
                found.append((first, label, part))
            yield found

    def unlabelled(self, table: Any) -> bool:
        """Whether no row has a label, as in the test parts of competitions."""
        labels = table.read(columns=[self.label]).column(0).to_pylist()
        return all(label in (None, -1, "") for label in labels)

    def rows(self, table: Any, cache: PictureCache) -> Iterator[Row]:
        """The rows; pictures are written to the cache."""
        number = 0
        for batch in self.batches(table):
            for first, label, split in batch:
                number += 1
                if self.image is not None:
                    first = cache.write(first, name=f"{self._stem}/{number}")
                elif not isinstance(first, str) or not first:
                    raise InputError(f"{self._where}: row {number} lacks a path")
                yield first, label, split

    def _part(self, split: Any, row: int) -> str:
        if str(split).lower() not in SPLITS:
            raise InputError(
                f"{self._where}: row {row} has the split {split!r}; it must be train, test or "
                "validation"
            )
        return SPLITS[str(split).lower()]


@contextlib.contextmanager
def _readable(file: Path, *, flag: str) -> Iterator[None]:
    """Turns what Arrow raises for files that are none into an InputError."""
    try:
        yield
    except (ValueError, OSError, MemoryError, TypeError, KeyError) as error:
        if isinstance(error, OSError) and error.errno in DISK_FAULTS:
            raise
        raise InputError(
            f"{flag}: {file.name} cannot be read as Parquet: {reason_of(error)}"
        ) from error


def _files(place: Path, *, flag: str) -> list[tuple[Path, str | None]]:
    """The files with their parts; None for a file that says it row by row."""
    if place.exists() and not place.is_dir():
        return [(place, None)]
    if not place.is_dir():
        raise InputError(f"{flag}: {place} is not there; name a Parquet file, or a folder of them")
    found: list[tuple[Path, str | None]] = []
    for folder in (place, place / "data"):
        for file in sorted(folder.glob(f"*{SUFFIX}")):
            word = _BY_SPLIT.match(file.name)
            if word is not None and word[1].lower() in SPLITS:
                found.append((file, SPLITS[word[1].lower()]))
        if found:
            return found
    raise InputError(
        f"{flag}: {place} has no Parquet files that are called after a split, such as "
        "train-00000-of-00001.parquet; name one file, or a folder of such files"
    )


def _is_image(kind: Any) -> bool:
    """Whether a column has pictures: a structure with `bytes`."""
    # Only a structure finds its fields by name; a list has one, too.
    return hasattr(kind, "get_field_index") and kind.get_field_index("bytes") >= 0


def _label_names(metadata: dict[bytes, bytes], label: str) -> tuple[str, ...] | None:
    """The names that the hub's files give to the numbers."""
    try:
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
        names = features[label]["names"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return None
    return tuple(map(str, names)) if isinstance(names, list) and names else None

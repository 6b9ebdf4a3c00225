"""Images in Parquet files: lists of paths and labels, and image sets of the Hugging Face hub.

The hub's files hold the pictures themselves. They are unpacked once, to a cache, and are files like
all others from there on: upright, RGB, skipped or refused, compared.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from std_keras.data.label_names import numbered, usable
from std_keras.data.listed import some
from std_keras.data.picture_list import SPLITS, PictureList
from std_keras.errors import DISK_FAULTS, InputError
from std_keras.files.paths import user_path

SUFFIX = ".parquet"
_IMAGES, _LABELS = ("image", "img"), ("label", "labels")
_PATH, _SPLIT = "path", "split"
_AT_ONCE = 64  # Rows; pictures of some megabytes may be among them.
_BY_SPLIT = re.compile(r"([a-z]+)(?![a-z])", re.IGNORECASE)
_ENDING = re.compile(r"\.\w{1,5}")
_ROWS = "rows.json"
_INSTALL = "pip install 'std_keras[parquet]'"

Row = tuple[str, Any, str]
"""Path, label as it is written, part."""


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
    arrow = _arrow(flag)
    files = _files(user_path(place), flag=flag)
    cache = PictureCache(_state(files))
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
                    rows += columns.rows(table, cache)
            if True in embedded:
                cache.keep(rows, names)
    if len(embedded) > 1:
        raise InputError(f"{flag}: some of its files hold pictures, others paths; name one of them")
    folder = cache.folder if True in embedded else files[0][0].parent
    kept = without_unlabelled(rows, flag=flag)
    found = named(kept, names, flag=flag, folder=str(folder))
    missing = [path for path, _, _ in found.rows if not os.path.isfile(found.located(path))]
    if missing:
        raise InputError(
            f"{flag}: {len(missing)} of {len(found.rows)} files are not there: {some(missing)}"
        )
    return found


def without_unlabelled(rows: Sequence[Row], *, flag: str) -> list[Row]:
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


def named(
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
    called = {label: usable(str(label), what=f"{flag}: a row has the label") for label in found}
    if not all(isinstance(label, int) for label in found):
        names = sorted({*called.values()})
    elif names is None:
        names = [called[label] for label in sorted(found)]
    else:
        names = numbered(names, flag=flag)
        called = dict(enumerate(names))
        outside = sorted(found - set(called))
        if outside:
            raise InputError(f"{flag}: has the label {outside[0]}, but {len(names)} class names")
    return PictureList(
        flag,
        [(path, called[label], part) for path, label, part in rows],
        folder,
        tuple(names),
        "row",
    )


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


class PictureCache:
    """A folder of pictures out of other files, and the list of them; written once.

    Args:
        state: tells the other files, as they are now, from all others.
    """

    def __init__(self, state: str) -> None:
        home = user_path(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
        key = hashlib.sha256(state.encode(errors="replace")).hexdigest()
        self.folder = home / "std_keras" / "pictures" / key
        self.there = (self.folder / _ROWS).is_file()
        self._part: Path | None = None

    def __enter__(self) -> PictureCache:
        return self

    def __exit__(self, *error: object) -> None:
        if self._part is not None:
            shutil.rmtree(self._part, ignore_errors=True)

    def read(self, *, flag: str) -> tuple[list[Row], list[str] | None]:
        """The list, and the names of the classes if they had any."""
        try:
            kept = json.loads((self.folder / _ROWS).read_text(encoding="utf-8"))
            return [(path, label, split) for path, label, split in kept["rows"]], kept["names"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{flag}: its pictures in {self.folder} are damaged ({_line(error)}); delete that "
                "folder"
            ) from error

    def write(self, picture: Any, *, name: str) -> str:
        """Writes a picture as the hub stores it; returns its path in the folder.

        One without bytes becomes an empty file, unreadable as it is.
        """
        if self._part is None:
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            self._part = Path(tempfile.mkdtemp(dir=self.folder.parent, prefix=".part"))
        picture = picture or {}
        ending = os.path.splitext(str(picture.get("path") or ""))[1].lower()
        # The digest makes the list a fingerprint of the pictures, wherever they are.
        content = picture.get("bytes") or b""
        name += f"_{hashlib.sha256(content).hexdigest()[:12]}"
        file = self._part / f"{name}{ending if _ENDING.fullmatch(ending) else ''}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        return str(file.relative_to(self._part))

    def keep(self, rows: Sequence[Row], names: Sequence[str] | None) -> None:
        """Puts what was written in its place, all of it at once."""
        if self._part is None:
            return
        kept = {"rows": rows, "names": names}
        (self._part / _ROWS).write_text(json.dumps(kept), encoding="utf-8")
        # Another process may have been faster; its pictures are the same.
        with contextlib.suppress(FileExistsError, OSError):
            os.rename(self._part, self.folder)


@contextlib.contextmanager
def _readable(file: Path, *, flag: str) -> Iterator[None]:
    """Turns what Arrow raises for files that are none into an InputError."""
    try:
        yield
    except (ValueError, OSError, MemoryError, TypeError, KeyError) as error:
        if isinstance(error, OSError) and error.errno in DISK_FAULTS:
            raise
        raise InputError(
            f"{flag}: {file.name} cannot be read as Parquet: {_line(error)}"
        ) from error


def _state(files: Sequence[tuple[Path, str | None]]) -> str:
    states = [(file.resolve(), file.stat()) for file, _ in files]
    return "".join(f"{path} {state.st_size} {state.st_mtime_ns}\n" for path, state in states)


def _arrow(flag: str) -> Any:
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise InputError(
            f"{flag} needs the package pyarrow, which is missing: {_INSTALL}"
        ) from error
    return pyarrow.parquet


def _files(place: Path, *, flag: str) -> list[tuple[Path, str | None]]:
    """The files with their parts; None for a file that says it row by row."""
    if place.is_file():
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


def _line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]

"""What tells the pictures of a `folder:`, a table or `.npz` from others, wherever they are."""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from std_keras.data import hf_list
from std_keras.data.file_identities import file_end, telling_part
from std_keras.data.npz_images import is_npz
from std_keras.data.picture_list import PictureList
from std_keras.data.tables import TABLES
from std_keras.errors import InputError
from std_keras.files.picture_file import extensions
from std_keras.files.picture_folder import is_shown_folder

_PREFIXES = ("folder", *TABLES)
_AT_ONCE = 256  # Files for a thread: a task for each would cost more than its reading.


def kind(dataset: str) -> str | None:
    """`folder`, `npz` or a kind of table; None for a data set that has a name, not a place."""
    if is_npz(dataset):
        return "npz"
    return next((p for p in _PREFIXES if dataset.startswith(f"{p}:")), None)


def place(dataset: str) -> str | None:
    """The absolute path of a `folder:`, or of the file of others; None for a set with a name.

    Of `hf:` it is the path of a folder that was saved, or the name.
    """
    found = kind(dataset)
    if found is None:
        return None
    written = dataset.removeprefix(f"{found}:")
    if found == hf_list.WORD:
        source = hf_list.parse(written)
        if source.name is not None:
            return source.source
        written = source.source
    return os.path.realpath(os.path.expanduser(written))


def facts(dataset: str) -> dict[str, str]:
    """The place of own pictures and what tells them from others; nothing for other data sets."""
    path = place(dataset)
    if path is None:
        return {}
    if is_npz(dataset):
        return {"folder": path, "fingerprint": fingerprint(dataset)}
    pictures = _pictures(dataset)
    return {
        "folder": path,
        "fingerprint": _digest(pictures),
        "file_contents": _contents(pictures, telling_part),
    }


def contents(dataset: str) -> str | None:
    """What tells own pictures from others of the same names and sizes.

    None for other data sets, and for `.npz`, of which `fingerprint` tells all.
    """
    if place(dataset) is None or is_npz(dataset):
        return None
    return _contents(_pictures(dataset), telling_part)


def has_content_of(dataset: str, recorded: Mapping[str, Any] | None) -> bool:
    """Whether a `folder:`, a table or `.npz` has the pictures of which `facts` were recorded.

    Raises:
        InputError: if it is not there.
    """
    known = recorded or {}
    where = place(dataset)
    if where is None or known.get("fingerprint") is None:
        return False
    wanted = {"folder": os.path.isdir, "csv": os.path.isfile, "npz": os.path.isfile}
    if not wanted.get(str(kind(dataset)), lambda _: True)(where):
        missing = "is not a folder" if os.path.isfile(where) else "is not there"
        raise InputError(f"dataset={dataset}: {where} {missing}")
    if is_npz(dataset):
        return bool(known["fingerprint"] == fingerprint(dataset))
    pictures = _pictures(dataset)
    # Older run directories know the ends of files, the oldest the names and sizes alone.
    looks = {"file_contents": telling_part, "file_ends": file_end}
    return known["fingerprint"] == _digest(pictures) and all(
        known[name] == _contents(pictures, look) for name, look in looks.items() if name in known
    )


def fingerprint(dataset: str) -> str:
    """SHA-256 of what identifies own pictures without opening their files.

    That is of a folder the names (NFC, below it) and sizes in bytes of all image files, and of a
    list, line by line, the path (an absolute one below what all have in common), the label, the
    split and the size of the file.
    An `.npz` file is read: all of it is one file.
    """
    if is_npz(dataset):
        with open(os.path.expanduser(dataset), "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    return _digest(_pictures(dataset))


@dataclass(frozen=True)
class _Picture:
    """A line of the fingerprint, and the file that it is about."""

    line: tuple[object, ...]
    path: str


def _pictures(dataset: str) -> list[_Picture]:
    """Those of a list in its order, which is that of the examples; of a folder by name."""
    word, _, where = dataset.partition(":")
    if word in TABLES:
        return list(_rows(TABLES[word](where)))
    found = _files(os.path.expanduser(where), seen=set())
    return sorted(found, key=lambda picture: picture.line)


def _digest(pictures: Iterable[_Picture]) -> str:
    total = hashlib.sha256()
    for picture in pictures:
        line = "\0".join(map(str, picture.line)) + "\n"
        total.update(line.encode(errors="surrogateescape"))
    return total.hexdigest()


def _contents(pictures: Sequence[_Picture], look: Callable[[str], bytes]) -> str:
    """SHA-256 of what `look` sees in every file; it costs little beside reading them."""
    total = hashlib.sha256()
    starts = range(0, len(pictures), _AT_ONCE)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for found in pool.map(lambda i: _looked_at(pictures[i : i + _AT_ONCE], look), starts):
            total.update(found)
    return total.hexdigest()


def _looked_at(pictures: Iterable[_Picture], look: Callable[[str], bytes]) -> bytes:
    found = bytearray()
    for picture in pictures:
        try:
            found += look(picture.path)
        except OSError:  # It is left out, or refused, where pictures are read.
            found += b"unreadable"
    return bytes(found)


def _rows(table: PictureList) -> Iterator[_Picture]:
    paths = _without_place(table)
    for (written, label, split), path in zip(table.rows, paths, strict=True):
        file = table.located(written)
        names = unicodedata.normalize("NFC", path), unicodedata.normalize("NFC", label)
        yield _Picture((*names, split, os.path.getsize(file)), file)


def _without_place(table: PictureList) -> list[str]:
    """The paths as they are written, or where some are absolute, below what all have in common."""
    written = [os.path.expanduser(path) for path, _, _ in table.rows]
    if not any(map(os.path.isabs, written)):
        return [path for path, _, _ in table.rows]
    folder = os.path.abspath(table.folder)
    whole = [os.path.abspath(os.path.join(folder, path)) for path in written]
    common = os.path.commonpath([os.path.dirname(path) for path in whole])
    return [os.path.relpath(path, common) for path in whole]


def _files(folder: str, *, seen: set[str], inner: str = "") -> Iterator[_Picture]:
    real = os.path.realpath(os.path.join(folder, inner))
    if real in seen:  # A link that leads back.
        return
    for entry in os.scandir(real):
        name = unicodedata.normalize("NFC", f"{inner}/{entry.name}" if inner else entry.name)
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            if not is_shown_folder(entry.name):
                continue
            yield from _files(folder, seen={*seen, real}, inner=os.path.join(inner, entry.name))
        elif os.path.splitext(entry.name)[1].lower() in extensions() and entry.is_file():
            yield _Picture((name, entry.stat().st_size), entry.path)

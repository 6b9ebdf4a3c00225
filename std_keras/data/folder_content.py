"""What tells the pictures of a `folder:`, a table or `.npz` from others, wherever they are."""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from std_keras.data import hf_list
from std_keras.data.npz_images import is_npz
from std_keras.data.picture_list import PictureList
from std_keras.data.tables import TABLES
from std_keras.files.picture_file import extensions
from std_keras.files.picture_folder import is_shown_folder

_PREFIXES = ("folder", *TABLES)


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
    """The place of own pictures and a fingerprint of them; nothing for other data sets."""
    path = place(dataset)
    return {} if path is None else {"folder": path, "fingerprint": fingerprint(dataset)}


def has_content_of(dataset: str, recorded: Mapping[str, Any] | None) -> bool:
    """Whether a `folder:`, a table or `.npz` has the pictures of which `facts` were recorded."""
    known = (recorded or {}).get("fingerprint")
    return place(dataset) is not None and known is not None and known == fingerprint(dataset)


def fingerprint(dataset: str) -> str:
    """SHA-256 of what identifies own pictures without reading them.

    That is of a folder the names (NFC, below it) and sizes in bytes of all image files, and of a
    list, line by line, the path (an absolute one below what all have in common), the label, the
    split and the size of the file.
    An `.npz` file is read: all of it is one file.
    """
    if is_npz(dataset):
        with open(os.path.expanduser(dataset), "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    word, _, where = dataset.partition(":")
    lines: Iterable[tuple[object, ...]]  # Those of a list in their order, that of the examples.
    if word in TABLES:
        lines = _rows(TABLES[word](where))
    else:
        lines = sorted(_files(os.path.expanduser(where), seen=set()))
    total = hashlib.sha256()
    for line in lines:
        total.update(("\0".join(map(str, line)) + "\n").encode(errors="surrogateescape"))
    return total.hexdigest()


def _rows(table: PictureList) -> Iterator[tuple[str, str, str, int]]:
    paths = _without_place(table)
    for (written, label, split), path in zip(table.rows, paths, strict=True):
        size = os.path.getsize(table.located(written))
        yield unicodedata.normalize("NFC", path), unicodedata.normalize("NFC", label), split, size


def _without_place(table: PictureList) -> list[str]:
    """The paths as they are written, or where some are absolute, below what all have in common."""
    written = [os.path.expanduser(path) for path, _, _ in table.rows]
    if not any(map(os.path.isabs, written)):
        return [path for path, _, _ in table.rows]
    folder = os.path.abspath(table.folder)
    whole = [os.path.abspath(os.path.join(folder, path)) for path in written]
    common = os.path.commonpath([os.path.dirname(path) for path in whole])
    return [os.path.relpath(path, common) for path in whole]


def _files(folder: str, *, seen: set[str], inner: str = "") -> Iterator[tuple[str, int]]:
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
            yield name, entry.stat().st_size

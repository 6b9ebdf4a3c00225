"""What tells the images of a `folder:` from others, wherever the folder is."""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any

from std_keras.files.picture_file import extensions
from std_keras.files.picture_folder import is_shown_folder

PREFIX = "folder:"


def place(dataset: str) -> str | None:
    """The absolute path of a `folder:`; None for other data sets."""
    if not dataset.startswith(PREFIX):
        return None
    return os.path.realpath(os.path.expanduser(dataset.removeprefix(PREFIX)))


def facts(dataset: str) -> dict[str, str]:
    """The place of a `folder:` and a fingerprint of its images; nothing for other data sets.

    The fingerprint is of the names of the files below the folder and of their sizes in bytes, not
    of their pixels, and needs no file to be read.
    """
    folder = place(dataset)
    return {} if folder is None else {"folder": folder, "fingerprint": fingerprint(folder)}


def has_content_of(dataset: str, recorded: Mapping[str, Any] | None) -> bool:
    """Whether a `folder:` holds the images of which `facts` were recorded."""
    folder = place(dataset)
    known = (recorded or {}).get("fingerprint")
    return folder is not None and known is not None and known == fingerprint(folder)


def fingerprint(folder: str) -> str:
    """SHA-256 of the names (NFC, below the folder) and sizes of all image files."""
    total = hashlib.sha256()
    for name, size in sorted(_files(folder, seen=set())):
        total.update(f"{name}\0{size}\n".encode(errors="surrogateescape"))
    return total.hexdigest()


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

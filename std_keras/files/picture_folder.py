"""Which pictures a folder has: the same for training, resizing and classification."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from std_keras.files.picture_file import advice, extensions

# What systems leave behind.
_FOLDERS_OF_SYSTEMS = frozenset(
    {"__MACOSX", "@eaDir", "lost+found", "$RECYCLE.BIN", "System Volume Information"}
)
_FILES_OF_SYSTEMS = frozenset({"thumbs.db", "desktop.ini"})


@dataclass
class FolderContents:
    """What was found in and below a folder.

    Attributes:
        pictures: paths of the files whose ending says that Pillow may be able to read them.
        left_out: how many other files there are, by ending.
    """

    pictures: list[str] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)


def list_pictures(folder: str, *, fail: Callable[[OSError], None] | None = None) -> FolderContents:
    """The pictures in and below a folder: its own by name, then those of its folders by name.

    Links to files and folders are followed, but for one that leads back to a folder above it.
    Hidden files and folders, and what operating systems leave behind, do not count.

    Args:
        folder: where to look.
        fail: called with the error if a folder cannot be read; such a folder is empty otherwise.
    """
    found = FolderContents()
    known = extensions()

    def look(place: str, above: frozenset[str]) -> None:
        real = os.path.realpath(place)
        if real in above:
            return
        try:
            with os.scandir(place) as entries:
                shown = sorted((e.name, _kind(e)) for e in entries if e.name[0] != ".")
        except OSError as error:
            if fail is not None:
                fail(error)
            return
        for name, kind in shown:
            ending = os.path.splitext(name)[1].lower()
            if kind == "folder" or name.lower() in _FILES_OF_SYSTEMS:
                continue
            if kind == "no file":
                found.left_out["pipe, socket or device"] += 1
            elif ending in known:
                found.pictures.append(os.path.join(place, name))
            else:
                found.left_out[ending or "no ending"] += 1
        for name, kind in shown:
            if kind == "folder" and is_shown_folder(name):
                look(os.path.join(place, name), above | {real})

    look(folder, frozenset())
    return found


def _kind(entry: os.DirEntry[str]) -> str:
    """A link counts as what it leads to; one that leads nowhere is a file that cannot be read."""
    if entry.is_dir():
        return "folder"
    if entry.is_file() or not os.path.exists(entry.path):
        return "file"
    return "no file"  # To open a pipe would wait for ever.


def is_shown_folder(name: str) -> bool:
    """Whether a folder of this name counts: not hidden, and not a system's."""
    return not name.startswith(".") and name not in _FOLDERS_OF_SYSTEMS


def said_left_out(folder: str, left_out: Counter[str]) -> str | None:
    """One sentence on the files that are not pictures for us; None if there are none."""
    if not left_out:
        return None
    kinds = ", ".join(f"{count} {ending}" for ending, count in sorted(left_out.items()))
    said = f"{folder}: left out {left_out.total()} files that are not read as pictures ({kinds})"
    return said + advice(left_out)

"""Paths: as users write them, and as TensorFlow may have them."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

# TensorFlow looks for the files of a checkpoint, and for those to remove, by a pattern.
_PATTERN = frozenset("*?[]\\")
_PROC = "/proc/self/fd"

_opened: dict[str, int] = {}
_linked: dict[str, str] = {}


def user_path(path: str | os.PathLike[str]) -> Path:
    """A path with `~` and `~user` replaced; a user that does not exist is part of the name."""
    return Path(os.path.expanduser(os.fspath(path)))


def plain_path(path: str | os.PathLike[str]) -> str:
    """Another name of a path which TensorFlow takes literally.

    It takes a checkpoint's path for a pattern, so that `lr=[1e-3]/ckpt-5` is not found, and the old
    checkpoints of `a?` would be removed in `ab`, too; and it refuses names that are not UTF-8. The
    other name leads through an open descriptor of the folder, or where there are none, through a
    link in the folder of temporary files, and holds in this process only.

    Args:
        path: a folder, or a file in one. Folders with such characters in their names must exist.
    """
    text = os.fspath(path)
    parts = Path(text).parts
    last = max((i for i, part in enumerate(parts) if not _is_plain(part)), default=None)
    if last is None:
        return text
    folder = os.path.join(*parts[: last + 1])
    if not os.path.isdir(folder):
        return text
    folder = os.path.abspath(folder)
    other = _descriptor(folder) if os.path.isdir(_PROC) else _link(folder)
    return os.path.join(other, *parts[last + 1 :])


def _is_plain(name: str) -> bool:
    return not _PATTERN.intersection(name) and is_utf8(name)


def is_utf8(name: str) -> bool:
    """Whether a file's name, or a part of it, is UTF-8 on the disk."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _descriptor(folder: str) -> str:
    known = _opened.get(folder)
    if known is not None and not os.path.samestat(os.fstat(known), os.stat(folder)):
        os.close(known)  # The folder was removed and made again.
        known = None
    if known is None:
        known = _opened[folder] = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    return os.path.join(_PROC, str(known))


def _link(folder: str) -> str:
    if folder not in _linked:
        place = tempfile.mkdtemp(prefix="std_keras_")
        atexit.register(shutil.rmtree, place, ignore_errors=True)
        _linked[folder] = os.path.join(place, "folder")
        os.symlink(folder, _linked[folder])
    return _linked[folder]

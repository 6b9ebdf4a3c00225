"""Files from strangers that are read as a whole: what they are, and how large they may be."""

from __future__ import annotations

import os
import stat
from pathlib import Path


class UnreadableWholeError(ValueError):
    """A file is none, or larger than this machine could read; completes "FILE ..."."""


def machine_memory() -> int:
    """Bytes of memory that this machine has."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def check_is_file(path: str | os.PathLike[str]) -> None:
    """Refuses a pipe or device, which may never begin or end.

    Raises:
        UnreadableWholeError: if it is one, or a folder.
        OSError: if it is not there.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise UnreadableWholeError("is a pipe, a device or a folder; name a file")


def check_whole_file(path: Path) -> None:
    """Refuses a pipe or device, which may never end, and a file of more than half of the memory.

    Such a file needs no room on disk: it may be nothing but a hole.

    Raises:
        UnreadableWholeError: if it is one of these.
        OSError: if it is not there.
    """
    check_is_file(path)
    state = os.stat(path)
    if state.st_size > machine_memory() // 2:
        raise UnreadableWholeError(
            f"has {state.st_size:,} bytes, more than half of this machine's memory"
        )

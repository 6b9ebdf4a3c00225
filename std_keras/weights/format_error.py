"""The error that the readers of this package raise; `read_source` adds the file's name."""

from __future__ import annotations

import contextlib
import struct
import zipfile
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from std_keras.errors import reason_of


class FormatError(ValueError):
    """A file is damaged, hostile or of another kind; the message completes "FILE ..."."""


# ResNet-1202 has 7,214. A model with a layer for every one of them takes a minute to build.
_MOST_ARRAYS = 10_000


def check_count(arrays: Collection[Any]) -> None:
    """Refuses a file of more arrays than any classifier has.

    Raises:
        FormatError: if there are more than 10,000.
    """
    if len(arrays) > _MOST_ARRAYS:
        raise FormatError(
            f"has {len(arrays):,} arrays, and is not a classifier: more than {_MOST_ARRAYS:,}"
        )


# What `zipfile` and NumPy raise for archives that are damaged, encrypted or of another version.
_DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    KeyError,
    NotImplementedError,
    RuntimeError,
    SyntaxError,
    ValueError,
)


@contextlib.contextmanager
def damaged_archive() -> Iterator[None]:
    """Turns whatever is raised for a damaged zip archive into a FormatError."""
    try:
        yield
    except FormatError:
        raise
    except _DAMAGED as error:
        text = reason_of(error)
        raise FormatError(f"is a damaged archive ({text[:200]})") from error


def is_archive(path: Path) -> bool:
    """Whether a file is a zip archive.

    Raises:
        FormatError: if it is a damaged one.
    """
    with damaged_archive():
        return zipfile.is_zipfile(path)

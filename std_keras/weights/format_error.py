"""The error that the readers of this package raise; `read_source` adds the file's name."""

from __future__ import annotations

import contextlib
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path


class FormatError(ValueError):
    """A file is damaged, hostile or of another kind; the message completes "FILE ..."."""


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
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise FormatError(f"is a damaged archive ({text[:200]})") from error


def is_archive(path: Path) -> bool:
    """Whether a file is a zip archive.

    Raises:
        FormatError: if it is a damaged one.
    """
    with damaged_archive():
        return zipfile.is_zipfile(path)

"""Text as people have it: files with a byte order mark, names in two spellings of Unicode."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from pathlib import Path


def read_text(path: Path) -> str:
    """The content of a text file in UTF-8, without the byte order mark that some editors write.

    Raises:
        OSError: if it cannot be read.
        UnicodeDecodeError: if it is not UTF-8.
    """
    return path.read_text(encoding="utf-8-sig")


def normalized(names: Iterable[str]) -> tuple[str, ...]:
    """Names in one spelling (NFC), to be compared.

    macOS spells an accented letter as two characters, Linux keeps what it gets, so the name of a
    class can differ between two copies of the same data.
    """
    return tuple(unicodedata.normalize("NFC", name) for name in names)

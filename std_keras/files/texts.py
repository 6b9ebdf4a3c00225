"""Text as people have it: files of other systems' editors, names in two spellings of Unicode."""

from __future__ import annotations

import codecs
import unicodedata
from collections.abc import Iterable
from pathlib import Path


def read_text(path: Path) -> str:
    """The content of a text file, without the byte order mark that some editors write.

    It is UTF-8, or UTF-16 with that mark, as a Windows shell writes it (`ls > labels.txt`). Lines
    end with a line feed, whatever they end with in the file.

    Raises:
        OSError: if it cannot be read.
        UnicodeDecodeError: if it is neither.
    """
    content = path.read_bytes()
    is_utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    text = content.decode("utf-16" if is_utf16 else "utf-8-sig")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def as_utf8(name: str) -> str:
    """A name for people to read, in a file or a picture: what is not UTF-8 as `\\udce9`.

    Python knows the bytes of a file's name that are not UTF-8 as characters that UTF-8 lacks.
    """
    return name.encode("utf-8", errors="backslashreplace").decode("utf-8")


def normalized(names: Iterable[str]) -> tuple[str, ...]:
    """Names in one spelling (NFC), to be compared.

    macOS spells an accented letter as two characters, Linux keeps what it gets, so the name of a
    class can differ between two copies of the same data.
    """
    return tuple(unicodedata.normalize("NFC", name) for name in names)


def in_message(text: object, *, most: int = 80) -> str:
    """A text from a stranger's file, in a message: short, on one line, and harmless."""
    short = str(text)[:most]
    return short if short.isprintable() else repr(short)

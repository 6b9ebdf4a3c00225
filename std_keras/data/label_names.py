"""Class names of one's own data: one spelling of each, and such that `labels.txt` can hold them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence

from std_keras.errors import InputError
from std_keras.files.paths import is_utf8
from std_keras.files.texts import normalized


def usable(name: str, *, what: str) -> str:
    """The class name in one spelling of Unicode (NFC).

    Args:
        name: as the data has it.
        what: what it is, for errors.

    Raises:
        InputError: if `labels.txt`, a text in UTF-8 with a name a line, could not hold it.
    """
    seen: str | bytes = name
    if not is_utf8(name):
        fault = "is not UTF-8"
        with contextlib.suppress(UnicodeEncodeError):  # Half of a character, which JSON can spell.
            seen = name.encode("utf-8", errors="surrogateescape")
    elif name.splitlines() not in ([name], []):
        fault = "has a line break in it"
    elif "\0" in name:
        fault = "has a null character in it"
    else:
        return normalized([name])[0]
    raise InputError(f"{what} {seen!r}, which {fault}; rename it")


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Each name once, sorted; numbers by their value, so that class 10 comes after class 9."""
    found = sorted(set(names))
    if all(name.isascii() and name.isdigit() for name in found):
        found.sort(key=int)
    return tuple(found)


def numbered(names: Sequence[str], *, flag: str) -> tuple[str, ...]:
    """The names of the classes 0, 1, ..., each `usable`; two may be the same, as in ImageNet."""
    return tuple(usable(str(n), what=f"{flag}: class {i} is called") for i, n in enumerate(names))

"""Which files are copies of one another, without reading all of a large set."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from os import cpu_count

import numpy as np

_END = 4096  # The last bytes of compressed pictures of one length differ, but for copies.
_COMPRESSED = (b"\xff\xd8", b"\x89PNG", b"GIF8", b"RIFF")  # How JPEG, PNG, GIF and WebP begin.


def file_identities(paths: Sequence[str] | np.ndarray) -> np.ndarray:
    """A number (n,) for each file, the same for files with the same bytes.

    Only files of one size are opened, and only those that also end alike are read. A file that
    cannot be read is a copy of none.
    """
    keys: list[tuple[Hashable, ...]] = [()] * len(paths)
    for look in (os.path.getsize, file_end, _hash):
        keys = _refined(keys, paths, look)
    numbers: dict[tuple[Hashable, ...], int] = {}
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.int64)


def _refined(
    keys: list[tuple[Hashable, ...]],
    paths: Sequence[str] | np.ndarray,
    look: Callable[[str], Hashable],
) -> list[tuple[Hashable, ...]]:
    """Tells files with equal keys apart by what `look` sees in them."""
    counts: dict[tuple[Hashable, ...], int] = {}
    for key in keys:
        counts[key] = counts.get(key, 0) + 1
    rows = [row for row, key in enumerate(keys) if counts[key] > 1]

    def seen(row: int) -> Hashable:
        try:
            return look(paths[row])
        except OSError:
            return "unreadable", row

    refined = list(keys)
    with ThreadPoolExecutor(cpu_count()) as pool:
        for row, found in zip(rows, pool.map(seen, rows), strict=True):
            refined[row] = (*keys[row], found)
    return refined


def file_end(path: str) -> bytes:
    """A digest of a file's last bytes."""
    with open(path, "rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - _END))
        return hashlib.sha256(file.read()).digest()


def telling_part(path: str) -> bytes:
    """A digest of what differs between two pictures in files of one length.

    That is the end of a compressed one, and all of others: what changes at their top changes
    nothing below.
    """
    with open(path, "rb") as file:
        head = file.read(8)
    is_compressed = head.startswith(_COMPRESSED) or head[4:] == b"ftyp"  # The last: HEIC, AVIF.
    return file_end(path) if is_compressed else _hash(path)


def _hash(path: str) -> bytes:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").digest()

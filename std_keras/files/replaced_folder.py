"""A folder that is replaced as a whole, so that no reader and no crash sees half of it."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replaced_folder(path: Path) -> Iterator[Path]:
    """Gives a place beside `path` to make the new folder in, and at the end puts it there.

    If the block raises, `path` is what it was. A process that is killed between the two renames
    leaves the former folder beside it, and the next call puts it back.

    Args:
        path: the folder; it need not exist, but its parent must.
    """
    part, former = path.with_name(f".{path.name}.part"), path.with_name(f".{path.name}.former")
    if former.exists() and not path.exists():
        former.rename(path)
    for leftover in (part, former):
        shutil.rmtree(leftover, ignore_errors=True)
    try:
        yield part
        if path.exists():
            path.rename(former)
        try:
            part.rename(path)
        except OSError:
            if former.exists():
                former.rename(path)
            raise
        shutil.rmtree(former, ignore_errors=True)
    finally:
        shutil.rmtree(part, ignore_errors=True)

"""Decoded images on disk, so that the next start need not decode the same files again.

An entry is found by the content of the files it was made from, by what was asked of them and by
the code that did it, so it is never stale. It appears under its name when it is complete, and NumPy
checks what it reads of it against a checksum; whatever is not as it should be is decoded again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import tensorflow as tf

from std_keras import progress
from std_keras.files import jpeg_end, picture_file

AUTO, NONE = "auto", "none"  # Places that are no folders.

# Of decoded pixels: fewer are decoded in a moment, more are not kept.
_SMALLEST, _LARGEST = 2**24, 2**31
_ROOM = 2**32  # Bytes of all entries; the ones that were not used for longest go.
_HALF_WRITTEN = 24 * 3600.0  # Seconds after which nobody goes on writing a file.
# Whoever changes how pixels are made makes new entries.
_CODE = ("images.py", "records.py", "files.py", "header.py", "tfds_source.py")

Arrays = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class DecodedImages:
    """Where decoded images are kept.

    Attributes:
        folder: made when it is needed; None if they are not kept.
    """

    folder: Path | None = None

    def get(
        self,
        make: Callable[[], Arrays],
        *,
        files: Sequence[str],
        pixels: int,
        asked: Mapping[str, Any],
    ) -> Arrays:
        """What `make` returns, from disk if it was made before.

        Args:
            make: decodes the files.
            files: all that it reads, in its order.
            pixels: the bytes of decoded pixels that are worth keeping or not.
            asked: everything else that its arrays depend on, as JSON values.
        """
        if self.folder is None or not _SMALLEST <= pixels <= _LARGEST:
            return make()
        key = _key(files, asked)
        if key is None:
            return make()
        path = self.folder / f"{key}.npz"
        found = _read(path)
        if found is None:
            found = make()
            try:
                _write(path, found)
            except OSError as error:  # No room, or no right to write: the next time then.
                _say_once(str(self.folder), error.strerror or str(error))
        return found


@functools.cache
def _say_once(folder: str, reason: str) -> None:
    progress.warn(
        f"decoded images cannot be kept in {folder} ({reason}), so the next start decodes them "
        f"again; decoded_dir={NONE} says nothing, decoded_dir=FOLDER takes another place"
    )


NOT_KEPT = DecodedImages()


def decoded_images(place: str) -> DecodedImages:
    """Those of a folder, of the user's cache folder (`auto`), or none (`none`)."""
    if place == NONE:
        return NOT_KEPT
    if place != AUTO:
        return DecodedImages(Path(place).expanduser())
    caches = os.environ.get("XDG_CACHE_HOME") or os.path.join("~", ".cache")
    return DecodedImages(Path(caches).expanduser() / "std_keras" / "decoded")


def _key(files: Sequence[str], asked: Mapping[str, Any]) -> str | None:
    """A name for what is made of the files; None if one cannot be read."""
    own = Path(__file__).parent
    code = [*(str(own / name) for name in _CODE), picture_file.__file__, jpeg_end.__file__]
    try:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            contents = list(pool.map(_hash, [*code, *files]))
    except OSError:
        return None
    facts = {
        "asked": dict(asked),
        "contents": contents,
        "versions": [tf.__version__, PIL.__version__],
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:40]


def _hash(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read(path: Path) -> Arrays | None:
    try:
        with np.load(path) as entry:
            found = {name: entry[name] for name in entry.files}
        os.utime(path)  # It was used.
        return found
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def _write(path: Path, arrays: Arrays) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, name = tempfile.mkstemp(dir=path.parent, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
    _make_room(made=path)


def _make_room(*, made: Path) -> None:
    """Removes the oldest entries but the one just made until all fit, and what killed processes
    left."""
    now = made.stat().st_mtime  # By the file system's clock, which the others go by.
    for part, state in _states(made.parent.glob("*.part")):
        if now - state.st_mtime > _HALF_WRITTEN:
            part.unlink(missing_ok=True)
    entries = _states(made.parent.glob("*.npz"))
    total = sum(state.st_size for _, state in entries)
    for path, state in sorted(entries, key=lambda entry: entry[1].st_mtime):
        if total <= _ROOM:
            break
        if path != made:
            total -= state.st_size
            path.unlink(missing_ok=True)


def _states(paths: Iterable[Path]) -> list[tuple[Path, os.stat_result]]:
    """Of those that are still there: another process may have renamed or removed some."""
    found = []
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            found.append((path, path.stat()))
    return found

"""Pictures out of other files, unpacked once: from there on they are files like all others."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from std_keras.data.picture_list import Row
from std_keras.errors import DISK_FAULTS, InputError, MachineError
from std_keras.files.paths import user_path

_ENDING = re.compile(r"\.\w{1,5}")
_ROWS = "rows.json"


class PictureCache:
    """A folder of pictures out of other files, and the list of them; written once.

    Args:
        state: tells the other files, as they are now, from all others.
    """

    def __init__(self, state: str) -> None:
        home = user_path(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
        key = hashlib.sha256(state.encode(errors="replace")).hexdigest()
        self.folder = home / "std_keras" / "pictures" / key
        self.there = (self.folder / _ROWS).is_file()
        self._part: Path | None = None

    def __enter__(self) -> PictureCache:
        return self

    def __exit__(self, *error: object) -> None:
        if self._part is not None:
            shutil.rmtree(self._part, ignore_errors=True)

    def read(self, *, flag: str) -> tuple[list[Row], list[str] | None]:
        """The list, and the names of the classes if they had any."""
        try:
            kept = json.loads((self.folder / _ROWS).read_text(encoding="utf-8"))
            return [(path, label, split) for path, label, split in kept["rows"]], kept["names"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{flag}: its pictures in {self.folder} are damaged ({error}); delete that folder"
            ) from error

    def write(self, picture: Any, *, name: str) -> str:
        """Writes a picture as the hub stores it; returns its path in the folder.

        One without bytes becomes an empty file, unreadable as it is.
        """
        if self._part is None:
            with self._kept():
                self.folder.parent.mkdir(parents=True, exist_ok=True)
                self._part = Path(tempfile.mkdtemp(dir=self.folder.parent, prefix=".part"))
        picture = picture or {}
        ending = os.path.splitext(str(picture.get("path") or ""))[1].lower()
        # The digest makes the list a fingerprint of the pictures, wherever they are.
        content = picture.get("bytes") or b""
        name += f"_{hashlib.sha256(content).hexdigest()[:12]}"
        file = self._part / f"{name}{ending if _ENDING.fullmatch(ending) else ''}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        return str(file.relative_to(self._part))

    def keep(self, rows: Sequence[Row], names: Sequence[str] | None) -> None:
        """Puts what was written in its place, all of it at once."""
        if self._part is None:
            return
        kept = {"rows": rows, "names": names}
        (self._part / _ROWS).write_text(json.dumps(kept), encoding="utf-8")
        with self._kept():
            try:
                os.rename(self._part, self.folder)
            except OSError:
                # Another process may have been faster; its pictures are the same.
                if not (self.folder / _ROWS).is_file():
                    raise

    @contextlib.contextmanager
    def _kept(self) -> Iterator[None]:
        """Turns what a folder raises that takes nothing into an error that says what to do."""
        try:
            yield
        except OSError as error:
            if error.errno in DISK_FAULTS:
                raise
            raise MachineError(
                f"the unpacked pictures cannot be kept in {self.folder} "
                f"({error.strerror or error}); remove what is in the way, or name another folder "
                "of caches in the environment variable XDG_CACHE_HOME"
            ) from error


def file_states(files: Iterable[Path]) -> str:
    """Tells files, as they are now, from all others."""
    states = [(file.resolve(), file.stat()) for file in files]
    return "".join(f"{path} {state.st_size} {state.st_mtime_ns}\n" for path, state in states)

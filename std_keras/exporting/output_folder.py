"""The folder that an export fills: checked before the slow part, written a whole file at a time."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from std_keras.errors import DISK_FAULTS, InputError
from std_keras.runs.run_directory import replace_atomically


def check_output_dir(path: Path) -> None:
    """Refuses a folder that cannot be made or written to; makes nothing.

    Raises:
        InputError: why it cannot.
    """
    nearest = path
    while not os.path.lexists(nearest) and nearest != nearest.parent:
        nearest = nearest.parent
    if not nearest.is_dir():
        raise InputError(f"output_dir={path} cannot be a folder: {nearest} is a file")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise InputError(f"output_dir={path} cannot be written: no permission for {nearest}")


def make_output_dir(path: Path) -> None:
    """Makes the folder and tries to write to it.

    Raises:
        InputError: if it cannot be written.
        OSError: if the disk is full or fails.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        # Permission bits do not tell everything (a read-only file system, for example).
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        if error.errno in DISK_FAULTS:
            raise
        raise InputError(f"output_dir={path} cannot be written: {error.strerror}") from error


def write_file(path: Path, content: bytes, *, name: str) -> None:
    """Writes a TFLite file under the name of its verdict; removes what an earlier export left.

    Args:
        path: of the file if it is accepted.
        content: what is in it.
        name: what it is called, `path.name` or that of a rejected file.
    """
    replace_atomically(path.with_name(name), lambda part: part.write_bytes(content))
    for former in (path, path.with_suffix(".rejected.tflite")):
        if former.name != name:
            former.unlink(missing_ok=True)

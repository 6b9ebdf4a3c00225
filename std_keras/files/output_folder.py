"""Where results go, as the user named it: checked before the slow part, then made."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from std_keras.errors import DISK_FAULTS, InputError


def check_output_dir(path: Path, *, name: str = "output_dir") -> None:
    """Refuses a folder that cannot be made or written to; makes nothing.

    Args:
        path: the folder.
        name: the argument that named it, for errors.

    Raises:
        InputError: why it cannot.
    """
    _check(path, said=f"{name}={path}")


def check_output_file(path: Path, *, name: str) -> None:
    """Refuses a file that cannot be written; makes nothing. See `check_output_dir`.

    Raises:
        InputError: why it cannot.
    """
    if path.is_dir():
        raise InputError(f"{name}={path} is a folder; name a file")
    _check(path.parent, said=f"{name}={path}")


def _check(folder: Path, *, said: str) -> None:
    nearest = folder
    while not os.path.lexists(nearest) and nearest != nearest.parent:
        nearest = nearest.parent
    if not nearest.is_dir():
        raise InputError(f"{said} cannot be written: {nearest} is a file")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise InputError(f"{said} cannot be written: no permission for {nearest}")


def make_output_dir(path: Path, *, name: str = "output_dir") -> None:
    """Makes the folder and tries to write to it; see `check_output_dir`.

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
        raise InputError(f"{name}={path} cannot be written: {error.strerror}") from error

"""Zip archives from strangers: how much they may unpack to."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path

import numpy as np

# Weights hardly compress: an honest archive unpacks to little more than its size. Zeros do, as in
# untrained heads or biases; a bomb is nothing but zeros, a thousand to one.
_LARGEST_RATIO = 100
_ALWAYS_ALLOWED = 2**26


class HostileArchiveError(ValueError):
    """An archive asks for far more memory than its size explains; completes "FILE ..."."""


def check_unpacked_size(path: Path) -> None:
    """Refuses an archive by the sizes that it declares, before anything is unpacked.

    An archive may unpack to 64 MiB, or to 100 times its own size if that is more. (One that
    declares less than it holds is cut off there by `zipfile`, which finds a wrong checksum.)

    Raises:
        HostileArchiveError: if it would unpack to more.
        zipfile.BadZipFile: if it is not a zip archive, or a damaged one.
    """
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(info.file_size for info in archive.infolist())
    size = path.stat().st_size
    if unpacked > max(_ALWAYS_ALLOWED, _LARGEST_RATIO * size):
        raise HostileArchiveError(
            f"has {size:,} bytes and would unpack to {unpacked:,}, which is more than "
            f"{_LARGEST_RATIO} times as much"
        )


def check_arrays(path: Path) -> None:
    """Also refuses an `.npz` file with an array whose header declares more than there is.

    NumPy would take memory for all of it before it reads the first number.

    Raises:
        HostileArchiveError: if an array is larger than its part of the archive, or see
            `check_unpacked_size`.
        ValueError: if a header is damaged, or holds objects.
        zipfile.BadZipFile: if it is not a zip archive, or a damaged one.
    """
    check_unpacked_size(path)
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            with archive.open(info) as file:
                version = np.lib.format.read_magic(file)
                read = (
                    np.lib.format.read_array_header_1_0
                    if version == (1, 0)
                    else np.lib.format.read_array_header_2_0
                )
                shape, _, dtype = read(file)
            if dtype.hasobject:
                raise ValueError(f"{info.filename} holds Python objects")
            if math.prod(shape) * dtype.itemsize > info.file_size:
                raise HostileArchiveError(
                    f"declares an array of shape {shape} in {info.filename}, which has "
                    f"{info.file_size:,} bytes"
                )

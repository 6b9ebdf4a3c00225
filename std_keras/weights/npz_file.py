"""Reads the .npz files of Flax weights: flat names joined by "/", one array each."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from std_keras.files.archive import HostileArchiveError, check_arrays
from std_keras.weights.format_error import FormatError, check_count, damaged_archive


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """Reads all arrays of an .npz file; pickled objects are never loaded.

    Raises:
        FormatError: if it is damaged or of another kind.
    """
    with damaged_archive():
        with zipfile.ZipFile(path) as archive:
            files = archive.infolist()
        if not files or any(not info.filename.endswith(".npy") for info in files):
            raise FormatError("is a zip archive, but not an .npz file of arrays")
        check_count(files)
        try:
            check_arrays(path)
        except HostileArchiveError as error:
            raise FormatError(str(error)) from error
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}

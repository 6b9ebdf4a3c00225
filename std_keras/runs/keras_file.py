"""Reads `.keras` files."""

from __future__ import annotations

import zipfile
from pathlib import Path

import keras

import std_keras.layers  # noqa: F401 (registers the layers that a saved model holds)
from std_keras.errors import InputError
from std_keras.files.archive import HostileArchiveError, check_unpacked_size


def load_keras_file(path: Path) -> keras.Model:
    """Loads a `.keras` file in safe mode: a file from a stranger must not run code.

    Raises:
        InputError: if it is damaged, or would unpack to far more than its size explains.
    """
    try:
        check_unpacked_size(path)
    except HostileArchiveError as error:
        raise InputError(f"{path} {error}") from error
    except (OSError, zipfile.BadZipFile):
        pass  # Keras says what is wrong with it.
    try:
        return keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises many kinds for a damaged or foreign file.
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path} cannot be loaded as a Keras model: {first}") from error

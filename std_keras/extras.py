"""Packages that not everybody needs: what each belongs to, and how to get it."""

from __future__ import annotations

import importlib
from types import ModuleType

from std_keras.errors import InputError

EXTRAS = {
    "datasets": "datasets",
    "huggingface_hub": "hub",
    "keras_hub": "keras-hub",
    "matplotlib": "analysis",
    "onnx": "onnx",
    "onnxruntime": "onnx",
    "pillow_heif": "heic",
    "pyarrow": "parquet",
}
"""The extra of this project that brings a package, by the name under which it is imported."""


def install(package: str) -> str:
    """The command that installs what a package needs."""
    return f"pip install 'std_keras[{EXTRAS[package]}]'"


def imported(module: str, *, needed_by: str) -> ModuleType:
    """A module of an optional package.

    Args:
        module: such as "pyarrow.parquet".
        needed_by: what cannot be done without it, such as "dataset=parquet:x".

    Raises:
        InputError: if it, or what it is made of, is not installed.
    """
    package = module.partition(".")[0]
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(missing(package, error, needed_by=needed_by)) from error


def missing(package: str, error: ImportError, *, needed_by: str) -> str:
    """The sentence for a package whose import has failed."""
    lacks = (error.name or package).partition(".")[0]
    why = "which is missing" if lacks == package else f"which does not work without {lacks}"
    return f"{needed_by} needs the package {package}, {why}: {install(package)}"

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
    own = EXTRAS.get(package)
    return f"pip install {package}" if own is None else f"pip install 'std_keras[{own}]'"


def imported(module: str, *, needed_by: str) -> ModuleType:
    """A module of an optional package.

    Args:
        module: such as "pyarrow.parquet".
        needed_by: what cannot be done without it, such as "dataset=parquet:x".

    Raises:
        InputError: if it, or what it is made of, is not installed, or is broken.
    """
    package = module.partition(".")[0]
    try:
        if _is_plain_folder(importlib.import_module(package)):
            raise ModuleNotFoundError(f"No module named {package!r}", name=package)
        return importlib.import_module(module)
    except MemoryError:
        raise
    except Exception as error:  # A package that meets another NumPy, or lacks a library.
        raise InputError(unusable(package, error, needed_by=needed_by)) from error


def unusable(package: str, error: Exception, *, needed_by: str) -> str:
    """The sentence for a package whose import has failed: it is missing, or broken."""
    needs = f"{needed_by} needs the package {package}"
    lacks = (error.name or package) if isinstance(error, ModuleNotFoundError) else ""
    if lacks == package:
        return f"{needs}, which is missing: {install(package)}"
    other = lacks.partition(".")[0]
    if other not in ("", package):
        return f"{needs}, which does not work without {other}: {install(package)}"
    said = " ".join(str(error).split())[:300] or type(error).__name__
    return (
        f"{needs}, which is there but cannot be imported ({said}); install it anew: "
        f"pip install --force-reinstall --no-deps {package}"
    )


def _is_plain_folder(module: ModuleType) -> bool:
    """Whether Python took a folder of that name, such as `datasets/` here, for the package."""
    spec = getattr(module, "__spec__", None)
    return spec is not None and spec.origin is None

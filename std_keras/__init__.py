"""Vision MLP students made accurate by Spatial-channel Token Distillation, in Keras 3.

Importing the package is cheap: each part is imported when it is first used, so that a program can
install its signal handlers, or refuse a wrong flag, before TensorFlow is loaded.
"""

from __future__ import annotations

import importlib
from types import ModuleType

__version__ = "0.1.0"

_PARTS = (
    "classifying",
    "config",
    "data",
    "errors",
    "exporting",
    "layers",
    "losses",
    "mine",
    "models",
    "rundir",
    "teachers",
    "trained",
    "training",
)

__all__ = ["__version__", *_PARTS]


def __getattr__(name: str) -> ModuleType:
    if name in _PARTS:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)

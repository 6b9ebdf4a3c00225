"""Vision MLP students made accurate by Spatial-channel Token Distillation, in Keras 3.

Importing the package is cheap: each part is imported when it is first used, so that a program can
install its signal handlers, or refuse a wrong flag, before TensorFlow is loaded.
"""

from __future__ import annotations

import importlib
from types import ModuleType

__version__ = "0.1.0"

_ROOMS = (
    "config",
    "data",
    "errors",
    "exporting",
    "layers",
    "losses",
    "models",
    "research",
    "runs",
    "teachers",
    "training",
    "weights",
)
# Parts that are known by a shorter name than their place.
_PARTS = {name: f"std_keras.{name}" for name in _ROOMS} | {"mine": "std_keras.losses.mine"}

__all__ = ["__version__", *sorted(_PARTS)]


def __getattr__(name: str) -> ModuleType:
    if name in _PARTS:
        return importlib.import_module(_PARTS[name])
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)

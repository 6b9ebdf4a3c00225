"""Weights of other code bases, other resolutions, and fine-tuning from a finished run.

The names are imported when they are used: where a run is (`located`) is asked without TensorFlow.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from std_keras.weights.convert import (
        Conversion,
        ConvertOptions,
        PartialLoadError,
        convert_weights,
    )
    from std_keras.weights.layouts import LAYOUTS
    from std_keras.weights.load import LoadReport, load_weights
    from std_keras.weights.resize import Resized, resize_run
    from std_keras.weights.source import SourceWeights, read_source

_NAMES = {
    "LAYOUTS": "layouts",
    "Conversion": "convert",
    "ConvertOptions": "convert",
    "LoadReport": "load",
    "PartialLoadError": "convert",
    "Resized": "resize",
    "SourceWeights": "source",
    "convert_weights": "convert",
    "load_weights": "load",
    "read_source": "source",
    "resize_run": "resize",
}

__all__ = [
    "LAYOUTS",
    "Conversion",
    "ConvertOptions",
    "LoadReport",
    "PartialLoadError",
    "Resized",
    "SourceWeights",
    "convert_weights",
    "load_weights",
    "read_source",
    "resize_run",
]


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_NAMES[name]}"), name)

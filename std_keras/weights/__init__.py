"""Weights of other code bases, other resolutions, and fine-tuning from a finished run."""

from __future__ import annotations

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

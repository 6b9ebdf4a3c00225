"""From a trained model to files that run without this package: SavedModel and TFLite.

Each part is imported when it is first used: `std_keras.exporting.classifying` needs neither
TensorFlow nor Keras.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from std_keras.exporting.card import card_of_run
    from std_keras.exporting.cold_start import cold_start_ms
    from std_keras.exporting.file_kinds import INPUT_TYPES, QUANTIZATIONS
    from std_keras.exporting.flatbuffer import count_ops
    from std_keras.exporting.inference import inference_model
    from std_keras.exporting.saved_model import write_saved_model
    from std_keras.exporting.tflite import convert
    from std_keras.exporting.verify import (
        FileRun,
        balanced_accuracy,
        largest_difference,
        run_file,
        time_file,
        top1,
        xnnpack_partitions,
    )

_FILES = {
    "INPUT_TYPES": "file_kinds",
    "QUANTIZATIONS": "file_kinds",
    "FileRun": "verify",
    "balanced_accuracy": "verify",
    "card_of_run": "card",
    "cold_start_ms": "cold_start",
    "convert": "tflite",
    "count_ops": "flatbuffer",
    "inference_model": "inference",
    "largest_difference": "verify",
    "run_file": "verify",
    "time_file": "verify",
    "top1": "verify",
    "write_saved_model": "saved_model",
    "xnnpack_partitions": "verify",
}

__all__ = [
    "INPUT_TYPES",
    "QUANTIZATIONS",
    "FileRun",
    "balanced_accuracy",
    "card_of_run",
    "cold_start_ms",
    "convert",
    "count_ops",
    "inference_model",
    "largest_difference",
    "run_file",
    "time_file",
    "top1",
    "write_saved_model",
    "xnnpack_partitions",
]


def __getattr__(name: str) -> Any:
    if name in _FILES:
        return getattr(importlib.import_module(f"{__name__}.{_FILES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

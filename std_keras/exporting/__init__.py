"""From a trained model to files that run without this package: SavedModel and TFLite."""

from __future__ import annotations

from std_keras.exporting.card import card_of_run
from std_keras.exporting.flatbuffer import count_ops
from std_keras.exporting.inference import inference_model
from std_keras.exporting.saved_model import write_saved_model
from std_keras.exporting.tflite import INPUT_TYPES, QUANTIZATIONS, convert
from std_keras.exporting.verify import (
    FileRun,
    largest_difference,
    run_file,
    time_file,
    top1,
    xnnpack_partitions,
)

__all__ = [
    "INPUT_TYPES",
    "QUANTIZATIONS",
    "FileRun",
    "card_of_run",
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

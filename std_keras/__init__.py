"""Spatial-channel Token Distillation of vision MLPs, in Keras 3.

Each command is a function here:

    teacher = std_keras.train(std_keras.TrainConfig(...), model_dir="runs/teacher")
    student = std_keras.train(std_keras.TrainConfig(teacher=(f"{teacher}",), ...), model_dir=...)
    std_keras.evaluate(student)
    std_keras.export(student, output_dir="exported")
    list(std_keras.classify("photos", model="exported/student_float32.tflite"))

Importing the package is cheap: each part is imported when it is first used, so that a program can
install its signal handlers, or refuse a wrong flag, before TensorFlow is loaded. Keras knows the
layers as soon as both packages are imported, so that `keras.saving.load_model` reads `model.keras`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from std_keras.registration import register_with_keras

if TYPE_CHECKING:
    from std_keras.config import TrainConfig
    from std_keras.data.smaller_copy import resize_images
    from std_keras.exporting.classifying.pictures import classify
    from std_keras.exporting.export import export
    from std_keras.research.analyze import analyze
    from std_keras.research.compare import compare
    from std_keras.research.report import report
    from std_keras.research.sweeps.sweep import sweep
    from std_keras.runs.evaluate import evaluate
    from std_keras.runs.packing.pack import pack
    from std_keras.runs.run import Run
    from std_keras.training.check_teacher import check_teacher
    from std_keras.training.precompute import precompute
    from std_keras.training.replay import replay
    from std_keras.training.teach import teach
    from std_keras.training.train import train
    from std_keras.weights.convert import convert
    from std_keras.weights.resize import resize_weights

__version__ = "0.1.0"

register_with_keras()

_ROOMS = (
    "config",
    "data",
    "errors",
    "exporting",
    "files",
    "layers",
    "losses",
    "models",
    "progress",
    "quiet",
    "research",
    "runs",
    "teachers",
    "training",
    "weights",
)
# Parts that are known by a shorter name than their place.
_PARTS = {name: f"std_keras.{name}" for name in _ROOMS} | {"mine": "std_keras.losses.mine"}
# Names of the package, and the module that defines each.
_NAMES = {
    "Run": "runs.run",
    "TrainConfig": "config",
    "analyze": "research.analyze",
    "check_teacher": "training.check_teacher",
    "classify": "exporting.classifying.pictures",
    "compare": "research.compare",
    "convert": "weights.convert",
    "evaluate": "runs.evaluate",
    "export": "exporting.export",
    "pack": "runs.packing.pack",
    "precompute": "training.precompute",
    "replay": "training.replay",
    "report": "research.report",
    "resize_images": "data.smaller_copy",
    "resize_weights": "weights.resize",
    "sweep": "research.sweeps.sweep",
    "teach": "training.teach",
    "train": "training.train",
}

__all__ = [
    "Run",
    "TrainConfig",
    "__version__",
    "analyze",
    "check_teacher",
    "classify",
    "compare",
    "config",
    "convert",
    "data",
    "errors",
    "evaluate",
    "export",
    "exporting",
    "files",
    "layers",
    "losses",
    "mine",
    "models",
    "pack",
    "precompute",
    "progress",
    "quiet",
    "replay",
    "report",
    "research",
    "resize_images",
    "resize_weights",
    "runs",
    "sweep",
    "teach",
    "teachers",
    "train",
    "training",
    "weights",
]


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(importlib.import_module(f"std_keras.{_NAMES[name]}"), name)
    if name in _PARTS:
        return importlib.import_module(_PARTS[name])
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)

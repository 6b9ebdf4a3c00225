"""From an image file and an exported TFLite file to class names, without TensorFlow.

Each part is imported when it is first used: what a file says of itself is read without LiteRT's
interpreter.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from std_keras.exporting.classifying.card import ModelCard
    from std_keras.exporting.classifying.classifier import Classifier, Prediction
    from std_keras.exporting.classifying.picture import center_square
    from std_keras.exporting.classifying.self_description import describe, read_description
    from std_keras.files.picture_file import extensions, open_picture

_FILES = {
    "Classifier": f"{__name__}.classifier",
    "ModelCard": f"{__name__}.card",
    "Prediction": f"{__name__}.classifier",
    "center_square": f"{__name__}.picture",
    "describe": f"{__name__}.self_description",
    "extensions": "std_keras.files.picture_file",
    "open_picture": "std_keras.files.picture_file",
    "read_description": f"{__name__}.self_description",
}

__all__ = [
    "Classifier",
    "ModelCard",
    "Prediction",
    "center_square",
    "describe",
    "extensions",
    "open_picture",
    "read_description",
]


def __getattr__(name: str) -> Any:
    if name in _FILES:
        return getattr(importlib.import_module(_FILES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

"""From an image file and an exported TFLite file to class names, without TensorFlow."""

from __future__ import annotations

from std_keras.exporting.classifying.card import ModelCard
from std_keras.exporting.classifying.classifier import Classifier, Prediction
from std_keras.exporting.classifying.picture import center_square
from std_keras.exporting.classifying.self_description import describe, read_description
from std_keras.files.picture_file import extensions, open_picture

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

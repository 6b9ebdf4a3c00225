"""Reads `.keras` files."""

from __future__ import annotations

import json
import re
import zipfile
import zlib
from pathlib import Path
from typing import Any

import keras

import std_keras.layers  # noqa: F401 (registers the layers that a saved model holds)
from std_keras.errors import InputError, reason_of
from std_keras.files.archive import HostileArchiveError, check_unpacked_size
from std_keras.files.whole_file import UnreadableWholeError, check_whole_file
from std_keras.models.weight_count import UnexplainedWeightsError, explained_weights

# ResNet-1202 has about 20,000. Each takes about a millisecond.
_MOST_PARTS = 30_000
# Keras builds a Sequential anew with every layer that it reads: 160 take 3 s, twice as many four
# times as long. This is the sum of the squares of their lengths.
_MOST_SEQUENTIAL = 200**2
_LAMBDA = re.compile(rb'"class_name": *"(Lambda|__lambda__)"')


def load_keras_file(path: Path) -> keras.Model:
    """Loads a `.keras` file in safe mode: a file from a stranger must not run code.

    Raises:
        InputError: if it is damaged, or would unpack to far more than its size explains.
    """
    try:
        check_whole_file(path)
        check_unpacked_size(path)
    except (HostileArchiveError, UnreadableWholeError) as error:
        raise InputError(f"{path} {error}") from error
    except (OSError, zipfile.BadZipFile):
        pass  # Keras says what is wrong with it.
    try:
        with explained_weights(_stored(path)):
            return keras.models.load_model(path, compile=False, safe_mode=True)
    except UnexplainedWeightsError as error:
        raise InputError(f"{path} {error}") from error
    except Exception as error:  # Keras raises many kinds for a damaged or foreign file.
        if _holds_code(path):
            raise InputError(
                f"{path} holds a Lambda layer, whose code is not run, for a file may be from "
                "anybody; save the model with a layer of Keras in its place (a teacher may also be "
                "a SavedModel, a TFLite or an ONNX file)"
            ) from error
        first = reason_of(error)
        raise InputError(f"{path} cannot be loaded as a Keras model: {first}") from error


def _holds_code(path: Path) -> bool:
    """Whether a file that Keras refused has Python code in it, as a Lambda layer has."""
    try:
        with zipfile.ZipFile(path) as archive:
            return _LAMBDA.search(archive.read("config.json")) is not None
    except (OSError, KeyError, RuntimeError, zipfile.BadZipFile, zlib.error):
        return False


def _sequential_work(description: Any) -> int:
    """The sum of the squares of the numbers of layers of all Sequentials in a description."""
    work, left = 0, [description]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            layers = value.get("layers")
            if isinstance(layers, list) and not {"input_layers", "output_layers"} & set(value):
                work += len(layers) ** 2
            left += value.values()
        elif isinstance(value, list):
            left += value
    return work


def _stored(path: Path) -> int:
    """How many numbers the file may hold; refuses a description that takes too long to read."""
    with zipfile.ZipFile(path) as archive:
        text = archive.read("config.json")
        if text.count(b'"class_name"') > _MOST_PARTS:
            raise UnexplainedWeightsError(
                f"describes more than {_MOST_PARTS:,} layers and parts of layers"
            )
        if _sequential_work(json.loads(text)) > _MOST_SEQUENTIAL:
            raise UnexplainedWeightsError(
                "describes a Sequential of more layers than Keras reads in a minute; save it as a "
                "functional model, keras.Model(inputs, outputs)"
            )
        # A byte or more for each; two of four bits are one byte.
        return sum(info.file_size for info in archive.infolist())

"""Models of Keras' own zoos: KerasHub, KerasCV, and what Keras saved on the Hugging Face Hub."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from std_keras.errors import InputError, reason_of
from std_keras.extras import imported
from std_keras.files.paths import user_path
from std_keras.files.texts import read_text
from std_keras.teachers.spec import TeacherSpec

HUB, CV, HF = "keras_hub:", "keras_cv:", "hf://"
PREFIXES = (HUB, CV, HF)
_SIZE = 224  # Of presets whose network takes any size: what ImageNet's are trained on.

# A model, how its pixels are prepared (None: the user says), and the side of its input.
Found = tuple[keras.Model, Callable[[tf.Tensor], tf.Tensor] | None, int | None]


def preset_folder(spec: TeacherSpec) -> Path | None:
    """The folder that a preset is, if it is one on this machine."""
    preset = spec.source.removeprefix(HUB).removeprefix(CV)
    return user_path(preset) if os.path.isdir(user_path(preset)) else None


def zoo_version(spec: TeacherSpec) -> str:
    """The library that loads a preset, and its version."""
    package = {HUB: "keras-hub", CV: "keras-cv"}.get(spec.source.partition(":")[0] + ":", "keras")
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return package


def preset_size(spec: TeacherSpec) -> int | None:
    """The side of the images that a preset takes, as far as its files here say it; for one that is
    to be downloaded, what those of its library mostly take."""
    if spec.source.startswith(HF):
        return None
    folder = preset_folder(spec)
    names = ("image_converter.json", "preprocessor.json", "config.json")
    found = (_size_in(folder / name) for name in names) if folder else iter(())
    return next((size for size in found if size), _SIZE)


def _size_in(file: Path) -> int | None:
    """The first size of an image that a preset's file names."""
    try:
        left = [json.loads(read_text(file))]
    except (OSError, ValueError, RecursionError):
        return None
    while left:
        value = left.pop(0)
        if isinstance(value, dict):
            for key in ("image_size", "image_shape", "input_shape"):
                sizes = value.get(key)
                if isinstance(sizes, list) and sizes and type(sizes[0]) is int:
                    return sizes[0]
            left += value.values()
        elif isinstance(value, list):
            left += value
    return None


def load_preset(spec: TeacherSpec) -> Found:
    """Loads `keras_hub:PRESET`, `keras_cv:PRESET` or `hf://ORG/NAME`.

    PRESET is what `from_preset` of the library takes: a name, a handle such as `hf://ORG/NAME` or
    `kaggle://...`, or a folder.

    Raises:
        InputError: if the library or the preset is missing, or it is not an image classifier.
    """
    if spec.source.startswith(HUB):
        return _from_keras_hub(spec, spec.source.removeprefix(HUB))
    if spec.source.startswith(CV):
        return _from_keras_cv(spec, spec.source.removeprefix(CV))
    imported("huggingface_hub", needed_by=f"{spec.flag}={spec.name}")  # By which Keras gets it.
    with _told(spec):
        source = _in_cache(spec.source)
        return keras.saving.load_model(source, compile=False, safe_mode=True), None, None


def _in_cache(source: str) -> str:
    """The folder of `hf://ORG/NAME`, if the hub's cache has a model in it.

    Keras would ask the hub at every start: a wait without a network, and with one another revision
    than that with which a training began.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(source.removeprefix(HF), local_files_only=True))
    except LocalEntryNotFoundError:
        return source
    whole = (folder / "config.json").is_file() and any(folder.glob("model.weights.*"))
    return str(folder) if whole else source


def _from_keras_hub(spec: TeacherSpec, preset: str) -> Found:
    keras_hub: Any = imported("keras_hub", needed_by=f"{spec.flag}={spec.name}")
    if preset.startswith(HF):
        imported("huggingface_hub", needed_by=f"{spec.flag}={spec.name}")
    with _told(spec):
        model = keras_hub.models.ImageClassifier.from_preset(preset)
    converter = getattr(model.preprocessor, "image_converter", None)
    if converter is None:
        return model, None, _side(spec, model, None)
    side = _side(spec, model, converter.image_size)
    if side is not None:
        converter.image_size = (side, side)  # To which the pixels have been resized already.
    return model, converter, side


def _from_keras_cv(spec: TeacherSpec, preset: str) -> Found:
    import keras_cv

    if preset.startswith(HF):
        imported("huggingface_hub", needed_by=f"{spec.flag}={spec.name}")
    with _told(spec):
        model = keras_cv.models.ImageClassifier.from_preset(preset)
    rescales = getattr(model.backbone, "include_rescaling", False)
    return model, (lambda pixels: pixels) if rescales else None, _side(spec, model, None)


def _side(spec: TeacherSpec, model: Any, preferred: tuple[int, int] | None) -> int | None:
    """The side of the input of a network that takes any size; None if it is fixed."""
    if model.input_shape[1] is not None:
        return None
    return spec.size or (preferred[0] if preferred else _SIZE)


@contextlib.contextmanager
def _told(spec: TeacherSpec) -> Iterator[None]:
    """Turns what the libraries raise into one sentence."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # Of their own, of Keras, of the HTTP clients beneath.
        first = reason_of(error)
        if first.startswith("Unknown preset identifier"):  # A list of the forms follows.
            raise InputError(
                f"{spec.flag}={spec.name} is not a preset: its library has none of this name, and "
                "there is no such folder; name one of its presets, hf://ORG/NAME, kaggle://... or "
                "a folder that save_to_preset wrote"
            ) from error
        if isinstance(error, (ValueError, TypeError, KeyError, NotImplementedError)):
            raise InputError(f"{spec.flag}={spec.name} cannot be loaded: {first}") from error
        raise InputError(
            f"{spec.flag}={spec.name} is neither on this machine nor could it be downloaded "
            f"({first}); run it once with network access"
        ) from error

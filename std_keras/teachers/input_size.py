"""The size of a teacher's input, read from its files without loading it."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from std_keras.files.archive import check_unpacked_size
from std_keras.files.paths import user_path
from std_keras.runs.run_directory import RunDirectory
from std_keras.runtimes.image_file import layout_of
from std_keras.teachers.identity import find
from std_keras.teachers.spec import TeacherSpec
from std_keras.teachers.zoos import preset_size

APPLICATIONS_SIZE = 224  # Of keras.applications, unless another is asked for.

# What a damaged or hostile archive and its description raise.
_DAMAGED = (
    *(AttributeError, EOFError, KeyError, OSError, RuntimeError, TypeError, ValueError),
    *(zipfile.BadZipFile, zlib.error),
)


def input_size(spec: TeacherSpec) -> int | None:
    """The longer side of the images that a teacher takes, in pixels.

    None if it takes any size and none was asked for, or if its files do not tell (loading it will
    say what is wrong with them).

    Raises:
        InputError: if the source is not a teacher.
    """
    path, kind = user_path(spec.source), find(spec)
    if spec.size is not None:
        return spec.size
    if kind == "applications":
        return APPLICATIONS_SIZE
    if kind in ("onnx", "tflite"):
        from std_keras.runtimes.declared import declared_shape  # LiteRT, for such a file alone.

        shape = declared_shape(path, name=f"{spec.flag}={spec.name}")
        layout = spec.layout or layout_of(shape) if shape else None
        if shape is None or layout is None:
            return None
        height, width = shape[1:] if layout == "nchw" else shape[:2]
        return _longer_side((None, height, width, None))
    if kind == "zoo":
        return preset_size(spec)
    if kind == "saved_model":
        return _longer_side(_signature_shape(path))
    return _longer_side(_model_shape(RunDirectory(path).model_file if kind == "run" else path))


def _longer_side(shape: Sequence[int | None] | None) -> int | None:
    """Of a batch (B, H, W, C)."""
    if shape is None or len(shape) != 4 or shape[1] is None or shape[2] is None:
        return None
    return max(shape[1], shape[2])


def _model_shape(path: Path) -> Sequence[int | None] | None:
    """The input of the model in a `.keras` file, as its description has it."""
    try:
        check_unpacked_size(path)
        with zipfile.ZipFile(path) as archive:
            description = json.loads(archive.read("config.json"))
        built = (description.get("build_config") or {}).get("input_shape")
        if _is_shape(built):
            return built
        shapes = [
            layer["config"].get("batch_shape")
            for layer in description["config"]["layers"]
            if layer["class_name"] == "InputLayer"
        ]
    except _DAMAGED:
        return None
    return shapes[0] if len(shapes) == 1 and _is_shape(shapes[0]) else None


def _is_shape(value: Any) -> bool:
    return isinstance(value, list) and all(n is None or type(n) is int for n in value)


def _signature_shape(path: Path) -> Sequence[int | None] | None:
    """The input of a SavedModel's signature `serving_default`."""
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import saved_model_pb2

    saved = saved_model_pb2.SavedModel()
    try:
        saved.ParseFromString((path / "saved_model.pb").read_bytes())
    except (OSError, DecodeError):
        return None
    for graph in saved.meta_graphs:
        inputs = graph.signature_def["serving_default"].inputs.values()
        if len(inputs) == 1:
            (tensor,) = inputs
            return [dim.size if dim.size > 0 else None for dim in tensor.tensor_shape.dim]
    return None

"""The shape of the images that a classifier's file takes, read without a runtime."""

from __future__ import annotations

import struct
from pathlib import Path

from ai_edge_litert import schema_py_generated as schema

from std_keras.exporting.classifying.self_description import is_tflite
from std_keras.files.whole_file import check_whole_file
from std_keras.runtimes import onnx_file

Shape = tuple[int | None, int | None, int | None]


def declared_shape(path: Path, *, name: str) -> Shape | None:
    """The three sizes of an image in the file's order; None for what is open.

    None if the file does not take one batch of images; opening it will say why.

    Raises:
        InputError: if an ONNX file cannot be read.
    """
    sizes = _of_onnx(path, name) if path.suffix.lower() == ".onnx" else _of_tflite(path)
    if sizes is None or len(sizes) != 4:
        return None
    one, two, three = (size if size and size > 0 else None for size in sizes[1:])
    return one, two, three


def _of_onnx(path: Path, name: str) -> list[int | None] | None:
    graph = onnx_file.read_model(path, name=name).graph
    constants = {array.name for array in graph.initializer}
    inputs = [one for one in graph.input if one.name not in constants]
    if len(inputs) != 1:
        return None
    return [size.dim_value for size in inputs[0].type.tensor_type.shape.dim]


def _of_tflite(path: Path) -> list[int | None] | None:
    try:
        check_whole_file(path)
        content = path.read_bytes()
        if not is_tflite(content):
            return None
        graph = schema.Model.GetRootAs(content, 0).Subgraphs(0)
        if graph.InputsLength() != 1:
            return None
        tensor = graph.Tensors(graph.Inputs(0))
        if tensor.ShapeSignatureLength():
            return [
                tensor.ShapeSignature(axis) for axis in range(min(tensor.ShapeSignatureLength(), 5))
            ]
        return [tensor.Shape(axis) for axis in range(min(tensor.ShapeLength(), 5))]
    except (OSError, AttributeError, struct.error, TypeError, ValueError, IndexError):
        return None  # It is damaged.

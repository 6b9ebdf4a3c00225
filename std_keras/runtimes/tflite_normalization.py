"""The range of pixels that a TFLite file's metadata asks for.

The standard (`metadata_schema.fbs`, in TensorFlow's and MediaPipe's code) has it as the mean and
standard deviation of an input's NormalizationOptions: input = (pixel - mean) / std. The numbers of
the fields are their positions there.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from flatbuffers import encode, number_types, packer
from flatbuffers.table import Table

from std_keras.runtimes.image_file import range_of

_NAME = b"TFLITE_METADATA"
_SUBGRAPHS, _INPUTS, _UNITS = 3, 2, 4
_OPTIONS_TYPE, _OPTIONS, _NORMALIZATION = 0, 1, 1
_MEAN, _STD = 0, 1
_IMAGENET = 255 * np.array([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])


def declared_range(content: bytes) -> str | None:
    """byte, unit, signed or imagenet; None if the file does not say, or asks for another range."""
    try:
        for mean, std in _normalizations(content):
            if mean.size == std.size == 3 and np.allclose([mean, std], _IMAGENET, rtol=0.01):
                return "imagenet"
            if mean.size and std.size and np.ptp(mean) == np.ptp(std) == 0 and std[0] > 0:
                return range_of(-mean[0] / std[0], (255 - mean[0]) / std[0])
    except (struct.error, IndexError, TypeError, ValueError, AttributeError, OverflowError):
        pass  # It is damaged, and the user is asked.
    return None


def _normalizations(content: bytes) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Mean and standard deviation of each normalisation of the first input."""
    model = schema.Model.GetRootAs(content, 0)
    entries = [model.Metadata(index) for index in range(model.MetadataLength())]
    for entry in entries:
        if entry.Name() != _NAME:
            continue
        data = model.Buffers(entry.Buffer()).DataAsNumpy().tobytes()
        root = Table(data, encode.Get(packer.uoffset, data, 0))
        graphs = itertools.islice(_tables(root, _SUBGRAPHS), 1)
        inputs = (one for graph in graphs for one in itertools.islice(_tables(graph, _INPUTS), 1))
        for unit in (unit for one in inputs for unit in _tables(one, _UNITS)):
            kind, options = _place(unit, _OPTIONS_TYPE), _place(unit, _OPTIONS)
            if not (kind and options):
                continue
            if unit.Get(number_types.Int8Flags, unit.Pos + kind) == _NORMALIZATION:
                inner = Table(data, unit.Indirect(unit.Pos + options))
                yield _floats(inner, _MEAN), _floats(inner, _STD)


def _place(table: Table, field: int) -> int:
    return int(table.Offset(4 + 2 * field))


def _tables(table: Table, field: int) -> Iterator[Table]:
    if place := _place(table, field):
        start = table.Vector(place)
        for index in range(table.VectorLen(place)):
            yield Table(table.Bytes, table.Indirect(start + 4 * index))


def _floats(table: Table, field: int) -> np.ndarray:
    if place := _place(table, field):
        return np.array(table.GetVectorAsNumpy(number_types.Float32Flags, place), np.float64)
    return np.zeros(0)

"""Writes TFLite files as small as the format allows."""

from __future__ import annotations

from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema


def packed(model: schema.ModelT, size: int) -> bytes:
    """The file of a model; `size` is about how many bytes it will have."""
    builder = _SharingBuilder(size)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


class _SharingBuilder(flatbuffers.Builder):
    """Writes equal vectors of integers once, and vectors of bytes at multiples of 16."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._written: dict[tuple[str, bytes], Any] = {}

    def CreateNumpyVector(self, x: np.ndarray) -> Any:  # noqa: N802 (the base class's name)
        if x.dtype in (np.int32, np.int64):
            key = (x.dtype.str, x.tobytes())
            if key not in self._written:
                self._written[key] = super().CreateNumpyVector(x)
            return self._written[key]
        if x.dtype == np.uint8 and len(x):
            self.Prep(16, len(x))  # As the schema asks for, and its Python code forgets.
        return super().CreateNumpyVector(x)

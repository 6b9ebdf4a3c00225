"""A `.keras` file with its weights in float16; Keras loads it into float32 variables as it is.

A network that was trained in mixed precision computes in float32 once it is packed, for it
may run on processors for which bfloat16 is slow. As a teacher it computes as its student does.
"""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import h5py
import numpy as np

from std_keras.errors import LimitError
from std_keras.layers.layer_config import with_precision

_WEIGHTS = "model.weights.h5"
_LAYERS = "config.json"
_DATE = (1980, 1, 1, 0, 0, 0)  # The same weights give the same bytes.


def convert(source: Path, target: Path) -> None:
    """Copies a `.keras` file, halves its floating-point weights, and lets it compute in float32.

    Raises:
        LimitError: if a weight is too large for float16.
    """
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for entry in old.infolist():
            content = old.read(entry)
            if entry.filename == _WEIGHTS:
                content = _halved(content, source)
            elif entry.filename == _LAYERS:
                content = _in_float32(content)
            new.writestr(
                zipfile.ZipInfo(entry.filename, _DATE),
                content,
                compress_type=zipfile.ZIP_DEFLATED,
                compresslevel=9,
            )


def _halved(content: bytes, source: Path) -> bytes:
    output = io.BytesIO()
    with h5py.File(io.BytesIO(content), "r") as old, h5py.File(output, "w") as new:
        _copy_attributes(old, new)

        def copy(name: str, item: h5py.Group | h5py.Dataset) -> None:
            if isinstance(item, h5py.Group):
                made = new.require_group(name)
            else:
                made = new.create_dataset(name, data=_half(item[()], f"{source}: {name}"))
            _copy_attributes(item, made)

        old.visititems(copy)
    return output.getvalue()


def _in_float32(content: bytes) -> bytes:
    config = json.loads(content)
    return json.dumps(with_precision(config, "float32", instead_of="mixed_bfloat16")).encode()


def _half(values: np.ndarray, name: str) -> np.ndarray:
    if not np.issubdtype(np.asarray(values).dtype, np.floating):
        return values
    with np.errstate(over="ignore"):
        half = np.asarray(values, np.float16)
    if not np.isfinite(half).all():
        raise LimitError(f"{name} holds a weight that is too large for float16 (65504)")
    return half


def _copy_attributes(old: h5py.Group | h5py.Dataset, new: h5py.Group | h5py.Dataset) -> None:
    for name, value in old.attrs.items():
        new.attrs[name] = value

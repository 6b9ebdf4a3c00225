"""Reads safetensors files, one alone or the parts that an index lists, with their own library.

The format holds a description in JSON and numbers, and nothing that could be executed. The library
compares every size and place with the file's length before it reads a number.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import ml_dtypes  # noqa: F401 (makes bfloat16 a type of NumPy)
import numpy as np
from safetensors import SafetensorError, safe_open

from std_keras.files.texts import read_text
from std_keras.weights.format_error import FormatError, check_count

SUFFIX = ".safetensors"
INDEX_SUFFIX = ".safetensors.index.json"
_KINDS = frozenset(
    ("F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8", "BOOL")
)
# Of descriptions, in bytes: those of as many arrays as `check_count` allows, several times over.
_LARGEST_HEADER = _LARGEST_INDEX = 8 * 2**20


def begins_as_one(path: Path) -> bool:
    """Whether a file of another name begins as the format does: a length, and JSON of it."""
    with open(path, "rb") as file:
        start = file.read(9)
    return start[8:] == b"{" and int.from_bytes(start[:8], "little") < path.stat().st_size


def read_safetensors(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Reads all arrays of a file, and what it says about itself.

    Returns:
        Arrays by name, bfloat16 widened to float32; the file's metadata.

    Raises:
        FormatError: if it is damaged, cut off or of another kind.
        OSError: if it cannot be read.
    """
    if path.stat().st_size < 8:
        raise FormatError("is not a safetensors file: it is too short")
    with open(path, "rb") as opened:
        header = int.from_bytes(opened.read(8), "little")
    if _LARGEST_HEADER < header < path.stat().st_size:
        raise FormatError(f"describes its arrays in {header:,} bytes, which is too many")
    try:
        with safe_open(path, framework="np") as file:
            names = file.keys()
            check_count(names)
            tensors = {name: _array(file, name) for name in names}
            return tensors, dict(file.metadata() or {})
    except (OSError, FormatError):
        raise
    except (SafetensorError, ValueError) as error:  # The second is NumPy's, of too many axes.
        text = str(error).removeprefix("Error while deserializing header: ")
        raise FormatError(
            f"is a damaged or cut-off safetensors file ({text.splitlines()[0][:200]})"
        ) from error


def parts(index: Path) -> list[Path]:
    """The files that an index lists, each once, in its folder.

    Raises:
        FormatError: if it is not an index, or names a file elsewhere.
        OSError: if it cannot be read.
    """
    return sorted(index.parent / name for name in set(_weight_map(index).values()))


def read_parts(index: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Reads the arrays of all files that an index lists.

    Raises:
        FormatError: if one is damaged, or has other arrays than the index says.
        OSError: if one cannot be read.
    """
    wanted = _weight_map(index)
    tensors: dict[str, np.ndarray] = {}
    metadata: dict[str, str] = {}
    for part in parts(index):
        try:
            found, about = read_safetensors(part)
        except FormatError as error:
            raise FormatError(f"lists {part.name}, which {error}") from error
        listed = {name for name, file in wanted.items() if file == part.name}
        if listed != set(found):
            name = min(listed ^ set(found))
            raise FormatError(f"does not say the same of {name} as {part.name}")
        tensors |= found
        metadata |= about
    return {name: tensors[name] for name in wanted}, metadata


def _weight_map(index: Path) -> Mapping[str, str]:
    if index.stat().st_size > _LARGEST_INDEX:
        raise FormatError("is too large for an index of safetensors files")
    try:
        content: Any = json.loads(read_text(index))
        names = content["weight_map"]
        check_count(names)
        named = [(str(name), PurePosixPath(file)) for name, file in names.items()]
    except FormatError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise FormatError("is not an index of safetensors files (it has no weight_map)") from error
    for _, file in named:
        # A file's name alone: an index must not lead to other places.
        if len(file.parts) != 1 or file.name in ("", "..") or file.suffix != SUFFIX:
            raise FormatError(
                f"names {str(file)[:80]!r}, which is not a safetensors file beside it"
            )
    return {name: file.name for name, file in named}


def _array(file: Any, name: str) -> np.ndarray:
    kind = file.get_slice(name).get_dtype()
    if kind not in _KINDS:
        raise FormatError(f"has {name} in numbers of type {kind}; save it in float32 or bfloat16")
    array = file.get_tensor(name)
    return array.astype(np.float32) if kind == "BF16" else array

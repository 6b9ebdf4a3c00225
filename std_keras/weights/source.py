"""A weight file of another code base: named arrays, whatever the format."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from std_keras.errors import InputError
from std_keras.files.paths import user_path
from std_keras.files.whole_file import UnreadableWholeError, check_whole_file
from std_keras.weights import safetensors_file
from std_keras.weights.file_names import WEIGHT_FILES
from std_keras.weights.format_error import (
    FormatError,
    check_count,
    damaged_archive,
    is_archive,
)
from std_keras.weights.npz_file import read_npz
from std_keras.weights.state_dict import find_state_dict, without_prefixes
from std_keras.weights.torch_file import open_torch_file

FORMATS = ("auto", "torch", "safetensors", "npz")


@dataclass(frozen=True)
class SourceWeights:
    """What a file holds.

    Attributes:
        path: the file.
        file_format: "torch zip", "torch legacy", "safetensors" or "npz".
        sha256: of the file.
        tensors: arrays by name.
        place: where in the file they were found, see `state_dict.StateDict`; "" for the whole.
        others: places of other weights in the file.
        script: arguments of the training script, if the file holds them.
        metadata: what a safetensors file says about itself.
        parts: of an index of several files, their SHA-256 by name.
    """

    path: Path
    file_format: str
    sha256: str
    tensors: dict[str, np.ndarray]
    place: str = ""
    others: tuple[str, ...] = ()
    script: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    parts: Mapping[str, str] = field(default_factory=dict)


def read_source(
    path: str | Path, *, file_format: str = "auto", place: str | None = None
) -> SourceWeights:
    """Reads a file of weights; nothing in it is executed, and PyTorch is not needed.

    Args:
        path: a PyTorch, safetensors or .npz file, the index of several safetensors files, or a
            folder with one of `WEIGHT_FILES`.
        file_format: "torch", "safetensors", "npz", or "auto" to tell by the content.
        place: keys of a PyTorch file that lead to the weights, joined by "/"; None to find them.

    Raises:
        InputError: if it cannot be read.
    """
    file = user_path(path)
    if file_format not in FORMATS:
        raise InputError(f"format={file_format} is not one of {', '.join(FORMATS)}")
    try:
        if file.is_dir():
            file = _weights_in(file)
        for part in safetensors_file.parts(file) if file.name.endswith(".json") else [file]:
            check_whole_file(part)
        if file_format == "auto":
            file_format = _detect(file)
        if file_format == "safetensors":
            return _read_safetensors(file)
        digest = _digest(file)
        if file_format == "npz":
            return SourceWeights(file, "npz", digest, read_npz(file))
        with open_torch_file(file) as opened:
            state = find_state_dict(opened.content, place=place)
            check_count(state.tensors)
            tensors = opened.read(state.tensors)
            kind = f"torch {opened.kind}"
        return SourceWeights(
            file, kind, digest, tensors, state.place, state.others, dict(state.script)
        )
    except OSError as error:
        which = file if error.filename is None else error.filename  # A part of an index, maybe.
        raise InputError(f"source={which} cannot be read: {error.strerror or error}") from error
    except (FormatError, UnreadableWholeError) as error:
        raise InputError(f"source={file} {error}") from error


def _weights_in(folder: Path) -> Path:
    for name in WEIGHT_FILES:
        if (folder / name).is_file():
            return folder / name
    raise InputError(
        f"source={folder} is a folder without {', '.join(WEIGHT_FILES[:-1])} or "
        f"{WEIGHT_FILES[-1]}; name a file of weights"
    )


def _read_safetensors(file: Path) -> SourceWeights:
    if file.name.endswith(".json"):
        parts = {part.name: _digest(part) for part in safetensors_file.parts(file)}
        tensors, metadata = safetensors_file.read_parts(file)
    else:
        parts = {}
        tensors, metadata = safetensors_file.read_safetensors(file)
    return SourceWeights(
        file,
        "safetensors",
        _digest(file),
        without_prefixes(tensors),
        metadata=metadata,
        parts=parts,
    )


def _digest(file: Path) -> str:
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _detect(path: Path) -> str:
    if path.name.endswith((safetensors_file.SUFFIX, safetensors_file.INDEX_SUFFIX)):
        return "safetensors"
    if not is_archive(path):
        return "safetensors" if safetensors_file.begins_as_one(path) else "torch"
    with damaged_archive(), zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    return "npz" if names and all(name.endswith(".npy") for name in names) else "torch"

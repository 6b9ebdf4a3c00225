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
from std_keras.weights.format_error import FormatError, damaged_archive, is_archive
from std_keras.weights.npz_file import read_npz
from std_keras.weights.state_dict import find_state_dict
from std_keras.weights.torch_file import open_torch_file

FORMATS = ("auto", "torch", "npz")


@dataclass(frozen=True)
class SourceWeights:
    """What a file holds.

    Attributes:
        path: the file.
        file_format: "torch zip", "torch legacy" or "npz".
        sha256: of the file.
        tensors: arrays by name.
        place: where in the file they were found, see `state_dict.StateDict`; "" for the whole.
        others: places of other weights in the file.
        script: arguments of the training script, if the file holds them.
    """

    path: Path
    file_format: str
    sha256: str
    tensors: dict[str, np.ndarray]
    place: str = ""
    others: tuple[str, ...] = ()
    script: Mapping[str, Any] = field(default_factory=dict)


def read_source(
    path: str | Path, *, file_format: str = "auto", place: str | None = None
) -> SourceWeights:
    """Reads a PyTorch or .npz file; nothing in it is executed, and PyTorch is not needed.

    Args:
        path: the file.
        file_format: "torch", "npz", or "auto" to tell by the content.
        place: keys of a PyTorch file that lead to the weights, joined by "/"; None to find them.

    Raises:
        InputError: if it cannot be read.
    """
    file = user_path(path)
    if file_format not in FORMATS:
        raise InputError(f"format={file_format} is not one of {', '.join(FORMATS)}")
    try:
        with open(file, "rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
            stream.seek(0)
            if file_format == "auto":
                file_format = _detect(file)
        if file_format == "npz":
            return SourceWeights(file, "npz", digest, read_npz(file))
        with open_torch_file(file) as opened:
            state = find_state_dict(opened.content, place=place)
            tensors = opened.read(state.tensors)
            kind = f"torch {opened.kind}"
        return SourceWeights(
            file, kind, digest, tensors, state.place, state.others, dict(state.script)
        )
    except OSError as error:
        raise InputError(f"source={file} cannot be read: {error.strerror or error}") from error
    except FormatError as error:
        raise InputError(f"source={file} {error}") from error


def _detect(path: Path) -> str:
    if not is_archive(path):
        return "torch"
    with damaged_archive(), zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    return "npz" if names and all(name.endswith(".npy") for name in names) else "torch"

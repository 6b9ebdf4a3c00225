"""Reads the files that `torch.save` writes, of both formats, without PyTorch.

Since PyTorch 1.6: a zip archive with the pickle NAME/data.pkl and the numbers of every storage in
NAME/data/KEY, uncompressed. Before: pickles (a magic number, the version, facts about the machine,
the object, the keys of the storages), then for each key the count of its elements in 8 bytes, and
the elements. Files that people still use are of that form: akamaster's CIFAR networks of 2018
(`layouts/cifar_resnet.py`) were never saved anew.
"""

from __future__ import annotations

import contextlib
import mmap
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np

from std_keras.weights import safe_pickle, torch_tensors
from std_keras.weights.format_error import FormatError, damaged_archive, is_archive
from std_keras.weights.torch_tensors import Storage, TensorView

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001


class TorchFile:
    """An open file.

    Attributes:
        content: the object that was saved, with a `TensorView` for every tensor.
        kind: "zip" or "legacy".
    """

    def __init__(
        self,
        content: Any,
        *,
        kind: str,
        size: int,
        byte_order: Literal["<", ">"],
        storage: Callable[[Storage], bytes | memoryview],
    ) -> None:
        self.content = content
        self.kind = kind
        self._size = size
        self._byte_order = byte_order
        self._storage = storage

    def read(self, views: dict[str, TensorView]) -> dict[str, np.ndarray]:
        """Reads tensors.

        Raises:
            FormatError: if the file is damaged, or the tensors are far larger than the file (a view
                can repeat one number as often as it likes).
        """
        needed = sum(view.size * view.storage.kind.item_bytes for view in views.values())
        if needed > 4 * self._size + 2**26:
            raise FormatError(
                f"describes tensors of {needed:,} bytes in a file of {self._size:,} bytes"
            )
        # By storage, so that one that several tensors share is read once.
        arrays = {}
        last_key: str | None = None
        content: bytes | memoryview = b""
        for name, view in sorted(views.items(), key=lambda item: item[1].storage.key):
            if view.storage.key != last_key:
                last_key, content = view.storage.key, self._storage(view.storage)
            arrays[name] = view.read(content, byte_order=self._byte_order)
        return {name: arrays[name] for name in views}


@contextlib.contextmanager
def open_torch_file(path: Path) -> Iterator[TorchFile]:
    """Opens a file that `torch.save` wrote.

    Raises:
        FormatError: if it is damaged, hostile or of another kind.
    """
    if is_archive(path):
        with contextlib.ExitStack() as stack:
            with damaged_archive():
                archive = stack.enter_context(zipfile.ZipFile(path))
                opened = _open_zip(archive, size=path.stat().st_size)
            yield opened
        return
    with open(path, "rb") as file:
        if file.read(2) == b"PK":
            raise FormatError("is cut off: it begins as a zip archive and does not end as one")
        if path.stat().st_size < 16:
            raise FormatError("is not a PyTorch file: it is too short")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            yield _open_legacy(content)


def _open_zip(archive: zipfile.ZipFile, *, size: int) -> TorchFile:
    files = {info.filename: info for info in archive.infolist()}
    roots = [name.removesuffix("data.pkl") for name in files if name.endswith("/data.pkl")]
    if len(roots) != 1:
        raise FormatError("is a zip archive, but not one that torch.save writes")
    (root,) = roots
    if f"{root}constants.pkl" in files:
        raise FormatError(
            "is a TorchScript program; save the weights alone: "
            "torch.save(torch.jit.load(FILE).state_dict(), OTHER)"
        )

    def read(name: str) -> bytes:
        info = files.get(f"{root}{name}")
        if info is None:
            raise FormatError(f"is damaged: {root}{name} is missing in it")
        if info.compress_type != zipfile.ZIP_STORED or info.file_size > size:
            raise FormatError(f"is damaged: {root}{name} is compressed, as torch.save never does")
        with damaged_archive():
            return archive.read(info)

    order = read("byteorder").strip() if f"{root}byteorder" in files else b"little"
    if files[f"{root}data.pkl"].file_size > safe_pickle.MAX_PICKLE_BYTES:
        raise FormatError("describes its tensors in too many bytes")
    content = safe_pickle.load(
        read("data.pkl"),
        names=torch_tensors.names(),
        persistent_load=torch_tensors.storage_from_reference,
    )
    return TorchFile(
        content,
        kind="zip",
        size=size,
        byte_order=">" if order == b"big" else "<",
        storage=lambda storage: read(f"data/{storage.key}"),
    )


def _open_legacy(file: mmap.mmap) -> TorchFile:
    try:
        magic, protocol = _next_pickle(file), _next_pickle(file)
    except FormatError as error:
        raise FormatError("is not a PyTorch file") from error
    if magic != _MAGIC or protocol != _PROTOCOL:
        raise FormatError("is not a file that torch.save wrote")
    machine = _next_pickle(file)
    if not isinstance(machine, dict) or machine.get("little_endian") is not True:
        raise FormatError("was written on a big-endian machine; save it anew with a recent PyTorch")
    storages: dict[str, Storage] = {}

    def refer(reference: Any) -> Storage:
        storage = torch_tensors.storage_from_reference(reference)
        storages.setdefault(storage.key, storage)
        return storage

    content = _next_pickle(file, persistent_load=refer)
    keys = _next_pickle(file)
    if not isinstance(keys, list) or not set(storages) <= set(map(str, keys)):
        raise FormatError("is damaged: it does not list its storages")
    places: dict[str, tuple[int, int]] = {}
    position = file.tell()
    for key in map(str, keys):
        if key not in storages:
            raise FormatError(f"is damaged: nothing uses its storage {key}")
        if position + 8 > len(file):
            raise FormatError(f"is cut off before the data of tensor {key}")
        (count,) = struct.unpack("<q", file[position : position + 8])
        length = count * storages[key].kind.item_bytes
        if count < 0 or position + 8 + length > len(file):
            raise FormatError(f"is cut off within the data of tensor {key}")
        places[key] = (position + 8, length)
        position += 8 + length

    def read(storage: Storage) -> bytes:
        start, length = places[storage.key]
        return file[start : start + length]

    return TorchFile(content, kind="legacy", size=len(file), byte_order="<", storage=read)


def _next_pickle(file: mmap.mmap, *, persistent_load: Callable[[Any], Any] | None = None) -> Any:
    start = file.tell()
    end = safe_pickle.end_of_pickle(file)  # type: ignore[arg-type]
    return safe_pickle.load(
        file[start:end], names=torch_tensors.names(), persistent_load=persistent_load
    )

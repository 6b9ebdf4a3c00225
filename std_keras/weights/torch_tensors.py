"""Tensors as PyTorch's files describe them: a view, by offset and strides, of a stored array."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from std_keras.weights.format_error import FormatError
from std_keras.weights.safe_pickle import PlainDict

# Name of the storage class, and the NumPy type of what it holds. NumPy has no bfloat16: it is read
# as 16 bits and widened.
_STORAGES = {
    "DoubleStorage": "f8",
    "FloatStorage": "f4",
    "HalfStorage": "f2",
    "BFloat16Storage": "u2",
    "LongStorage": "i8",
    "IntStorage": "i4",
    "ShortStorage": "i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}


class _Sealed:
    """A value that a pickle cannot change after it was checked (by its BUILD operation)."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        raise FormatError("is damaged: it changes a tensor's description")


@dataclass(frozen=True, slots=True)
class StorageType(_Sealed):
    """The type of a stored array, by the name of its class in PyTorch."""

    name: str

    __setstate__ = _Sealed.__setstate__  # Else `slots` would add one that sets the fields.

    @property
    def item_bytes(self) -> int:
        return np.dtype(_STORAGES[self.name]).itemsize


@dataclass(frozen=True, slots=True)
class Storage(_Sealed):
    """A stored array, not read yet.

    Attributes:
        key: how the file calls it.
        kind: type of its elements.
        size: number of elements.
        start: first element, in the array that the file calls `key`.
    """

    key: str
    kind: StorageType
    size: int
    start: int = 0

    __setstate__ = _Sealed.__setstate__


@dataclass(frozen=True, slots=True)
class TensorView(_Sealed):
    """A tensor, not read yet; offset and strides count elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    __setstate__ = _Sealed.__setstate__

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    def read(
        self, content: bytes | memoryview, *, byte_order: Literal["<", ">"] = "<"
    ) -> np.ndarray:
        """Cuts the tensor out of its storage's bytes; bfloat16 becomes float32.

        Raises:
            FormatError: if the bytes are fewer than the storage has.
        """
        kind = self.storage.kind
        needed = (self.storage.start + self.storage.size) * kind.item_bytes
        if len(content) < needed:
            raise FormatError(
                f"is cut off: the data of tensor {self.storage.key} has {len(content):,} bytes "
                f"instead of {needed:,}"
            )
        dtype = np.dtype(_STORAGES[kind.name]).newbyteorder(byte_order)
        if self.size == 0:
            return np.zeros(self.shape, dtype)
        flat = np.frombuffer(
            content, dtype, count=self.storage.size, offset=self.storage.start * kind.item_bytes
        )
        strides = tuple(stride * dtype.itemsize for stride in self.strides)
        view = np.lib.stride_tricks.as_strided(flat[self.offset :], self.shape, strides)
        values = view.astype(dtype.newbyteorder("="))
        if kind.name == "BFloat16Storage":
            return (values.astype(np.uint32) << 16).view(np.float32)
        return values


def storage_from_reference(reference: Any) -> Storage:
    """Makes a storage of ("storage", type, key, device, size[, view]).

    Raises:
        FormatError: if it is anything else.
    """
    if not isinstance(reference, tuple) or len(reference) not in (5, 6):
        raise FormatError("is damaged: it refers to data in an unknown way")
    tag, kind, key, _, size, *view = reference
    if tag != "storage" or not isinstance(kind, StorageType) or not isinstance(key, str):
        raise FormatError("is damaged: it refers to data in an unknown way")
    length, start = size, 0
    if view and view[0] is not None:  # A part of a shared storage, in files of old versions.
        if not isinstance(view[0], tuple) or len(view[0]) != 3:
            raise FormatError("is damaged: it refers to data in an unknown way")
        _, start, length = view[0]
    return Storage(key, kind, _count(length), _count(start))


def names() -> Mapping[tuple[str, str], Any]:
    """The names that the pickle of a state dict may use, for `safe_pickle.load`."""
    known: dict[tuple[str, str], Any] = {("collections", "OrderedDict"): PlainDict}
    for name in _STORAGES:
        known["torch", name] = known["torch.cuda", name] = StorageType(name)
    for module in ("torch._utils", "torch._tensor"):
        known[module, "_rebuild_tensor"] = _Function(_rebuild_tensor)
        known[module, "_rebuild_tensor_v2"] = _Function(_rebuild_tensor)
        known[module, "_rebuild_parameter"] = _Function(_rebuild_parameter)
        known[module, "_rebuild_parameter_with_state"] = _Function(_rebuild_parameter)
    return known


class _Function:
    """Calls a function; unlike the function itself it has no attributes that could be set."""

    __slots__ = ("_call",)

    _call: Callable[..., Any]

    def __init__(self, call: Callable[..., Any]) -> None:
        object.__setattr__(self, "_call", call)

    def __setattr__(self, name: str, value: Any) -> None:
        raise FormatError("is damaged: it sets attributes of functions")

    def __call__(self, *args: Any) -> Any:
        return self._call(*args)


def _rebuild_tensor(
    storage: Any, offset: Any, shape: Any, strides: Any, *unused: Any
) -> TensorView:
    if not isinstance(storage, Storage):
        raise FormatError("is damaged: a tensor has no data")
    sizes = tuple(_count(size) for size in shape)
    steps = tuple(_count(stride) for stride in strides)
    if len(sizes) != len(steps) or len(sizes) > 32:
        raise FormatError("is damaged: a tensor has other strides than axes")
    first = _count(offset)
    if math.prod(sizes):
        last = first + sum((n - 1) * step for n, step in zip(sizes, steps, strict=True))
        if last >= storage.size:
            raise FormatError(
                f"is damaged: a tensor of shape {sizes} reaches beyond its {storage.size:,} numbers"
            )
    return TensorView(storage, first, sizes, steps)


def _rebuild_parameter(data: Any, *unused: Any) -> Any:
    return data


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**62:
        raise FormatError("is damaged: a size in it is not an integer of at least 0")
    return value

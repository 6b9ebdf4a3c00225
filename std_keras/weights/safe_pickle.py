"""Reads pickles of PyTorch checkpoints without running anything that they ask for.

A pickle is a program: it names functions and calls them. Here it gets no function but the few
that describe tensors. Names that checkpoints carry beside the weights (the training script's
arguments, NumPy scalars) stand for objects that do nothing. Every other name is refused.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

from std_keras.errors import reason_of
from std_keras.files.texts import in_message
from std_keras.weights.format_error import FormatError

# A state dict is described in a few hundred kilobytes; its numbers are stored elsewhere.
MAX_PICKLE_BYTES = 64 * 2**20
# A tensor takes about 40 of a pickle's operations; those of a file of 64 MB take half a minute.
_MOST_OPERATIONS = 2_000_000

_INERT_NAMES = frozenset(
    [
        ("_codecs", "encode"),
        ("argparse", "Namespace"),
        ("collections", "Counter"),
        ("collections", "defaultdict"),
        ("collections", "deque"),
        ("copyreg", "_reconstructor"),
        ("easydict", "EasyDict"),
        ("numpy", "dtype"),
        ("numpy", "ndarray"),
        ("torch", "Size"),
        ("torch", "device"),
        ("types", "SimpleNamespace"),
        ("yacs.config", "CfgNode"),
        *(("pathlib", n) for n in ("Path", "PosixPath", "PurePosixPath", "WindowsPath")),
        *((f"numpy.{core}.multiarray", n) for core in ("core", "_core") for n in ("scalar",)),
        *((f"numpy.{core}.multiarray", "_reconstruct") for core in ("core", "_core")),
        *(
            (module, n)
            for module in ("builtins", "__builtin__")
            for n in ("bool", "complex", "dict", "float", "int", "list", "object", "set", "slice")
        ),
        *(
            ("torch", n)
            for n in ("bfloat16", "bool", "float16", "float32", "float64", "int32", "int64")
        ),
    ]
)


class Inert:
    """Stands for an object that is not needed; accepts whatever a pickle does to it.

    Attributes:
        state: the attributes that the pickle gives it, names and plain values, if any.
    """

    __slots__ = ("state",)

    state: dict[str, Any]

    def __new__(cls, *args: Any, **kwargs: Any) -> Inert:
        instance = super().__new__(cls)
        instance.state = {}
        return instance

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            self.state = state

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def append(self, value: Any) -> None:
        pass

    def extend(self, values: Any) -> None:
        pass

    def add(self, value: Any) -> None:
        pass


class PlainDict(dict[Any, Any]):
    """An `OrderedDict` whose attributes a pickle cannot set."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        pass


def load(
    content: bytes,
    *,
    names: Mapping[tuple[str, str], Any],
    persistent_load: Callable[[Any], Any] | None = None,
) -> Any:
    """Reads one pickle.

    Args:
        content: the whole pickle, nothing behind it.
        names: what the names (module, name) that a pickle may use stand for. They must have no
            attributes that can be set, because a pickle can ask for that too.
        persistent_load: turns the pickle's references to stored data into objects.

    Raises:
        FormatError: if it is damaged or names anything else.
    """
    if len(content) > MAX_PICKLE_BYTES:
        raise FormatError(f"describes its tensors in {len(content):,} bytes, which is too many")
    _check_operations(content)
    unpickler = _Unpickler(content, names, persistent_load)
    try:
        return unpickler.load()
    except FormatError:
        raise
    except Exception as error:  # A damaged or hostile pickle can raise almost anything.
        text = reason_of(error)
        raise FormatError(f"is damaged: its description of tensors cannot be read ({text})") from (
            error
        )


def end_of_pickle(stream: BinaryIO) -> int:
    """Skips one pickle in a stream, executing nothing, and returns the position behind it.

    Raises:
        FormatError: if there is no complete pickle of a sensible size.
    """
    start = stream.tell()
    try:
        for count, _ in enumerate(pickletools.genops(stream)):
            if stream.tell() - start > MAX_PICKLE_BYTES or count > _MOST_OPERATIONS:
                raise FormatError("describes its tensors in too many bytes")
    except FormatError:
        raise
    except Exception as error:  # genops raises several kinds on bytes that are not a pickle.
        raise FormatError(f"is damaged or cut off: {reason_of(error)}") from error
    return stream.tell()


def _check_operations(content: bytes) -> None:
    """Rejects what would make the unpickler allocate unbounded memory."""
    stored = 0
    try:
        for count, (operation, argument, _) in enumerate(pickletools.genops(content)):
            if count > _MOST_OPERATIONS:
                raise FormatError(
                    f"describes its tensors in more than {_MOST_OPERATIONS:,} steps, which is too "
                    "many"
                )
            if "PUT" in operation.name:
                stored += 1  # A pickler numbers what it stores without gaps.
                if not isinstance(argument, int) or argument > stored:
                    raise FormatError("is damaged: its description of tensors skips numbers")
    except FormatError:
        raise
    except Exception as error:
        raise FormatError(f"is damaged or cut off: {reason_of(error)}") from error


class _Unpickler(pickle.Unpickler):
    def __init__(
        self,
        content: bytes,
        names: Mapping[tuple[str, str], Any],
        persistent_load: Callable[[Any], Any] | None,
    ) -> None:
        # Strings written by Python 2 come as bytes without an encoding.
        super().__init__(io.BytesIO(content), encoding="utf-8")
        self._names = names
        self._load_reference = persistent_load

    def find_class(self, module: str, name: str) -> Any:
        key = (str(module), str(name))
        if key in self._names:
            return self._names[key]
        if key in _INERT_NAMES:
            return Inert
        raise FormatError(
            f"names {in_message(module)}.{in_message(name)}, which is not a tensor and is not "
            "executed; where you trust the file, save its state dict alone with "
            "torch.save(model.state_dict(), FILE)"
        )

    def persistent_load(self, reference: Any) -> Any:
        if self._load_reference is None:
            raise FormatError("is damaged: it refers to missing data")
        return self._load_reference(reference)

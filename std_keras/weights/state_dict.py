"""Finds the state dict in what a training script saved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from std_keras.weights.format_error import FormatError
from std_keras.weights.safe_pickle import Inert
from std_keras.weights.torch_tensors import TensorView

# Where scripts keep it, averaged weights first, as timm's loader prefers them.
WRAPPERS = (
    "state_dict_ema",
    "model_ema",
    "ema",
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "module",
    "net",
)
# Put before every name by DataParallel, torch.compile and Lightning.
_PREFIXES = ("module.", "_orig_mod.", "model.")
_T = TypeVar("_T")


@dataclass(frozen=True)
class StateDict:
    """A state dict found in a file.

    Attributes:
        tensors: by name, prefixes removed.
        place: the keys that lead to it, joined by "/"; "" if the file holds nothing else.
        others: places of other state dicts.
        script: the training script's arguments, if the file holds them.
    """

    tensors: dict[str, TensorView]
    place: str
    others: tuple[str, ...]
    script: Mapping[str, Any]


def find_state_dict(content: Any, *, place: str | None = None) -> StateDict:
    """Finds the state dict.

    Args:
        content: what `torch.save` was given.
        place: the keys that lead to it, joined by "/"; None takes the only one, or the first in
            the order of `WRAPPERS`.

    Raises:
        FormatError: if the file has no state dict, or none at `place`.
    """
    found: dict[str, Mapping[Any, Any]] = {}
    _collect(content, "", found, depth=3)
    if not found:
        raise FormatError("holds no state dict (names with tensors)")
    if place is not None and place not in found:
        raise FormatError(
            f"has no state dict under {place!r}; there is one under "
            + ", ".join(repr(name) for name in found)
        )
    chosen = next(iter(found)) if place is None else place
    tensors = {
        str(name): value for name, value in found[chosen].items() if isinstance(value, TensorView)
    }
    arguments = content.get("args") if isinstance(content, Mapping) else None
    return StateDict(
        tensors=without_prefixes(tensors),
        place=chosen,
        others=tuple(name for name in found if name != chosen),
        script=arguments.state if isinstance(arguments, Inert) else {},
    )


def _collect(content: Any, place: str, found: dict[str, Mapping[Any, Any]], *, depth: int) -> None:
    if not isinstance(content, Mapping):
        return
    if depth:
        for key in WRAPPERS:
            below = f"{place}/{key}" if place else key
            _collect(content.get(key), below, found, depth=depth - 1)
    if any(isinstance(value, TensorView) for value in content.values()):
        found[place] = content


def without_prefixes(tensors: dict[str, _T]) -> dict[str, _T]:
    """The same under the names that the module itself gives, without those of its wrappers."""
    while True:
        for prefix in _PREFIXES:
            if tensors and all(name.startswith(prefix) for name in tensors):
                tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
                break
        else:
            return tensors

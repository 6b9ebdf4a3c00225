"""Models by name."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Sequence
from typing import Any

import keras

from std_keras import config
from std_keras.errors import InputError
from std_keras.models.image_model import ImageModelSpec

Builder = Callable[[ImageModelSpec, Any], keras.Model]


@dataclasses.dataclass(frozen=True)
class _Entry:
    options: Any
    build: Builder


_ENTRIES: dict[str, _Entry] = {}


def register(name: str, options: Any, build: Builder) -> None:
    """Makes a model available by name.

    Args:
      name: the registered name.
      options: frozen dataclass with the values this name stands for. Its fields are the options
        (and the flags) that the family knows; it checks them itself in `__post_init__`.
      build: called as `build(spec, options)`; returns a functional Keras model with images 0..255
        as input and float32 logits as output, whose layers are named "normalization", "stem",
        "block_{i}" (pyramids: "stage_{s}_block_{i}", both from 0), "final_norm", "pool",
        "classification" where it has them.

    Raises:
      ValueError: the name is taken, or the options are not a dataclass instance.
    """
    if name in _ENTRIES:
        raise ValueError(f"a model named {name!r} is already registered")
    if not dataclasses.is_dataclass(options) or isinstance(options, type):
        raise ValueError(f"options={options!r} must be an instance of a dataclass")
    _ENTRIES[name] = _Entry(options, build)


def names() -> tuple[str, ...]:
    """All registered names, in the order of registration."""
    return tuple(_ENTRIES)


def resolve(name: str, **options: Any) -> Any:
    """The options of a name, with those given (and not None) in place of its own.

    Raises:
      InputError: unknown name, an option that its family does not know, or a bad value.
    """
    entry = _entry(name)
    given = {key: value for key, value in options.items() if value is not None}
    flags = config.options()
    known = [field.name for field in dataclasses.fields(entry.options)]
    for key in given:
        if key not in known:
            raise InputError(
                f"`{key}` does not apply to {name}; its options are "
                # Some options are Python's alone and have no flag.
                f"{', '.join(option for option in known if option in flags)}"
            )
    return dataclasses.replace(entry.options, **given)


def create(
    name: str,
    *,
    input_shape: Sequence[int],
    num_classes: int,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    **options: Any,
) -> keras.Model:
    """Creates a registered model with new weights.

    Args:
      name: one of `names()`.
      input_shape: (height, width, channels) of the images, whose values are 0..255.
      num_classes: size of the class head.
      mean: of pixels scaled to 0..1; one number, or one per channel; 0.5 by default.
      std: standard deviation, in the same form.
      **options: override the options that the name stands for; None means not given.

    Returns:
      A functional model: images (B, H, W, C), uint8 or float, to float32 logits (B, num_classes).

    Raises:
      InputError: unknown name, an option that its family does not know, or a bad value.
    """
    resolved = resolve(name, **options)
    spec = ImageModelSpec.checked(
        name=name, input_shape=input_shape, num_classes=num_classes, mean=mean, std=std
    )
    return _ENTRIES[name].build(spec, resolved)


def _entry(name: str) -> _Entry:
    if name not in _ENTRIES:
        close = difflib.get_close_matches(name, _ENTRIES, n=3)
        hint = f"did you mean {' or '.join(close)}" if close else f"known: {', '.join(_ENTRIES)}"
        raise InputError(f"model={name}: no such model; {hint}")
    return _ENTRIES[name]

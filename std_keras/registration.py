"""Makes this package's layers known to Keras, without loading Keras.

Keras finds a class of a `.keras` file only if the module that defines it was imported. So once
Keras is there, now or later, `std_keras.layers` is imported, which costs little beside Keras.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

_REGISTERING = ("std_keras.layers", "std_keras.losses.mine")


def register_with_keras() -> None:
    """Registers the layers now if Keras is loaded, else as soon as it is."""
    if "keras" in sys.modules:
        _register()
    elif not any(isinstance(finder, _KerasFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _KerasFinder())


def _register() -> None:
    for name in _REGISTERING:
        # `import keras` must not fail because of this package: TensorFlow may be missing (Keras has
        # other backends), or Keras be too old. Importing the layers themselves says what is wrong.
        with contextlib.suppress(Exception):
            importlib.import_module(name)


class _KerasFinder:  # `importlib.abc` would load much that a refused flag does not need.
    """Finds Keras as it is always found; once it has run, the layers are registered."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "keras":
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def execute_and_register(module: ModuleType) -> None:
            with contextlib.suppress(ValueError):
                sys.meta_path.remove(self)
            execute(module)
            _register()

        spec.loader.exec_module = execute_and_register  # type: ignore[method-assign]
        return spec

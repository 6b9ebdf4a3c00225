"""Lets `std_keras.train` be the function and the module of `python -m std_keras.train` at once.

Python sets a submodule as an attribute of its package when it is imported, and so `import
std_keras.train` would hide the function of that name. The four modules are therefore callable.
"""

from __future__ import annotations

import inspect
import sys
from types import ModuleType
from typing import Any

import std_keras


class _CallableModule(ModuleType):
    """A module that, when it is called, is the package's function of its name."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return _function(self)(*arguments, **options)

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(_function(self))


def make_callable(name: str) -> None:
    """Makes the module `name`, directly below the package, callable; `__main__` is left alone."""
    if name != "__main__":
        sys.modules[name].__class__ = _CallableModule


def _function(module: ModuleType) -> Any:
    return std_keras.__getattr__(module.__name__.rpartition(".")[2])

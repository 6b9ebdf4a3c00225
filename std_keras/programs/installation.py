"""Where this package is, and how its commands are started as processes of their own."""

from __future__ import annotations

import os
import sys
import sysconfig
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent.parent


def checkout() -> Path | None:
    """The root of the repository that the package is run from; None if it was installed."""
    return _PACKAGE.parent if (_PACKAGE.parent / "pyproject.toml").exists() else None


def command(name: str, *arguments: str) -> list[str]:
    """The command line that runs a command of `std-keras` with this interpreter."""
    return [sys.executable, "-m", "std_keras", name, *arguments]


def environment() -> dict[str, str]:
    """This process's environment, in which an interpreter finds this package and no other."""
    place = str(_PACKAGE.parent)
    environment = dict(os.environ)
    # Where packages are installed is searched anyway, and after the standard library.
    if place not in (sysconfig.get_path("purelib"), sysconfig.get_path("platlib")):
        environment["PYTHONPATH"] = os.pathsep.join(
            filter(None, (place, environment.get("PYTHONPATH", "")))
        )
    return environment

"""What the tests of the repository's tools share."""

from __future__ import annotations

import importlib

import pytest


@pytest.fixture
def tools():
    """Imports a module of the benchmarks."""
    return lambda name: importlib.import_module(f"tools.benchmarks.{name}")

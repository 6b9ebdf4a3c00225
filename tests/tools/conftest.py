"""What the tests of the repository's tools share."""

from __future__ import annotations

import importlib
from collections.abc import Iterator

import pytest


@pytest.fixture
def tools():
    """Imports a module of the benchmarks."""
    return lambda name: importlib.import_module(f"tools.benchmarks.{name}")


@pytest.fixture
def eagerly() -> Iterator[None]:
    """Runs tf.functions as Python: tracing costs more than these few batches."""
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)

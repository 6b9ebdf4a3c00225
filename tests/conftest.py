"""What all tests share: a quiet TensorFlow, and a way to run the programs as a user would."""

from __future__ import annotations

import gc
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from std_keras import graph_optimizer, kernels

ROOT = Path(__file__).resolve().parent.parent
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# As in the programs: the same step has the same digits here and there.
kernels.choose()
graph_optimizer.choose()
# Until `pytest_collection_finish`.
gc.disable()


# Files that take long, about the longest first. Two processes take whole files in the
# order in which they are collected, so that short ones fill up the end.
LONG = (
    "training/test_teacher_cache.py",
    "training/test_interruption.py",
    "test_cluster.py",
    "programs/test_programs.py",
    "programs/test_analyze.py",
    "models/test_parameter_counts.py",
    "weights/test_hub.py",
    "data/augmentation/test_purity.py",
    "teachers/test_inference_form.py",
    "docs/test_python_code.py",
    "examples/test_quickstart_notebook.py",
    "programs/test_compare.py",
    "test_fuzz.py",
    "test_packaging.py",
    "data/test_views.py",
    "models/test_macs.py",
    "exporting/test_saved_model.py",
    "training/test_teach.py",
    "training/test_teacher_views.py",
    "data/test_pipeline.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first; within a file, and among the others, the order stays."""
    place = {ROOT / "tests" / name: number for number, name in enumerate(LONG)}
    items.sort(key=lambda item: place.get(item.path, len(LONG)))


def pytest_collection_finish() -> None:
    """Modules that are loaded stay; graphs are many objects, few of which are garbage soon.

    Python looks for garbage after each 700 new objects otherwise, in the end among all of them.
    """
    gc.freeze()
    gc.set_threshold(50_000, 10, 10)
    gc.enable()


@pytest.fixture(autouse=True)
def _own_log_lines() -> Iterator[None]:
    """Undoes what a program that runs inside a test does to the package's logger."""
    logger = logging.getLogger("std_keras")
    kept = logger.handlers[:], logger.propagate, logger.level
    yield
    logger.handlers[:], logger.propagate = kept[:2]
    logger.setLevel(kept[2])


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def run_program() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs `python -m std_keras.NAME ARGUMENTS` from the repository and captures its output."""

    def run(
        name: str, *arguments: str, cwd: Path = ROOT, timeout: float = 600
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", f"std_keras.{name}", *arguments],
            cwd=cwd,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return run

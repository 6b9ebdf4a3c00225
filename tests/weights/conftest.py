from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def torch() -> Any:
    return pytest.importorskip("torch")


@pytest.fixture(params=["zip", "legacy"])
def save(request, torch, tmp_path) -> Callable[..., Path]:
    """`torch.save` in one of its formats."""

    def write(content: Any, name: str = "weights.pth") -> Path:
        path = tmp_path / name
        torch.save(content, path, _use_new_zipfile_serialization=request.param == "zip")
        return path

    return write

"""Independent implementations that parity tests compare with, or the reason why there are none."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

import pytest

# The operators of torchvision's compiled part that its import cannot do without.
_OPERATORS = ("nms", "qnms")
_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
# A declaration lasts as long as its library object.
_libraries: list[Any] = []


def import_timm() -> ModuleType:
    """`timm.models`; skips the test if it cannot be had.

    timm imports torchvision, and that fails ("operator torchvision::nms does not exist") where its
    compiled part was built for another torch. The models compared here use no such operator, so
    declaring them without a body is enough.
    """
    torch = pytest.importorskip("torch")
    try:
        try:
            importlib.import_module("torchvision")
        except RuntimeError:
            for name in [n for n in sys.modules if n.split(".")[0] in ("torchvision", "timm")]:
                del sys.modules[name]
            _libraries.append(torch.library.Library("torchvision", "FRAGMENT"))
            for operator in _OPERATORS:
                _libraries[-1].define(f"{operator}{_SCHEMA}")
        return importlib.import_module("timm.models")
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"timm cannot be imported: {error}")

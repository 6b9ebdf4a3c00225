"""Backbones by name, students around them, and the ways to read their heads."""

from __future__ import annotations

import importlib
from typing import Any

# Importing a family registers its names.
from std_keras.models import (  # noqa: F401
    airbench,
    cifar_resnet,
    cyclemlp,
    deit,
    gmlp,
    mixer,
    regnety,
    resmlp,
    swin,
    wide_resnet,
)
from std_keras.models.macs import multiply_accumulates
from std_keras.models.outputs import (
    auxiliary_names,
    head_names,
    heads_model,
    prediction_model,
    trainable_parameters,
    training_model,
    without_auxiliaries,
)
from std_keras.models.registry import create, names, register, resolve
from std_keras.models.sites import sites
from std_keras.models.student import attach_tokens, create_student

__all__ = [
    "attach_tokens",
    "auxiliary_names",
    "create",
    "create_student",
    "head_names",
    "heads_model",
    "multiply_accumulates",
    "names",
    "prediction_model",
    "register",
    "resolve",
    "sites",
    "trainable_parameters",
    "training_model",
    "without_auxiliaries",
]


# Of research code, imported on first use.
_ELSEWHERE = {"create_skeptical": "std_keras.research.undistillable.skeptical_student"}


def __getattr__(name: str) -> Any:
    if name not in _ELSEWHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_ELSEWHERE[name]), name)

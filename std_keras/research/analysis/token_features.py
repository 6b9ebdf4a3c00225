"""Tokens of a student, and the features that they read, for the same images."""

from __future__ import annotations

from dataclasses import dataclass

import keras
import numpy as np

from std_keras.layers import TokenSet
from std_keras.research.analysis.unsuitable import UnsuitableModelError


@dataclass(frozen=True)
class TokenData:
    """Inputs and outputs of one token set for n images.

    Attributes:
        features: (n, P, N) that it read.
        tokens: "spatial" (n, N) and "channel" (n, P), or the one that it has.
    """

    features: np.ndarray
    tokens: dict[str, np.ndarray]


def token_sets(model: keras.Model) -> list[TokenSet]:
    """The token sets of a student.

    Raises:
        UnsuitableModelError: the model has no token sets.
    """
    found = [layer for layer in model.layers if isinstance(layer, TokenSet)]
    if not found:
        raise UnsuitableModelError(
            f"the model {model.name} has no token sets (a run without distillation, "
            "or with tokens=none or deit); give the run directory of a student that has"
        )
    return found


def token_model(model: keras.Model) -> keras.Model:
    """A model that gives by token set {"features", "spatial", "channel"}, and "classification"."""
    outputs = {}
    for layer in token_sets(model):
        tensors = layer.output if isinstance(layer.output, list) else [layer.output]
        # Keras keeps the outputs as a list sorted by their keys.
        outputs[layer.name] = dict(zip(sorted(layer.token_names), tensors, strict=True))
        inputs = layer.input
        outputs[layer.name]["features"] = inputs[0] if isinstance(inputs, list) else inputs
    return keras.Model(model.input, outputs, name=f"{model.name}_tokens")


def head_of(model: keras.Model, token_set: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Kernel (d, K) and bias (K,) of the head that reads a token set; None if it has no head."""
    name = token_set.replace("tokens", "distillation")
    if not any(layer.name == name for layer in model.layers):
        return None  # Its tokens are carried on to another set (--propagate_tokens).
    kernel, bias = model.get_layer(name).get_weights()
    return kernel.astype(np.float64), bias.astype(np.float64)

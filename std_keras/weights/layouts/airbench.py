"""The networks of CIFAR speed runs, as `airbench.make_net94()` and its like save their state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from std_keras.weights.layout import (
    COUNTERS,
    Entry,
    Facts,
    Layout,
    Statistics,
    convolution_entries,
    linear_entries,
    same,
    stage_blocks,
)

_EPSILON = 1e-12  # Of the code's BatchNorm.
_HEAD = "7.weight"


def _facts(tensors: Mapping[str, np.ndarray], script: Mapping[str, Any]) -> Facts:
    return Facts(
        num_classes=tensors[_HEAD].shape[0],
        image_size=32,
        channels=tensors["0.weight"].shape[1],
        options={
            "widths": tuple(tensors[f"{n}.conv1.weight"].shape[0] for n in (2, 3, 4)),
            "convolutions": 3 if "2.conv3.weight" in tensors else 2,
        },
    )


def _statistics(num_classes: int) -> Statistics | None:
    """Those of CIFAR-10, on which the code trains."""
    if num_classes != 10:
        return None
    return (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


def _entries(model: keras.Model) -> list[Entry]:
    entries = [
        *convolution_entries("stem", "0"),
        *linear_entries("classification", _HEAD.removesuffix(".weight"), bias=False),
    ]
    for target, stage, _ in stage_blocks(model):
        has_third = any(layer.name == f"{target}_conv_3" for layer in model.layers)
        for i in (1, 2, 3) if has_third else (1, 2):
            conv, norm = f"{target}_conv_{i}", f"{stage + 2}.norm{i}"
            entries += convolution_entries(conv, f"{stage + 2}.conv{i}", bias=False)
            epsilon = model.get_layer(f"{target}_norm_{i}").epsilon

            # The model adds an epsilon of its own to the variance.
            def variance(array: np.ndarray, added: float = _EPSILON - epsilon) -> np.ndarray:
                return array + np.asarray(added, array.dtype)

            entries += [
                Entry(f"{target}_norm_{i}/beta", (f"{norm}.bias",), same),
                Entry(f"{target}_norm_{i}/moving_mean", (f"{norm}.running_mean",), same),
                Entry(f"{target}_norm_{i}/moving_variance", (f"{norm}.running_var",), variance),
            ]
    return entries


AIRBENCH = Layout(
    name="airbench",
    source="github.com/KellerJordan/cifar10-airbench",
    families=("airbench",),
    signature=("0.weight", "2.conv1.weight", _HEAD),
    statistics=_statistics,
    facts=_facts,
    entries=_entries,
    unneeded=(
        *COUNTERS,
        (r"\d\.norm[123]\.weight", "the scale of BatchNorm, which is one and does not learn"),
    ),
)

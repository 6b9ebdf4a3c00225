"""Wide residual networks of RepDistiller, the code of Tian et al. 2020 (arXiv 1910.10699)."""

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
    batch_norm_entries,
    convolution_entries,
    linear_entries,
    numbered,
    stage_blocks,
)
from std_keras.weights.layouts.cifar_resnet import repdistiller_statistics


def _facts(tensors: Mapping[str, np.ndarray], script: Mapping[str, Any]) -> Facts:
    return Facts(
        num_classes=tensors["fc.bias"].shape[0],
        image_size=32,
        channels=tensors["conv1.weight"].shape[1],
        options={
            "depth": 6 * numbered(tensors, "block1.layer.{}.conv1.weight") + 4,
            "widening": tensors["block1.layer.0.conv1.weight"].shape[0] // 16,
        },
    )


def _entries(model: keras.Model) -> list[Entry]:
    entries = [
        *convolution_entries("stem", "conv1", bias=False),
        *batch_norm_entries("final_norm", "bn1"),
        *linear_entries("classification", "fc"),
    ]
    names = {layer.name for layer in model.layers}
    for target, stage, number in stage_blocks(model):
        source = f"block{stage + 1}.layer.{number}"
        for i in (1, 2):
            conv, norm = f"{target}_conv_{i}", f"{target}_norm_{i}"
            entries += convolution_entries(conv, f"{source}.conv{i}", bias=False)
            entries += batch_norm_entries(norm, f"{source}.bn{i}")
        if f"{target}_shortcut" in names:
            shortcut = f"{target}_shortcut"
            entries += convolution_entries(shortcut, f"{source}.convShortcut", bias=False)
    return entries


REPDISTILLER = Layout(
    name="repdistiller",
    source="github.com/HobbitLong/RepDistiller",
    families=("wrn_",),
    signature=("conv1.weight", "block1.layer.0.bn1.weight", "fc.bias"),
    statistics=repdistiller_statistics,
    facts=_facts,
    entries=_entries,
    unneeded=COUNTERS,
)

"""Residual networks for CIFAR: two public collections, which differ in the shortcut."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import keras
import numpy as np

from std_keras.weights.layout import (
    COUNTERS,
    IMAGENET,
    Entry,
    Facts,
    Layout,
    Statistics,
    batch_norm_entries,
    convolution_entries,
    linear_entries,
    numbered,
    stage_blocks,
)

# By number of classes: the data is CIFAR-10 or CIFAR-100.
_CHENYAOFO = {
    10: ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    100: ((0.5070, 0.4865, 0.4409), (0.2673, 0.2564, 0.2761)),
}


def repdistiller_statistics(num_classes: int) -> Statistics | None:
    """Those of CIFAR-100, the data of all that RepDistiller publishes."""
    if num_classes != 100:
        return None
    return (0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)


def _facts(tensors: Mapping[str, np.ndarray], script: Mapping[str, Any], *, head: str) -> Facts:
    firsts = [tensors[f"layer{stage}.0.conv1.weight"] for stage in (1, 2, 3)]
    return Facts(
        num_classes=tensors[f"{head}.bias"].shape[0],
        image_size=32,
        channels=tensors["conv1.weight"].shape[1],
        options={
            "depth": 6 * numbered(tensors, "layer1.{}.conv1.weight") + 2,
            "widths": (tensors["conv1.weight"].shape[0], *(first.shape[0] for first in firsts)),
        },
    )


def _entries(model: keras.Model, *, head: str, shortcut: str) -> list[Entry]:
    entries = [
        *convolution_entries("stem", "conv1", bias=False),
        *batch_norm_entries("stem_norm", "bn1"),
        *linear_entries("classification", head),
    ]
    names = {layer.name for layer in model.layers}
    for target, stage, number in stage_blocks(model):
        source = f"layer{stage + 1}.{number}"
        for i in (1, 2):
            conv, norm = f"{target}_conv_{i}", f"{target}_norm_{i}"
            entries += convolution_entries(conv, f"{source}.conv{i}", bias=False)
            entries += batch_norm_entries(norm, f"{source}.bn{i}")
        if f"{target}_shortcut_norm" in names:
            projection = f"{source}.{shortcut}"
            entries += convolution_entries(f"{target}_shortcut", f"{projection}.0", bias=False)
            entries += batch_norm_entries(f"{target}_shortcut_norm", f"{projection}.1")
    return entries


def _chenyaofo_statistics(num_classes: int) -> Statistics | None:
    return _CHENYAOFO.get(num_classes)


CHENYAOFO = Layout(
    name="chenyaofo",
    source="github.com/chenyaofo/pytorch-cifar-models",
    families=("cifar_resnet",),
    signature=("conv1.weight", "layer1.0.conv1.weight", "fc.bias"),
    statistics=_chenyaofo_statistics,
    facts=partial(_facts, head="fc"),
    entries=partial(_entries, head="fc", shortcut="downsample"),
    options={"shortcut": "projection"},
    unneeded=COUNTERS,
)

# Its names are chenyaofo's; the statistics of its data differ in the fourth digit.
REPDISTILLER = Layout(
    name="repdistiller",
    source="github.com/HobbitLong/RepDistiller",
    families=("resnet8x4", "resnet32x4", "cifar_resnet"),
    signature=("conv1.weight", "layer1.0.conv1.weight", "fc.bias"),
    statistics=repdistiller_statistics,
    facts=partial(_facts, head="fc"),
    entries=partial(_entries, head="fc", shortcut="downsample"),
    options={"shortcut": "projection"},
    unneeded=COUNTERS,
)

AKAMASTER = Layout(
    name="akamaster",
    source="github.com/akamaster/pytorch_resnet_cifar10",
    families=("cifar_resnet",),
    signature=("conv1.weight", "layer1.0.conv1.weight", "linear.bias"),
    # That code trains on CIFAR-10 with ImageNet's statistics.
    statistics=lambda num_classes: IMAGENET,
    facts=partial(_facts, head="linear"),
    entries=partial(_entries, head="linear", shortcut="shortcut"),
    options={"shortcut": "identity"},
    unneeded=COUNTERS,
)

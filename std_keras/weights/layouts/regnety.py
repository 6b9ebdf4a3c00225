"""RegNetY: timm's files."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from std_keras import models
from std_keras.models.regnety import RegNetYOptions
from std_keras.weights.layout import (
    COUNTERS,
    IMAGENET,
    Entry,
    Facts,
    Layout,
    batch_norm_entries,
    convolution_entries,
    head_classes,
    linear_entries,
    numbered,
    stage_blocks,
)


def _facts(tensors: Mapping[str, np.ndarray], script: Mapping[str, Any]) -> Facts:
    return Facts(
        num_classes=head_classes(tensors, "head.fc.bias"),
        image_size=224,
        channels=tensors["stem.conv.weight"].shape[1],
        options=_options(tensors),
    )


def _options(tensors: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Those of the published model whose stages the file has: the rule that gave them their widths
    does not follow from the widths."""
    stages, groups = [], []
    for stage in range(1, 1 + numbered(tensors, "s{}.b1.conv1.conv.weight", start=1)):
        width, group, _, _ = tensors[f"s{stage}.b1.conv2.conv.weight"].shape
        blocks = numbered(tensors, f"s{stage}.b{{}}.conv1.conv.weight", start=1)
        stages.append((blocks, width))
        groups.append(group)
    for name in models.names():
        options = models.registry.resolve(name)
        if isinstance(options, RegNetYOptions) and options.stages() == stages:
            if groups == [min(options.group_width, width) for _, width in stages]:
                return dataclasses.asdict(options)
    return {}


def _entries(model: keras.Model) -> list[Entry]:
    entries = [
        *_convolution("stem", "stem_norm", "stem"),
        *linear_entries("classification", "head.fc"),
    ]
    for block, stage, number in stage_blocks(model):
        source = f"s{stage + 1}.b{number + 1}"
        for i in (1, 2, 3):
            entries += _convolution(f"{block}_conv_{i}", f"{block}_norm_{i}", f"{source}.conv{i}")
        gate = f"{block}_squeeze_excite"
        entries += linear_entries(f"{gate}/reduce", f"{source}.se.fc1")
        entries += linear_entries(f"{gate}/expand", f"{source}.se.fc2")
        shortcut = f"{block}_shortcut"
        entries += _convolution(shortcut, f"{shortcut}_norm", f"{source}.downsample")
    return entries


def _convolution(target: str, norm: str, source: str) -> list[Entry]:
    return [
        *convolution_entries(target, f"{source}.conv", bias=False),
        *batch_norm_entries(norm, f"{source}.bn"),
    ]


TIMM = Layout(
    name="timm",
    source="timm's regnet.py, github.com/huggingface/pytorch-image-models",
    families=("regnety_",),
    signature=("stem.conv.weight", "s1.b1.conv1.conv.weight", "s1.b1.se.fc1.weight"),
    statistics=lambda num_classes: IMAGENET,
    facts=_facts,
    entries=_entries,
    unneeded=COUNTERS,
)

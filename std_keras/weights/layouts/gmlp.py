"""gMLP: timm's files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from std_keras.weights.layout import (
    HALF,
    Entry,
    Facts,
    Layout,
    blocks,
    convolution_entries,
    head_classes,
    linear_entries,
    norm_entries,
    numbered,
    square_image,
    unless,
)


def _facts(tensors: Mapping[str, np.ndarray], script: Mapping[str, Any]) -> Facts:
    width, channels, patch, _ = tensors["stem.proj.weight"].shape
    hidden = tensors["blocks.0.mlp_channels.fc1.weight"].shape[0]
    patches = tensors["blocks.0.mlp_channels.gate.proj.weight"].shape[0]
    return Facts(
        num_classes=head_classes(tensors, "head.bias"),
        image_size=square_image(patches, patch),
        channels=channels,
        options={
            "patch_size": patch,
            "width": width,
            "depth": numbered(tensors, "blocks.{}.norm.weight"),
            "channel_mlp_dim": unless(hidden, 6 * width),
        },
    )


def _entries(model: keras.Model) -> list[Entry]:
    entries = [
        *convolution_entries("stem", "stem.proj"),
        *norm_entries("final_norm", "norm"),
        *linear_entries("classification", "head"),
    ]
    for i, block in enumerate(blocks(model)):
        mlp = f"blocks.{i}.mlp_channels"
        entries += norm_entries(f"{block}/norm", f"blocks.{i}.norm")
        entries += linear_entries(f"{block}/hidden", f"{mlp}.fc1")
        entries += norm_entries(f"{block}/gate/norm", f"{mlp}.gate.norm")
        entries += linear_entries(f"{block}/gate/token_dense", f"{mlp}.gate.proj")
        entries += linear_entries(f"{block}/output", f"{mlp}.fc2")
    return entries


TIMM = Layout(
    name="timm",
    source="timm's mlp_mixer.py, github.com/huggingface/pytorch-image-models",
    families=("gmlp_",),
    signature=("stem.proj.weight", "blocks.0.mlp_channels.gate.proj.weight"),
    statistics=lambda num_classes: HALF,
    facts=_facts,
    entries=_entries,
    options={"gelu": "exact", "layer_norm_epsilon": 1e-6},
)

"""Swin: timm's files, and the authors', who number the halvings otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import keras
import numpy as np

from std_keras.weights.layout import (
    IMAGENET,
    Entry,
    Facts,
    Layout,
    convolution_entries,
    head_classes,
    linear_entries,
    norm_entries,
    numbered,
    same,
    stage_blocks,
)
from std_keras.weights.layouts.deit import transformer_block_entries


def _facts(tensors: Mapping[str, np.ndarray], script: Mapping[str, Any], *, head: str) -> Facts:
    width, channels, patch, _ = tensors["patch_embed.proj.weight"].shape
    places, heads = tensors["layers.0.blocks.0.attn.relative_position_bias_table"].shape
    window = (round(places**0.5) + 1) // 2
    stages = numbered(tensors, "layers.{}.blocks.0.norm1.weight")
    return Facts(
        num_classes=head_classes(tensors, f"{head}.bias"),
        # Windows of 7 patches of 4 pixels were trained on 224 pixels, those of 12 on 384: the last
        # map, an eighth of the first, is one window.
        image_size=8 * window * patch,
        channels=channels,
        options={
            "patch_size": patch,
            "width": width,
            "depth": sum(
                numbered(tensors, f"layers.{stage}.blocks.{{}}.norm1.weight")
                for stage in range(stages)
            ),
            "window_size": window,
            "head_dim": width // heads,
        },
    )


def _entries(model: keras.Model, *, head: str, merging_before: int) -> list[Entry]:
    entries = [
        *convolution_entries("stem", "patch_embed.proj"),
        *norm_entries("stem_norm", "patch_embed.norm"),
        *norm_entries("final_norm", "norm"),
        *linear_entries("classification", head),
    ]
    for block, stage, number in stage_blocks(model):
        if stage > 0 and number == 0:
            target, source = f"stage_{stage}_merging", f"layers.{stage - merging_before}.downsample"
            entries += norm_entries(f"{target}/norm", f"{source}.norm")
            entries += linear_entries(f"{target}/reduction", f"{source}.reduction", bias=False)
        source = f"layers.{stage}.blocks.{number}"
        windows = f"{block}/attention"
        bias = f"{source}.attn.relative_position_bias_table"
        entries.append(Entry(f"{windows}/relative_position_bias", (bias,), same))
        entries += transformer_block_entries(block, source, attention=f"{windows}/attention")
    return entries


_UNNEEDED = (
    (r".*\.relative_position_index", "follows from the size of the windows"),
    (r".*\.attn_mask", "follows from the size of the windows"),
)

TIMM = Layout(
    name="timm",
    source="timm's swin_transformer.py, github.com/huggingface/pytorch-image-models",
    families=("swin_",),
    signature=("patch_embed.proj.weight", "layers.1.downsample.reduction.weight", "head.fc.bias"),
    statistics=lambda num_classes: IMAGENET,
    facts=partial(_facts, head="head.fc"),
    entries=partial(_entries, head="head.fc", merging_before=0),
    options={"gelu": "exact", "layer_norm_epsilon": 1e-5},
    unneeded=_UNNEEDED,
)

MICROSOFT = Layout(
    name="microsoft",
    source="the authors' files, github.com/microsoft/Swin-Transformer",
    families=("swin_",),
    signature=("patch_embed.proj.weight", "layers.0.downsample.reduction.weight"),
    statistics=lambda num_classes: IMAGENET,
    facts=partial(_facts, head="head"),
    entries=partial(_entries, head="head", merging_before=1),
    options={"gelu": "exact", "layer_norm_epsilon": 1e-5},
    unneeded=_UNNEEDED,
)

"""DeiT: timm's files, and the authors', which are named alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from std_keras.weights.layout import (
    IMAGENET,
    Entry,
    Facts,
    Layout,
    blocks,
    convolution_entries,
    head_classes,
    linear_entries,
    mlp_entries,
    norm_entries,
    numbered,
    square_image,
)


def _facts(tensors: Mapping[str, np.ndarray], script: Mapping[str, Any]) -> Facts:
    width, channels, patch, _ = tensors["patch_embed.proj.weight"].shape
    rows = tensors["pos_embed"].shape[1]
    distilled = "dist_token" in tensors
    return Facts(
        num_classes=head_classes(tensors, "head.bias"),
        image_size=square_image(rows - (2 if distilled else 1), patch),
        channels=channels,
        options={
            "patch_size": patch,
            "width": width,
            "depth": numbered(tensors, "blocks.{}.norm1.weight"),
            "distillation_head": distilled,
        },
    )


def _rows(array: np.ndarray) -> np.ndarray:
    """(1, rows, N) -> (rows, N)."""
    return array.reshape(array.shape[-2:])


def _entries(model: keras.Model) -> list[Entry]:
    entries = [
        *convolution_entries("stem", "patch_embed.proj"),
        Entry("class_token/token", ("cls_token",), _rows),
        Entry("distillation_token/token", ("dist_token",), _rows),
        Entry("position_embedding/position_embedding", ("pos_embed",), _rows),
        *norm_entries("final_norm", "norm"),
        *linear_entries("classification", "head"),
        *linear_entries("distillation_0_last", "head_dist"),
    ]
    for i, block in enumerate(blocks(model)):
        entries += transformer_block_entries(block, f"blocks.{i}", attention=f"{block}/attention")
    return entries


def transformer_block_entries(target: str, source: str, *, attention: str) -> list[Entry]:
    """A block of timm's vision transformers."""
    return [
        *norm_entries(f"{target}/attention_norm", f"{source}.norm1"),
        *linear_entries(f"{attention}/qkv", f"{source}.attn.qkv"),
        *linear_entries(f"{attention}/projection", f"{source}.attn.proj"),
        *norm_entries(f"{target}/mlp_norm", f"{source}.norm2"),
        *mlp_entries(f"{target}/mlp", f"{source}.mlp"),
    ]


TIMM = Layout(
    name="timm",
    source="timm's deit.py and vision_transformer.py, github.com/huggingface/"
    "pytorch-image-models, and github.com/facebookresearch/deit",
    families=("deit_",),
    signature=("cls_token", "pos_embed", "patch_embed.proj.weight", "blocks.0.attn.qkv.weight"),
    statistics=lambda num_classes: IMAGENET,
    facts=_facts,
    entries=_entries,
    options={"gelu": "exact", "layer_norm_epsilon": 1e-6},
)

"""ResMLP: timm's files and the authors', whose names differ."""

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
    blocks,
    convolution_entries,
    flat,
    head_classes,
    linear_entries,
    mlp_entries,
    numbered,
    same,
    square_image,
    unless,
)

# The layers of a block: stem, token mixing, scale of a branch, MLP.
_TIMM = ("stem", "linear_tokens", "ls", "mlp_channels")
_FACEBOOK = ("patch_embed", "attn", "gamma_", "mlp")
_Names = tuple[str, str, str, str]


def _facts(tensors: Mapping[str, np.ndarray], script: Mapping[str, Any], *, names: _Names) -> Facts:
    stem, tokens, _, mlp = names
    width, channels, patch, _ = tensors[f"{stem}.proj.weight"].shape
    patches = tensors[f"blocks.0.{tokens}.weight"].shape[0]
    return Facts(
        num_classes=head_classes(tensors, "head.bias"),
        image_size=square_image(patches, patch),
        channels=channels,
        options={
            "patch_size": patch,
            "width": width,
            "depth": numbered(tensors, f"blocks.{{}}.{tokens}.weight"),
            "channel_mlp_dim": unless(tensors[f"blocks.0.{mlp}.fc1.weight"].shape[0], 4 * width),
        },
    )


def _entries(model: keras.Model, *, names: _Names) -> list[Entry]:
    stem, tokens, scale, mlp = names
    entries = [
        *convolution_entries("stem", f"{stem}.proj"),
        *_affine("final_norm", "norm"),
        *linear_entries("classification", "head"),
    ]
    for i, block in enumerate(blocks(model)):
        source = f"blocks.{i}"
        entries += _affine(f"{block}/token_affine", f"{source}.norm1")
        entries += linear_entries(f"{block}/token_dense", f"{source}.{tokens}")
        entries.append(Entry(f"{block}/token_scale/scale", (f"{source}.{scale}1",), same))
        entries += _affine(f"{block}/channel_affine", f"{source}.norm2")
        entries += mlp_entries(f"{block}/channel_mlp", f"{source}.{mlp}")
        entries.append(Entry(f"{block}/channel_scale/scale", (f"{source}.{scale}2",), same))
    return entries


def _affine(target: str, source: str) -> list[Entry]:
    # (1, 1, N) in timm, (N,) in the authors' files.
    return [Entry(f"{target}/{name}", (f"{source}.{name}",), flat) for name in ("alpha", "beta")]


TIMM = Layout(
    name="timm",
    source="timm's mlp_mixer.py, github.com/huggingface/pytorch-image-models",
    families=("resmlp_",),
    signature=("stem.proj.weight", "blocks.0.linear_tokens.weight", "blocks.0.ls1"),
    statistics=lambda num_classes: IMAGENET,
    facts=partial(_facts, names=_TIMM),
    entries=partial(_entries, names=_TIMM),
    options={"gelu": "exact"},
)

FACEBOOK = Layout(
    name="facebook",
    source="the authors' files, github.com/facebookresearch/deit",
    families=("resmlp_",),
    signature=("patch_embed.proj.weight", "blocks.0.attn.weight", "blocks.0.gamma_1"),
    statistics=lambda num_classes: IMAGENET,
    facts=partial(_facts, names=_FACEBOOK),
    entries=partial(_entries, names=_FACEBOOK),
    options={"gelu": "exact"},
)

"""CycleMLP: the authors' files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from std_keras.errors import InputError
from std_keras.weights.layout import (
    IMAGENET,
    Entry,
    Facts,
    Layout,
    convolution_entries,
    head_classes,
    linear_entries,
    mlp_entries,
    norm_entries,
    numbered,
    stage_blocks,
)


def _facts(tensors: Mapping[str, np.ndarray], script: Mapping[str, Any]) -> Facts:
    # The blocks of a stage; between two stages stands one convolution.
    stages = [stage for stage in range(4) if f"network.{2 * stage}.0.norm1.weight" in tensors]
    firsts = [f"network.{2 * stage}.0" for stage in stages]
    widths = tuple(tensors[f"{first}.norm1.weight"].shape[0] for first in firsts)
    hidden = [tensors[f"{first}.mlp.fc1.weight"].shape[0] for first in firsts]
    return Facts(
        num_classes=head_classes(tensors, "head.bias"),
        image_size=224,
        channels=tensors["patch_embed.proj.weight"].shape[1],
        options={
            "depths": tuple(
                numbered(tensors, f"network.{2 * stage}.{{}}.norm1.weight") for stage in stages
            ),
            "widths": widths,
            "mlp_ratios": tuple(size // width for size, width in zip(hidden, widths, strict=True)),
        },
    )


def _entries(model: keras.Model) -> list[Entry]:
    entries = [
        *convolution_entries("stem", "patch_embed.proj"),
        *norm_entries("final_norm", "norm"),
        *linear_entries("classification", "head"),
    ]
    for block, stage, number in stage_blocks(model):
        # Stages and the convolutions between them are numbered together.
        source = f"network.{2 * stage}.{number}"
        if stage > 0 and number == 0:
            between = f"network.{2 * stage - 1}.proj"
            entries += convolution_entries(f"stage_{stage}_downsample", between)
        entries += norm_entries(f"{block}/mixing_norm", f"{source}.norm1")
        # The kernel of sfc_h is 1 high and 3 wide: its channels come from the left and the right.
        entries += linear_entries(f"{block}/mixing/width_fc", f"{source}.attn.sfc_h")
        entries += linear_entries(f"{block}/mixing/height_fc", f"{source}.attn.sfc_w")
        entries += linear_entries(f"{block}/mixing/channel_fc", f"{source}.attn.mlp_c", bias=False)
        entries += mlp_entries(f"{block}/mixing/reweight", f"{source}.attn.reweight")
        entries += linear_entries(f"{block}/mixing/projection", f"{source}.attn.proj")
        entries += norm_entries(f"{block}/mlp_norm", f"{source}.norm2")
        entries += mlp_entries(f"{block}/mlp", f"{source}.mlp")
    return entries


def _check_offsets(model: keras.Model, tensors: Mapping[str, np.ndarray]) -> None:
    """Compares where each channel is read in the file with where it is read here.

    A file holds (down, right) for each channel, in this order, as a buffer (1, 2 N, 1, 1).
    """
    for name, offsets in tensors.items():
        kind = next((k for k in ("sfc_h", "sfc_w") if name.endswith(f".{k}.offset")), None)
        if kind is None:
            continue
        steps = (np.arange(offsets.size // 2) + 1) % 3 - 1
        expected = np.zeros((steps.size, 2))
        expected[:, 1 if kind == "sfc_h" else 0] = steps
        if offsets.size % 2 or not np.array_equal(offsets.reshape(-1, 2), expected):
            raise InputError(
                f"`source`: {name} reads the channels from other positions than this project's "
                "CycleFC (steps 0, 1, -1, 0, 1, -1, ... along one axis); such weights cannot be "
                "converted"
            )


AUTHORS = Layout(
    name="cyclemlp",
    source="the authors' files, github.com/ShoufaChen/CycleMLP",
    families=("cyclemlp_",),
    signature=("patch_embed.proj.weight", "network.0.0.attn.sfc_h.weight"),
    statistics=lambda num_classes: IMAGENET,
    facts=_facts,
    entries=_entries,
    options={"gelu": "exact", "layer_norm_epsilon": 1e-5},
    unneeded=((r".*\.sfc_[hw]\.offset", "positions of the channels, compared and found equal"),),
    check=_check_offsets,
)

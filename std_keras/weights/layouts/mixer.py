"""MLP-Mixer: the authors' released files and timm's."""

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
    mlp_entries,
    norm_entries,
    numbered,
    same,
    square_image,
    unless,
)


def mixer_options(*, patch: int, width: int, depth: int, inner: int, outer: int) -> dict[str, Any]:
    """What the shapes tell of a Mixer: hidden widths only if they are not the usual ones."""
    return {
        "patch_size": patch,
        "width": width,
        "depth": depth,
        "token_mlp_dim": unless(inner, max(1, width // 2)),
        "channel_mlp_dim": unless(outer, 4 * width),
    }


def _google_facts(tensors: Mapping[str, np.ndarray], script: Mapping[str, Any]) -> Facts:
    patch, _, channels, width = tensors["stem/kernel"].shape
    patches, inner = tensors["MixerBlock_0/token_mixing/Dense_0/kernel"].shape
    outer = tensors["MixerBlock_0/channel_mixing/Dense_0/kernel"].shape[1]
    depth = numbered(tensors, "MixerBlock_{}/LayerNorm_0/scale")
    return Facts(
        num_classes=head_classes(tensors, "head/bias"),
        image_size=square_image(patches, patch),
        channels=channels,
        options=mixer_options(patch=patch, width=width, depth=depth, inner=inner, outer=outer),
    )


def _google_entries(model: keras.Model) -> list[Entry]:
    # Dense kernels are (in, out) and convolutions (H, W, in, out) in Flax, as in Keras.
    entries = [
        Entry("stem/kernel", ("stem/kernel",), same),
        Entry("stem/bias", ("stem/bias",), same),
        Entry("final_norm/gamma", ("pre_head_layer_norm/scale",), same),
        Entry("final_norm/beta", ("pre_head_layer_norm/bias",), same),
        Entry("classification/kernel", ("head/kernel",), same),
        Entry("classification/bias", ("head/bias",), same),
    ]
    for i, block in enumerate(blocks(model)):
        source = f"MixerBlock_{i}"
        for number, part in enumerate(("token", "channel")):
            norm = f"{source}/LayerNorm_{number}"
            entries.append(Entry(f"{block}/{part}_norm/gamma", (f"{norm}/scale",), same))
            entries.append(Entry(f"{block}/{part}_norm/beta", (f"{norm}/bias",), same))
            for layer, dense in (("hidden", "Dense_0"), ("output", "Dense_1")):
                for weight in ("kernel", "bias"):
                    name = f"{source}/{part}_mixing/{dense}/{weight}"
                    entries.append(Entry(f"{block}/{part}_mlp/{layer}/{weight}", (name,), same))
    return entries


def _timm_facts(tensors: Mapping[str, np.ndarray], script: Mapping[str, Any]) -> Facts:
    width, channels, patch, _ = tensors["stem.proj.weight"].shape
    inner, patches = tensors["blocks.0.mlp_tokens.fc1.weight"].shape
    outer = tensors["blocks.0.mlp_channels.fc1.weight"].shape[0]
    depth = numbered(tensors, "blocks.{}.norm1.weight")
    return Facts(
        num_classes=head_classes(tensors, "head.bias"),
        image_size=square_image(patches, patch),
        channels=channels,
        options=mixer_options(patch=patch, width=width, depth=depth, inner=inner, outer=outer),
    )


def _timm_entries(model: keras.Model) -> list[Entry]:
    entries = [
        *convolution_entries("stem", "stem.proj"),
        *norm_entries("final_norm", "norm"),
        *linear_entries("classification", "head"),
    ]
    for i, block in enumerate(blocks(model)):
        for number, part in ((1, "token"), (2, "channel")):
            entries += norm_entries(f"{block}/{part}_norm", f"blocks.{i}.norm{number}")
            entries += mlp_entries(f"{block}/{part}_mlp", f"blocks.{i}.mlp_{part}s")
    return entries


GOOGLE = Layout(
    name="google",
    source="the .npz files released with the paper, github.com/google-research/vision_transformer",
    families=("mixer_",),
    signature=("stem/kernel", "MixerBlock_0/token_mixing/Dense_0/kernel"),
    statistics=lambda num_classes: HALF,
    facts=_google_facts,
    entries=_google_entries,
    # JAX's GELU is the approximation by tanh, and Flax's LayerNorm adds 1e-6.
    options={"gelu": "tanh", "layer_norm_epsilon": 1e-6},
)

TIMM = Layout(
    name="timm",
    source="timm's mlp_mixer.py, github.com/huggingface/pytorch-image-models",
    families=("mixer_",),
    signature=("stem.proj.weight", "blocks.0.mlp_tokens.fc1.weight"),
    statistics=lambda num_classes: HALF,
    facts=_timm_facts,
    entries=_timm_entries,
    options={"gelu": "exact", "layer_norm_epsilon": 1e-6},
)

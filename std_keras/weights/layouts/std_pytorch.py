"""Students of the PyTorch reproduction of STD, github.com/devrimcavusoglu/std.

Its `STDMLPMixer` with one teacher is exactly this project's Mixer with one teacher (LayerNorm with
1e-5, erf GELU, hidden widths N/2 and 4N, tokens updated by a residual): with distillation at the
last block alone, a token set at the site `last`; with `--distill-intermediate`, whose tokens go on
from the intermediate block to the last one, site `both` with propagated tokens.

With several teachers it concatenates all their tokens and adds ONE update to all of them, so a
teacher's token depends on the other teachers' tokens. Token sets here never read one another, so
that is another function; only the backbone with its class head can be taken over.
"""

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
    blocks,
    head_classes,
    linear_entries,
    mlp_entries,
    norm_entries,
    numbered,
    same,
    square_image,
)
from std_keras.weights.layouts.mixer import mixer_options

_FFN = ("dense1", "dense2")


def _facts(tensors: Mapping[str, np.ndarray], script: Mapping[str, Any]) -> Facts:
    # The stem is a Linear on flattened patches of three channels.
    patch = round((tensors["per_patch_fc.weight"].shape[1] / 3) ** 0.5)
    width = tensors["per_patch_fc.weight"].shape[0]
    inner, patches = tensors["mixer_blocks.0.token_mixer.fn.dense1.weight"].shape[:2]
    outer = tensors["mixer_blocks.0.channel_mixer.fn.dense1.weight"].shape[0]
    return Facts(
        num_classes=head_classes(tensors, "classifier.bias"),
        image_size=square_image(patches, patch),
        options=mixer_options(
            patch=patch,
            width=width,
            depth=numbered(tensors, "mixer_blocks.{}.token_mixer.norm.weight"),
            inner=inner,
            outer=outer,
        ),
    )


def _student_facts(tensors: Mapping[str, np.ndarray], script: Mapping[str, Any]) -> Facts:
    teachers = tensors["spatial_dist_token"].shape[0]
    if tensors["spatial_dist_token"].ndim != 2:
        raise InputError(
            "`source`: this file is of an early version of the reproduction, whose tokens pass "
            "through all blocks; layout=std_pytorch_backbone takes over backbone and class head"
        )
    if teachers != 1:
        raise InputError(
            f"`source`: in this file {teachers} teachers share one token update, so that each "
            "token depends on the others, which token sets here never do; "
            "layout=std_pytorch_backbone takes over backbone and class head, and the student can "
            "be distilled again from there (`initialize_from`)"
        )
    facts = _facts(tensors, script)
    both = bool(script.get("distill_intermediate", False))
    note = "the file's training script distilled at the last block" + (
        " and, with the same tokens, at the intermediate one (site=both)" if both else ""
    )
    if "distill_intermediate" not in script:
        note = (
            "the file does not say whether it was trained with --distill-intermediate; taken as "
            "not, use site=both if it was"
        )
    return Facts(
        num_classes=facts.num_classes,
        image_size=facts.image_size,
        options=facts.options,
        student={"teacher_sites": ["both" if both else "last"], "propagate_tokens": both},
        notes=(note,),
    )


def _entries(model: keras.Model) -> list[Entry]:
    kernel = model.get_layer("stem").kernel

    def patches(weight: np.ndarray) -> np.ndarray:
        """(N, patch * patch * channels), rows of pixels first, to a convolution's kernel."""
        if weight.size != np.prod(kernel.shape):
            return weight.T  # Reported as a shape that does not fit.
        return weight.T.reshape(*kernel.shape[:3], weight.shape[0])

    entries = [
        Entry("stem/kernel", ("per_patch_fc.weight",), patches),
        Entry("stem/bias", ("per_patch_fc.bias",), same),
        *norm_entries("final_norm", "ln"),
        *linear_entries("classification", "classifier"),
    ]
    for i, block in enumerate(blocks(model)):
        for part in ("token", "channel"):
            source = f"mixer_blocks.{i}.{part}_mixer"
            entries += norm_entries(f"{block}/{part}_norm", f"{source}.norm")
            entries += mlp_entries(f"{block}/{part}_mlp", f"{source}.fn", names=_FFN)
    return entries


def _student_entries(model: keras.Model) -> list[Entry]:
    depth = len(blocks(model))
    names = {layer.name for layer in model.layers}
    entries = [*_entries(model), *linear_entries("distillation_0_last", "classifier_dist.0")]
    places = {"tokens_0_last": depth - 1, "tokens_0_intermediate": min(2 * depth // 3, depth - 2)}
    places = {name: block for name, block in places.items() if name in names}
    # The tokens are learned where they enter, at the first set.
    first = min(places, key=places.__getitem__)
    for kind in ("spatial", "channel"):
        entries.append(Entry(f"{first}/{kind}_token", (f"{kind}_dist_token",), same))
        for name, block in places.items():
            source = f"mixer_blocks.{block}.{kind}_dist"
            entries += norm_entries(f"{name}/{kind}_norm_0", f"{source}_norm")
            entries += mlp_entries(f"{name}/{kind}_mlp_0", source, names=_FFN)
    return entries


STUDENT = Layout(
    name="std_pytorch",
    source="STDMLPMixer of the PyTorch reproduction, github.com/devrimcavusoglu/std",
    families=("mixer_",),
    signature=(
        "per_patch_fc.weight",
        "mixer_blocks.0.token_mixer.fn.dense1.weight",
        "mixer_blocks.0.spatial_dist.dense1.weight",
        "spatial_dist_token",
    ),
    statistics=lambda num_classes: IMAGENET,  # Whatever the data: also for CIFAR.
    facts=_student_facts,
    entries=_student_entries,
    options={"gelu": "exact", "layer_norm_epsilon": 1e-5},
    unneeded=(
        (
            r"mixer_blocks\.\d+\.(spatial|channel)_dist.*",
            "token MLPs of blocks that distil nothing; that code creates them in every block",
        ),
    ),
)

BACKBONE = Layout(
    name="std_pytorch_backbone",
    source="backbone and class head of STDMLPMixer, or MLPMixer, of the PyTorch reproduction, "
    "github.com/devrimcavusoglu/std",
    families=("mixer_",),
    signature=("per_patch_fc.weight", "mixer_blocks.0.token_mixer.fn.dense1.weight"),
    statistics=lambda num_classes: IMAGENET,
    facts=_facts,
    entries=_entries,
    options={"gelu": "exact", "layer_norm_epsilon": 1e-5},
    unneeded=(
        (r"mixer_blocks\.\d+\.(spatial|channel)_dist.*", "token MLPs, left out by this layout"),
        (r"(spatial|channel)_dist_token", "tokens, left out by this layout"),
        (r"classifier_dist\..*", "distillation heads, left out by this layout"),
    ),
)

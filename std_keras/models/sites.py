"""Where in a backbone the token sets read."""

from __future__ import annotations

import re

import keras

_BLOCK = re.compile(r"(?:stage_(\d+)_)?block_(\d+)")


def is_block(layer: keras.Layer) -> bool:
    """Whether a layer is a whole block; in a ResNet only the last part of one has such a name."""
    return _BLOCK.fullmatch(layer.name) is not None and bool(layer.trainable_weights)


def sites(backbone: keras.Model) -> dict[str, str]:
    """Names of the layers whose outputs the token sets of a site read.

    Blocks are layers named "block_{i}", or "stage_{s}_block_{i}" in a pyramid, of which the last
    stage alone counts. With d blocks, 0-based: "last" is d - 1, "intermediate" is
    min(floor(2 d / 3), d - 2) (two thirds of the depth, as Li et al. 2022 place it, yet before the
    last block). A single block leaves no place for "intermediate", which is then absent.

    Raises:
      ValueError: the model has no layer with such a name.
    """
    stages: dict[int, dict[int, str]] = {}
    for layer in backbone.layers:
        match = _BLOCK.fullmatch(layer.name)
        if match:
            stages.setdefault(int(match[1] or 0), {})[int(match[2])] = layer.name
    if not stages:
        raise ValueError(
            f"model {backbone.name!r} has no layers called block_0, block_1, ...; "
            "name the layers to read with site_layers"
        )
    blocks = stages[max(stages)]
    depth = len(blocks)
    found = {"last": blocks[depth - 1]}
    if depth > 1:
        found["intermediate"] = blocks[min(2 * depth // 3, depth - 2)]
    return found

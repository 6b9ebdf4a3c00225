"""What a layout is: where every weight of a model is found in files of one code base."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

Transform = Callable[..., np.ndarray]
Statistics = tuple[tuple[float, ...], tuple[float, ...]]

_STAGE_BLOCK = re.compile(r"stage_(\d+)_block_(\d+)")

# What counts in files of PyTorch's BatchNorm.
COUNTERS = ((r".*\.num_batches_tracked", "counts BatchNorm's updates, which nothing reads"),)

HALF: Statistics = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
IMAGENET: Statistics = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@dataclass(frozen=True)
class Entry:
    """One weight of the model.

    Attributes:
        target: path of the Keras variable, "block_0/token_norm/gamma".
        sources: names in the file that it is made of.
        transform: takes the arrays of these names, returns the value.
    """

    target: str
    sources: tuple[str, ...]
    transform: Transform


@dataclass(frozen=True)
class Facts:
    """What a file's shapes tell about the model that it was saved from.

    Attributes:
        num_classes: outputs of the class head; None if the file has no head.
        image_size: side of the images; None if the weights do not depend on it.
        channels: of the images.
        options: of the model, as `std_keras.models.create` takes them: what the shapes tell of
            depth, widths and patches.
        student: arguments of `std_keras.models.create_student`; empty for a plain model.
        notes: sentences that the user should read.
    """

    num_classes: int | None
    image_size: int | None = None
    channels: int = 3
    options: Mapping[str, Any] = field(default_factory=dict)
    student: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Layout:
    """One code base's way to name and store the weights of a family.

    Attributes:
        name: what users give as `layout`.
        source: the code base, in words.
        families: beginnings of the model names that it applies to.
        signature: names that files of this layout hold, and others of the family do not.
        statistics: mean and standard deviation (of pixels in 0..1) that the weights were trained
            with, from the number of classes; None if unknown.
        facts: what the shapes tell; gets the arrays and the training script's arguments.
        entries: every weight of a model built from the facts.
        options: of the model, for equal outputs.
        unneeded: regular expressions of names that hold nothing for this project, and why.
        check: looks at buffers that are not loaded; raises InputError if they do not fit.
    """

    name: str
    source: str
    families: tuple[str, ...]
    signature: tuple[str, ...]
    statistics: Callable[[int], Statistics | None]
    facts: Callable[[Mapping[str, np.ndarray], Mapping[str, Any]], Facts]
    entries: Callable[[keras.Model], Sequence[Entry]]
    options: Mapping[str, Any] = field(default_factory=dict)
    unneeded: Sequence[tuple[str, str]] = ()
    check: Callable[[keras.Model, Mapping[str, np.ndarray]], None] | None = None

    def applies_to(self, model: str) -> bool:
        """Whether a model of this name can be loaded from such a file."""
        return model.startswith(self.families)

    def recognises(self, names: Mapping[str, Any]) -> bool:
        """Whether the names of a file are those of this layout."""
        return all(name in names for name in self.signature)


def same(array: np.ndarray) -> np.ndarray:
    """As it is."""
    return array


def flat(array: np.ndarray) -> np.ndarray:
    """Without axes of length 1: (1, 1, N) -> (N,)."""
    return array.reshape([n for n in array.shape if n != 1] or [1])


def linear(weight: np.ndarray) -> np.ndarray:
    """PyTorch's Linear, or a convolution of size 1: (out, in[, 1[, 1]]) -> (in, out)."""
    return weight.reshape(weight.shape[:2]).T if weight.size else weight.T


def convolution(weight: np.ndarray) -> np.ndarray:
    """PyTorch's Conv2d: (out, in, H, W) -> (H, W, in, out)."""
    return weight.transpose(2, 3, 1, 0)


def norm_entries(target: str, source: str) -> list[Entry]:
    """PyTorch's LayerNorm, or the trained part of BatchNorm."""
    return [
        Entry(f"{target}/gamma", (f"{source}.weight",), same),
        Entry(f"{target}/beta", (f"{source}.bias",), same),
    ]


def batch_norm_entries(target: str, source: str) -> list[Entry]:
    """PyTorch's BatchNorm2d."""
    return [
        *norm_entries(target, source),
        Entry(f"{target}/moving_mean", (f"{source}.running_mean",), same),
        Entry(f"{target}/moving_variance", (f"{source}.running_var",), same),
    ]


def linear_entries(target: str, source: str, *, bias: bool = True) -> list[Entry]:
    """PyTorch's Linear, as a Dense layer."""
    entries = [Entry(f"{target}/kernel", (f"{source}.weight",), linear)]
    return entries + ([Entry(f"{target}/bias", (f"{source}.bias",), same)] if bias else [])


def convolution_entries(target: str, source: str, *, bias: bool = True) -> list[Entry]:
    """PyTorch's Conv2d."""
    entries = [Entry(f"{target}/kernel", (f"{source}.weight",), convolution)]
    return entries + ([Entry(f"{target}/bias", (f"{source}.bias",), same)] if bias else [])


def mlp_entries(
    target: str, source: str, *, names: tuple[str, str] = ("fc1", "fc2")
) -> list[Entry]:
    """Two Linear layers, as a `std_keras.layers.MLP`."""
    return [
        *linear_entries(f"{target}/hidden", f"{source}.{names[0]}"),
        *linear_entries(f"{target}/output", f"{source}.{names[1]}"),
    ]


def blocks(model: keras.Model) -> list[str]:
    """Names of a model's blocks, "block_0", ..., in order."""
    count = 0
    names = {layer.name for layer in model.layers}
    while f"block_{count}" in names:
        count += 1
    return [f"block_{i}" for i in range(count)]


def stage_blocks(model: keras.Model) -> list[tuple[str, int, int]]:
    """A pyramid's blocks, as (name, stage, number in the stage), in order."""
    found = []
    for layer in model.layers:
        match = _STAGE_BLOCK.fullmatch(layer.name)
        if match:
            found.append((layer.name, int(match[1]), int(match[2])))
    return sorted(found, key=lambda block: block[1:])


def head_classes(tensors: Mapping[str, np.ndarray], name: str) -> int | None:
    """Number of classes from the class head's bias."""
    return tensors[name].shape[0] if name in tensors else None


def numbered(tensors: Mapping[str, np.ndarray], form: str, *, start: int = 0) -> int:
    """How many of a part a file has: of "blocks.{}.norm1.weight" the number of blocks."""
    count = 0
    while form.format(start + count) in tensors:
        count += 1
    return count


def unless(value: int, usual: int) -> int | None:
    """A width, or None where it follows from the other ones."""
    return None if value == usual else value


def square_image(patches: int, patch_size: int) -> int | None:
    """Side of a square image of this many patches; None if it was not square."""
    side = round(patches**0.5)
    return side * patch_size if side * side == patches else None

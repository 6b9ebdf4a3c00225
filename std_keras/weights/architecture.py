"""Which model a file's arrays are of: by their names its family, by their shapes its sizes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from std_keras import models
from std_keras.config import options as config_options
from std_keras.errors import InputError
from std_keras.weights.layout import Facts, Layout
from std_keras.weights.layouts import LAYOUTS, choose_layout, other_layouts
from std_keras.weights.source import SourceWeights

# Not a flag, and yet no other architecture: how the channels are parted among attention heads.
_FREE = frozenset(("head_dim",))
# Keras takes up to 0.1 s for a block. The published models have 48 at most, but for the ResNets of
# CIFAR, of which one has 1202 layers.
_MOST_BLOCKS, _MOST_LAYERS = 200, 1202
_PART = re.compile(r"-\d+-of-\d+\.\w+$")  # Of the names that the hub's libraries give to parts.


@dataclass(frozen=True)
class Architecture:
    """The model that a file's arrays fit.

    Attributes:
        model: registered name.
        layout: what the names of the arrays mean.
        facts: what their shapes tell.
        options: of the model where the file's differ from those of its name.
    """

    model: str
    layout: Layout
    facts: Facts
    options: Mapping[str, Any]

    def __str__(self) -> str:
        differing = ", ".join(f"{name}={value}" for name, value in self.options.items())
        return f"{self.model} with {differing}" if differing else self.model


def find_architecture(
    read: SourceWeights,
    *,
    model: str | None,
    layout: str = "auto",
    family: str = "",
    given: Mapping[str, Any],
    partial: bool = False,
) -> Architecture:
    """Finds the model of a file.

    Args:
        read: the file.
        model: registered name; None for the one that has the file's sizes, or the nearest.
        layout: the code base, or "auto" to tell it by the names.
        family: the beginning of the model's name, where it is known.
        given: options of the model that the user gave.
        partial: whether they may contradict the file.

    Raises:
        InputError: if the file is of another model, or contradicts what was given.
    """
    if model is not None:
        chosen = choose_layout(layout, model=model, tensors=read.tensors, file=str(read.path))
        found = _fitted(read, chosen, model)
    else:
        found = _nearest(read, layout, family)
    if not partial:
        _check_given(read, found, given)
        _check_named(read, found, given, wanted=model)
    return found


def _nearest(read: SourceWeights, layout: str, family: str) -> Architecture:
    candidates = []
    for known in LAYOUTS:
        if layout not in ("auto", known.name) or not known.recognises(read.tensors):
            continue
        for name in models.names():
            if known.applies_to(name) and name.startswith(family):
                candidates.append(_fitted(read, known, name))
    if not candidates:
        names = ", ".join(list(read.tensors)[:3])
        of = f" of a {family.rstrip('_')}" if family else ""
        if _PART.search(read.path.name):
            raise InputError(
                f"source={read.path} is one of several files of a model, to judge by its name, and "
                "not a whole model; name their index (*.index.json) or their folder"
            )
        if other := "" if layout == "auto" else other_layouts(layout, read.tensors):
            raise InputError(f"source={read.path} is not of layout={layout}{other}")
        raise InputError(
            f"source={read.path} matches none of the known layouts{of}; it begins with "
            f"{names or 'no array'}; see the page on weights for what std-keras convert takes"
        )
    return min(candidates, key=lambda found: len(found.options))


def _fitted(read: SourceWeights, layout: Layout, model: str) -> Architecture:
    try:
        facts = layout.facts(read.tensors, read.script)
    except InputError:
        raise
    except (KeyError, ValueError, IndexError, ZeroDivisionError) as error:
        raise InputError(
            f"source={read.path} does not have the arrays of layout={layout.name}: {error}"
        ) from error
    depth = facts.options.get("depth") or sum(facts.options.get("depths", ()))
    if depth > (_MOST_LAYERS if model.startswith("cifar_resnet") else _MOST_BLOCKS):
        raise InputError(
            f"source={read.path} has a depth of {depth:,}, which no published {layout.name} model "
            "comes near; it is hostile, or damaged"
        )
    named = models.registry.resolve(model)
    differing = {
        name: value for name, value in facts.options.items() if getattr(named, name) != value
    }
    return Architecture(model, layout, facts, differing)


def _check_given(read: SourceWeights, found: Architecture, given: Mapping[str, Any]) -> None:
    for name, value in given.items():
        own = found.facts.options.get(name)
        if value is not None and own is not None and own != value:
            raise InputError(
                f"{name}={value} contradicts source={read.path}, which has {name}={own}; leave "
                f"`{name}` out, or use `allow_partial` to take over what fits"
            )


def _check_named(
    read: SourceWeights, found: Architecture, given: Mapping[str, Any], *, wanted: str | None
) -> None:
    """Refuses sizes that config.json could not tell."""
    flags = config_options()
    for name, value in found.options.items():
        if name in flags or name in _FREE or name in given:
            continue
        other = _nearest(read, found.layout.name, "")
        hint = (
            f"its sizes are those of model={other.model}"
            if not other.options
            else f"no named model has {name}={value}"
        )
        raise InputError(f"source={read.path} is no {wanted or found.model}: {hint}")

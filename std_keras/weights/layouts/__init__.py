"""The layouts that are known, and which of them a file has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from std_keras.errors import InputError
from std_keras.weights.layout import Layout
from std_keras.weights.layouts import (
    airbench,
    cifar_resnet,
    cyclemlp,
    deit,
    gmlp,
    mixer,
    regnety,
    resmlp,
    std_pytorch,
    swin,
    wide_resnet,
)

# In the order in which they are tried.
LAYOUTS: tuple[Layout, ...] = (
    mixer.GOOGLE,
    mixer.TIMM,
    std_pytorch.STUDENT,
    std_pytorch.BACKBONE,
    cifar_resnet.CHENYAOFO,
    cifar_resnet.AKAMASTER,
    cifar_resnet.REPDISTILLER,
    wide_resnet.REPDISTILLER,
    airbench.AIRBENCH,
    resmlp.TIMM,
    resmlp.FACEBOOK,
    gmlp.TIMM,
    cyclemlp.AUTHORS,
    deit.TIMM,
    swin.TIMM,
    swin.MICROSOFT,
    regnety.TIMM,
)


def choose_layout(name: str, *, model: str, tensors: Mapping[str, Any], file: str) -> Layout:
    """Finds the layout of a file.

    Args:
        name: a layout, or "auto" to tell it by the names of the file.
        model: name of the model that is to be loaded.
        tensors: the file's arrays by name.
        file: what to call the file in errors.

    Raises:
        InputError: if no layout of this model fits.
    """
    known = [layout for layout in LAYOUTS if layout.applies_to(model)]
    if not known:
        families = sorted({family.rstrip("_") for layout in LAYOUTS for family in layout.families})
        raise InputError(
            f"model={model}: no layout is known; layouts exist for " + ", ".join(families)
        )
    if name != "auto":
        named = [layout for layout in known if layout.name == name]
        if not named:
            raise InputError(
                f"layout={name} does not apply to {model}; use auto, "
                + ", ".join(layout.name for layout in known)
            )
        missing = [key for key in named[0].signature if key not in tensors]
        if missing:
            raise InputError(
                f"source={file} has no {missing[0]}, which files of layout={name} have"
                f"{other_layouts(name, tensors) or _sample(tensors)}"
            )
        return named[0]
    for layout in known:
        if layout.recognises(tensors):
            return layout
    others = [layout for layout in LAYOUTS if layout.recognises(tensors)]
    hint = _sample(tensors)
    if others:
        hint = f"; its names are those of {others[0].source}, for model={_models(others[0])}"
    raise InputError(
        f"source={file} matches none of the layouts for {model} "
        f"({', '.join(layout.name for layout in known)}){hint}"
    )


def other_layouts(name: str, tensors: Mapping[str, Any]) -> str:
    """Which layouts a file has instead of the one of that name, after what is wrong; else ""."""
    others = {x.name: x.source for x in LAYOUTS if x.recognises(tensors) and x.name != name}
    if not others:
        return ""
    found = " or ".join(f"layout={other} ({source})" for other, source in others.items())
    return f"; its names are those of {found}, and layout=auto finds that"


def _models(layout: Layout) -> str:
    return " or ".join(f"{family}..." for family in layout.families)


def _sample(tensors: Mapping[str, Any]) -> str:
    names = list(tensors)
    return f"; it begins with {', '.join(names[:3])}" if names else "; it holds no arrays"

"""What the `config.json` of a timm model says: architecture, classes, size, normalisation, crop."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from std_keras.errors import InputError
from std_keras.files.texts import in_message, normalized

# timm's names of the models that this project builds, and the beginning of its own name. Weights
# say nothing of activations, epsilons and pooling, so that a name must be known. ViT of the sizes
# of DeiT differ from it in nothing; `vit_large` and `swin_large` have other widths and depths.
_ARCHITECTURES = (
    (r"mixer_[sbl](32|16)_224", "mixer_"),
    (r"resmlp_(12|24|36|big_24)_224", "resmlp_"),
    (r"gmlp_(ti|s|b)16_224", "gmlp_"),
    (r"deit_(tiny|small|base)_patch16_(224|384)", "deit_"),
    (r"deit_(tiny|small|base)_distilled_patch16_(224|384)", "deit_"),
    (r"vit_(tiny|small|base|large)_patch(8|16|32)_(224|384)", "deit_"),
    (r"swin_(tiny|small|base|large)_patch4_window(7|12)_(224|384)", "swin_"),
    (r"regnety_(040|080|160)", "regnety_"),
)
_MOST_CLASSES = 100_000  # ImageNet-21k has 21,843.
_MOST_CHANNELS = 4
# Arguments of a model that its weights tell, or that count in training alone.
_TOLD = frozenset(
    (
        *("depth", "depths", "embed_dim", "img_size", "in_chans", "mlp_ratio", "num_blocks"),
        *("num_classes", "num_heads", "patch_size", "window_size"),
        *("drop_rate", "drop_path_rate", "attn_drop_rate", "pos_drop_rate", "proj_drop_rate"),
    )
)


@dataclass(frozen=True)
class TimmModel:
    """What is known of a model beside its weights; None where nothing is said.

    Attributes:
        architecture: timm's name.
        family: the beginning of this project's names of it.
        num_classes: of the class head.
        image_size: side of the images in pixels.
        mean: per channel, of pixels in 0..1.
        std: standard deviation, in the same form.
        crop_ratio: part of a test picture's short side that is looked at.
        labels: class names, in the order of the logits.
        heads: of each attention layer.
        notes: sentences that the user should read.
    """

    architecture: str
    family: str
    num_classes: int | None = None
    image_size: int | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    crop_ratio: float | None = None
    labels: tuple[str, ...] | None = None
    heads: int | None = None
    notes: tuple[str, ...] = ()


def family(architecture: str) -> str | None:
    """The beginning of this project's names of a timm model; None for one that it cannot build."""
    for form, prefix in _ARCHITECTURES:
        if re.fullmatch(form, architecture):
            return prefix
    return None


def read(config: Mapping[str, Any], *, named: str) -> TimmModel:
    """Reads a parsed `config.json`, of the present form and of the older one without parts.

    Args:
        config: what the file holds.
        named: the argument and its value, for errors.

    Raises:
        InputError: if it is of another library or model, or holds something else than it should.
    """
    architecture = config.get("architecture")
    if not isinstance(architecture, str):
        of = config.get("model_type")
        other = f"of the transformers library (model_type={in_message(of)})" if of else "not timm's"
        raise InputError(
            f"{named}: its config.json is {other}; take the same model from hf-hub:timm/..., or "
            "export it with torch.onnx.export and use teacher=FILE.onnx (the page on teachers has "
            "the lines)"
        )
    prefix = family(architecture)
    architecture = in_message(architecture)
    if prefix is None:
        raise InputError(
            f"{named} is a {architecture}, which is not among the models that are built here "
            "(the page on the hub lists them); export it to ONNX, and that is a teacher"
        )
    arguments = config.get("model_args") or {}
    if not isinstance(arguments, Mapping):
        raise InputError(f"{named}: its config.json is damaged: model_args is not an object")
    pool = "token" if prefix == "deit_" else "avg"
    others = {k: v for k, v in arguments.items() if k not in _TOLD}
    if others.pop("global_pool", pool) != pool:
        others["global_pool"] = arguments["global_pool"]
    if others:
        name, value = min(others.items(), key=str)
        raise InputError(
            f"{named} is a {architecture} with {in_message(name)}={in_message(value)}, which no "
            "model here has; export it to ONNX, and that is a teacher"
        )
    try:
        return _read(config, architecture, prefix)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        what = in_message(error, most=300)
        raise InputError(f"{named}: its config.json is damaged: {what}") from error


def _read(config: Mapping[str, Any], architecture: str, prefix: str) -> TimmModel:
    about = {**config, **config.get("pretrained_cfg", {})}
    # The outer ones are the model's, the inner ones those of the weights that it started from.
    about |= {name: config[name] for name in ("num_classes", "label_names") if name in config}
    arguments = config.get("model_args") or {}
    num_classes = about.get("num_classes")
    size = about.get("input_size")
    notes = []
    if size is not None and size[1] != size[2]:
        raise ValueError(f"input_size={size} is not a square")
    mode = about.get("crop_mode") or "center"
    if mode != "center":
        notes.append(
            f"its pictures were tested with crop_mode={in_message(mode)}; here the centre is cut "
            "out"
        )
    ratio = about.get("crop_pct")
    ratio = None if ratio is None else float(ratio)
    if ratio is not None and not 0 < ratio <= 1:
        notes.append(f"crop_pct={ratio:g} is left out: a square lies inside of the picture here")
        ratio = None
    return TimmModel(
        architecture,
        prefix,
        num_classes=None if num_classes is None else int(num_classes),
        image_size=None if size is None else int(size[1]),
        mean=_numbers(about.get("mean")),
        std=_numbers(about.get("std")),
        crop_ratio=ratio,
        labels=_labels(about, num_classes),
        heads=arguments.get("num_heads") if isinstance(arguments.get("num_heads"), int) else None,
        notes=tuple(notes),
    )


def _numbers(values: Any) -> tuple[float, ...] | None:
    if values is None:
        return None
    numbers = tuple(float(value) for value in values)
    if len(numbers) > _MOST_CHANNELS:
        raise ValueError(f"it has {len(numbers):,} numbers where one per channel is meant")
    if not all(map(math.isfinite, numbers)):
        raise ValueError(f"{values} are not finite numbers")
    return numbers


def _labels(about: Mapping[str, Any], num_classes: Any) -> tuple[str, ...] | None:
    """Names by class; a mapping has them by the class's number, which may leave some out."""
    names = about.get("label_names", about.get("labels"))
    if not names:
        return None
    if isinstance(names, Mapping):
        numbered = {int(number): str(name) for number, name in names.items()}
        count = num_classes or max(numbered) + 1
        if not 0 <= count <= _MOST_CLASSES:
            raise ValueError(f"it has names for {count:,} classes")
        names = [numbered.get(number, str(number)) for number in range(count)]
    elif not isinstance(names, Sequence) or isinstance(names, str):
        raise ValueError("label_names is neither a list nor a mapping")
    named = tuple(str(name) for name in names)
    if num_classes is not None and len(named) != num_classes:
        raise ValueError(f"it has {len(named)} label_names for {num_classes} classes")
    if any(len(name.splitlines()) != 1 for name in named):
        raise ValueError("a name in label_names is empty or has a line break")
    if len(set(normalized(named))) != len(named):
        raise ValueError("two names in label_names are equal")
    return named

"""A start from the weights of a finished run: fine-tuning."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from std_keras import models
from std_keras.config import TrainConfig, with_model_of
from std_keras.errors import InputError
from std_keras.files.paths import user_path
from std_keras.runs.keras_file import load_keras_file
from std_keras.runs.run_directory import RunDirectory
from std_keras.weights.adapt import adaptation, can_be_tiled, patch_grid, token_mlp_dim
from std_keras.weights.load import is_random_state
from std_keras.weights.located import located

# What a student has beside its backbone; it may be new, or left out.
_STUDENT_PART = re.compile(r"(tokens|distillation|auxiliary)_")
_HEAD = re.compile(r"(classification|distillation_\d+_\w+|auxiliary_\d+)/")
# Model options that may differ: weights are adapted, or are not concerned.
_ADAPTED = ("patch_size", "token_mlp_dim", "stochastic_depth")


@dataclass(frozen=True)
class Copied:
    """What became of the weights.

    Attributes:
        copied: paths of the weights that were taken, adapted ones included.
        new: paths of those that keep their new values.
        left_out: paths of the source's weights that have no place.
        adapted: what was done to fit other images or patches, in words; "" for nothing.
    """

    copied: tuple[str, ...]
    new: tuple[str, ...]
    left_out: tuple[str, ...]
    adapted: str = ""

    def __str__(self) -> str:
        parts = [f"{len(self.copied)} weights copied"]
        if self.adapted:
            parts.append(f"adapted: {self.adapted}")
        for words, paths in (("new", self.new), ("left out", self.left_out)):
            if paths:
                layers = dict.fromkeys(path.split("/")[0] for path in paths)
                parts.append(f"{words}: {', '.join(layers)}")
        return "; ".join(parts)


@dataclass(frozen=True)
class Start:
    """A finished run, whose model another one begins with.

    Attributes:
        name: what the user called it.
        run: its directory.
        file: the model, one of the run's `.keras` files.
    """

    name: str
    run: RunDirectory
    file: Path

    def load(self) -> keras.Model:
        """Loads the model."""
        return load_keras_file(self.file)


def find_start(name: str, *, flag: str = "initialize_from") -> Start:
    """Finds a finished run.

    Args:
        name: the run directory, another name of one (see `located`), or a `.keras` file in one.
        flag: the argument that named it, for errors.

    Raises:
        InputError: if there is no finished run.
    """
    path = user_path(located(name, flag=flag))
    if path.suffix == ".keras" and path.is_file():
        run, file = RunDirectory(path.parent), path
    else:
        run = RunDirectory(path)
        file = run.model_file
    if not run.exists():
        raise InputError(
            f"{flag}={name} is not a run directory (there is no {run.config_file.name}) and not "
            "std_keras:NAME or hf-hub:ORG/NAME; convert other weights with std-keras convert"
        )
    if not file.is_file():
        raise InputError(
            f"{flag}={name} has no model.keras: the run is not finished; run its command again to "
            "continue"
        )
    return Start(name, run, file)


def inherited_options(config: TrainConfig, start: Start, *, image_size: int) -> TrainConfig:
    """The configuration with the source's model and options in place of those not given.

    Args:
        config: as the user gave it.
        start: the source.
        image_size: side of the new images.

    Raises:
        InputError: if a given option contradicts the source; it names the argument.
    """
    theirs = start.run.read_config().model
    if config.model.given_name not in (None, theirs.name):
        raise InputError(
            f"model={config.model.name} contradicts initialize_from={start.name}, which is a "
            f"{theirs.name}; leave `model` out"
        )
    if theirs.name not in models.names():  # A network from elsewhere has no options.
        for name in config.model.architecture():
            raise InputError(
                f"`{name}` does not apply to {theirs.name}, the model of "
                f"initialize_from={start.name}; leave it out"
            )
        return with_model_of(config, theirs)
    source = start.load()
    options = models.resolve(theirs.name, **theirs.architecture())
    given = config.model.architecture()
    for name in given:
        if name in _ADAPTED or not hasattr(options, name):
            continue  # The model refuses options that it does not know.
        own = getattr(options, name)
        if own is None:  # It follows from others, such as 4 x width.
            own = getattr(source.get_layer("block_0"), name)
        if given[name] != own:
            raise InputError(
                f"{name}={given[name]} contradicts initialize_from={start.name}, which has "
                f"{name}={own}; leave `{name}` out"
            )
    filled = with_model_of(config, theirs)
    hidden = token_mlp_dim(source)
    if hidden is None:
        return filled
    patch_size = filled.model.patch_size or options.patch_size
    fitting = _fitting_token_mlp_dims(source, hidden, patches=image_size // patch_size)
    if config.model.token_mlp_dim is None:
        return filled if fitting[0] == hidden else filled.replace(token_mlp_dim=fitting[0])
    if config.model.token_mlp_dim not in fitting:
        can_be = " or ".join(map(str, fitting))
        raise InputError(
            f"token_mlp_dim={config.model.token_mlp_dim} contradicts initialize_from={start.name}: "
            f"for {image_size} pixels in patches of {patch_size} its token mixing becomes {can_be} "
            "wide; leave `token_mlp_dim` out"
        )
    return filled


def _fitting_token_mlp_dims(source: keras.Model, hidden: int, *, patches: int) -> tuple[int, ...]:
    """The hidden widths that token mixing can have with other patches: tiled first."""
    before = patch_grid(source)
    assert before is not None
    after = (patches, patches)
    if before == after or not can_be_tiled(before, after):
        return (hidden,)
    return hidden * (after[0] // before[0]) * (after[1] // before[1]), hidden


def copy_weights(
    model: keras.Model,
    source: keras.Model,
    *,
    path: str,
    new_heads: bool = False,
    tiled: bool | None = None,
) -> Copied:
    """Copies every weight to the one of the same name, adapted to other images and patches.

    Token sets, distillation heads and auxiliary classifiers may be new, or have no place. Heads
    stay new if the number of classes differs. Everything else must be there with the same shape.

    Args:
        model: gets the weights.
        source: gives them.
        path: what to call the source in errors.
        new_heads: whether heads stay new although the number of classes is the same.
        tiled: see `adapt.adaptation`.

    Raises:
        InputError: if a weight is missing or has another shape; nothing is copied then.
    """
    change = adaptation(source, model, tiled=tiled)
    if change is not None and change.changes_grid:
        _refuse_mixed_token(source, path=path)
    theirs = {
        weight.path: weight.numpy() if change is None else change.value(weight.path, weight.numpy())
        for weight in source.weights
        if not is_random_state(weight)
    }
    ours = {weight.path: weight for weight in model.weights if not is_random_state(weight)}
    new_heads = new_heads or model.output_shape[-1] != source.output_shape[-1]
    unfit = _unfit_parts(ours, theirs)
    new = []
    for name, weight in ours.items():
        if name not in theirs:
            if not _STUDENT_PART.match(name):
                raise InputError(
                    f"initialize_from={path} has no {name}; its model is a {source.name}, the "
                    f"new one a {model.name}"
                )
            new.append(name)
        elif (new_heads and _HEAD.match(name)) or name.split("/")[0] in unfit:
            new.append(name)
        elif theirs[name].shape != tuple(weight.shape):
            raise InputError(
                f"initialize_from={path} has {name} with shape {theirs[name].shape}, the "
                f"new model with {tuple(weight.shape)}; use the model flags of that run"
            )
    left_out = [name for name in theirs if name not in ours]
    foreign = [name for name in left_out if not _STUDENT_PART.match(name)]
    if foreign:
        raise InputError(
            f"initialize_from={path} has {foreign[0]}, which the new model lacks; use the model "
            "flags of that run"
        )
    fresh = set(new)
    copied = [name for name in ours if name not in fresh]
    for name in copied:
        ours[name].assign(theirs[name])
    adapted = "" if change is None else str(change)
    return Copied(tuple(copied), tuple(new), tuple(left_out), adapted)


def _unfit_parts(ours: Mapping[str, keras.Variable], theirs: Mapping[str, np.ndarray]) -> set[str]:
    """Token sets and their heads that are of another kind or size here, and so stay new."""
    return {
        name.split("/")[0]
        for name, weight in ours.items()
        if name in theirs
        and _STUDENT_PART.match(name)
        and theirs[name].shape != tuple(weight.shape)
    }


def _refuse_mixed_token(source: keras.Model, *, path: str) -> None:
    layers = {layer.name for layer in source.layers}
    if "distillation_token" in layers and "position_embedding" not in layers:
        raise InputError(
            f"initialize_from={path} has tokens=deit, a token that is mixed with all patches; it "
            "fits no other number of patches"
        )


def input_normalization(architecture: str) -> tuple[list[float], list[float]] | None:
    """Mean and standard deviation, of pixels in 0..1, that a model of this project expects.

    Args:
        architecture: the model as JSON.

    Returns:
        One number per channel each; None if it has no layer "normalization".
    """
    for layer in json.loads(architecture)["config"].get("layers", []):
        if layer["config"].get("name") == "normalization" and "scale" in layer["config"]:
            scale, offset = layer["config"]["scale"], layer["config"]["offset"]
            if isinstance(scale, list) and isinstance(offset, list):
                std = [1.0 / (255.0 * factor) for factor in scale]
                return [-shift * s for shift, s in zip(offset, std, strict=True)], std
    return None

"""A start from the weights of a finished run: fine-tuning."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

import keras

from std_keras.errors import InputError
from std_keras.runs.keras_file import load_keras_file
from std_keras.runs.run_directory import RunDirectory
from std_keras.weights.load import is_random_state

# What a student has beside its backbone; it may be new, or left out.
_STUDENT_PART = re.compile(r"(tokens|distillation|auxiliary)_")
_HEAD = re.compile(r"(classification|distillation_\d+_\w+|auxiliary_\d+)/")


@dataclass(frozen=True)
class Copied:
    """What became of the weights.

    Attributes:
        copied: paths of the weights that were copied.
        new: paths of those that keep their new values.
        left_out: paths of the source's weights that have no place.
    """

    copied: tuple[str, ...]
    new: tuple[str, ...]
    left_out: tuple[str, ...]

    def __str__(self) -> str:
        parts = [f"{len(self.copied)} weights copied"]
        for words, paths in (("new", self.new), ("left out", self.left_out)):
            if paths:
                layers = dict.fromkeys(path.split("/")[0] for path in paths)
                parts.append(f"{words}: {', '.join(layers)}")
        return "; ".join(parts)


def load_start(path: str, *, flag: str = "initialize_from") -> keras.Model:
    """Loads the model of a finished run.

    Args:
        path: the run directory.
        flag: the argument that named it, for errors.

    Raises:
        InputError: if it is not the directory of a finished run.
    """
    run = RunDirectory(path)
    if not run.exists():
        raise InputError(
            f"{flag}={path} is not a run directory (it has no config.json); convert other weights "
            "with std-keras convert"
        )
    if not run.model_file.is_file():
        raise InputError(
            f"{flag}={path} has no model.keras: the run is not finished; run its command again to "
            "continue"
        )
    return load_keras_file(run.model_file)


def copy_weights(model: keras.Model, source: keras.Model, *, path: str) -> Copied:
    """Copies every weight to the one of the same name.

    Token sets, distillation heads and auxiliary classifiers may be new, or have no place. Heads
    stay new if the number of classes differs. Everything else must be there with the same shape.

    Args:
        model: gets the weights.
        source: gives them.
        path: what to call the source in errors.

    Raises:
        InputError: if a weight is missing or has another shape; nothing is copied then.
    """
    theirs = {weight.path: weight for weight in source.weights if not is_random_state(weight)}
    ours = {weight.path: weight for weight in model.weights if not is_random_state(weight)}
    new_heads = model.output_shape[-1] != source.output_shape[-1]
    new = []
    for name, weight in ours.items():
        if name not in theirs:
            if not _STUDENT_PART.match(name):
                raise InputError(
                    f"initialize_from={path} has no {name}; its model is a {source.name}, the "
                    f"new one a {model.name}"
                )
            new.append(name)
        elif new_heads and _HEAD.match(name):
            new.append(name)
        elif tuple(theirs[name].shape) != tuple(weight.shape):
            raise InputError(
                f"initialize_from={path} has {name} with shape {tuple(theirs[name].shape)}, the "
                f"new model with {tuple(weight.shape)}; use the model flags of that run (for "
                "another resolution of a Mixer, see std-keras resize-weights)"
            )
    left_out = [name for name in theirs if name not in ours]
    foreign = [name for name in left_out if not _STUDENT_PART.match(name)]
    if foreign:
        raise InputError(
            f"initialize_from={path} has {foreign[0]}, which the new model lacks; use the model "
            "flags of that run"
        )
    copied = [name for name in ours if name not in set(new)]
    for name in copied:
        ours[name].assign(theirs[name].numpy())
    return Copied(tuple(copied), tuple(new), tuple(left_out))


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

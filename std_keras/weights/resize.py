"""A Mixer, ResMLP or gMLP for images of another size, from one that is trained.

Token mixing has one weight per patch, so that such a model takes images of one size only.

At K times the size (whole K) the image is cut into K x K tiles of the old size and the token mixing
is applied to each tile (Tolstikhin et al. 2021, arXiv 2105.01601, Appendix C): W becomes
block-diagonal, a Mixer's hidden width K^2 times as large. Everything else treats the patches
alike, so the new class logits are exactly the mean of the old ones over the tiles.

At another ratio the token-mixing weights are interpolated between the patches. That is an
approximation.

Token sets: T_C, one number for each patch, is repeated (or interpolated), and with it what its head
reads. T_S, one row for the whole image, is updated by an MLP whose width is not free, so its MLP
reads the mean over the tiles. So all heads are exact on an image of equal tiles; on others the
head of T_S is near.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from std_keras import models, progress, teachers
from std_keras.config import TrainConfig
from std_keras.errors import InputError
from std_keras.runs.origin import keep_license, started_from
from std_keras.runs.run_directory import RunDirectory
from std_keras.weights.adapt import can_be_tiled, grid_between, token_mlp_dim
from std_keras.weights.drawn import drawn_alike
from std_keras.weights.initialize import Start, copy_weights, find_start, input_normalization
from std_keras.weights.patch_grid import InterpolatedGrid, TiledGrid
from std_keras.weights.run import check_output, read_label_names, write_run

_TOKEN_MIXING = re.compile("/token_(mlp/.*|dense/)kernel$")
TOKEN_MIXING = ("auto", "block_diagonal", "interpolated")
_MOST_WEIGHTS = 2**31  # 8 GB; more than any machine that trains such models has use for.
_FAMILIES = ("mixer_", "resmlp_", "gmlp_")


@dataclass(frozen=True)
class Resized:
    """What was made.

    Attributes:
        run: the new run directory.
        exact: whether the old model's outputs follow exactly, see the module's docstring.
        notes: sentences that the user should read.
    """

    run: RunDirectory
    exact: bool
    notes: tuple[str, ...]


def resize_weights(
    source: str | Path,
    *,
    image_size: int,
    output: str | Path,
    num_classes: int | None = None,
    token_mixing: str = "auto",
    labels: str | Path | None = None,
) -> Resized:
    """Adapts a trained Mixer, ResMLP or gMLP to another image size or other classes, as a new run.

    What is exact, and what is not, is logged. Heads that are new are drawn from one seed.

    Args:
        source: directory of a finished run, or `std_keras:NAME`.
        image_size: side of the new images in pixels.
        output: the run directory, which must not exist or be empty.
        num_classes: of new heads, which are not trained; None keeps the heads.
        token_mixing: see `resize_run`.
        labels: with `num_classes`, a file of class names, one a line; None for numbers.

    Raises:
        InputError: if the run is of another family, or the size does not fit.
    """
    for name, value in (("image_size", image_size), ("num_classes", num_classes)):
        if value is not None and value < 1:
            raise InputError(f"{name}={value} must be at least 1")
    if labels is not None and num_classes is None:
        raise InputError("`labels` names the classes of new heads and needs `num_classes`")
    with drawn_alike():  # New heads.
        done = resize_run(
            source,
            output=output,
            image_size=image_size,
            num_classes=num_classes,
            token_mixing=token_mixing,
            labels=labels,
        )
    for note in done.notes:
        progress.say(note)
    progress.say(f"{done.run.path}: images of {image_size} pixels")
    return done


def resize_run(
    source: str | Path,
    *,
    output: str | Path,
    image_size: int,
    num_classes: int | None = None,
    token_mixing: str = "auto",
    labels: str | Path | None = None,
) -> Resized:
    """Writes a run directory with a model for another image size, or another number of classes.

    Args:
        source: directory of a finished run, with token sets or without, or `std_keras:NAME`.
        output: the new run directory, which must not exist or be empty.
        image_size: side of the new images in pixels.
        num_classes: of new heads, which are not trained; None keeps the heads.
        token_mixing: "block_diagonal" (whole ratios), "interpolated", or "auto": the first if it
            can be had.
        labels: file of class names for new heads; None for numbers.

    Raises:
        InputError: if the run is of another family, or the size does not fit.
    """
    run = check_output(output)
    start = find_start(str(source), flag="source")
    old, config = start.load(), start.run.read_config()
    _check_model(old, config, source)
    patch = int(old.get_layer("stem").kernel.shape[0])
    before = (int(old.input_shape[1]) // patch, int(old.input_shape[2]) // patch)
    if image_size % patch:
        raise InputError(
            f"image_size={image_size} is not divisible by the model's patches of {patch} pixels"
        )
    after = (image_size // patch, image_size // patch)
    grid = _grid(before, after, token_mixing, image_size=image_size)
    _check_weights(old, grid, image_size=image_size)
    old_classes = int(old.output_shape[-1])
    new_heads = num_classes is not None
    classes = num_classes or old_classes
    names = read_label_names(labels, num_classes=classes) if new_heads else start.run.read_labels()
    hidden = token_mlp_dim(old)
    if hidden is not None and isinstance(grid, TiledGrid):
        hidden *= grid.tiles
    config = config.replace(
        image_size=image_size,
        token_mlp_dim=hidden,
        dataset="" if new_heads else config.data.dataset,
        ema_decay=0.0,  # model.keras has one set of weights.
        initialize_from=None,
    )
    model = _create(config, old, image_size=image_size, num_classes=classes)
    tiled = isinstance(grid, TiledGrid)
    copy_weights(model, old, path=str(source), new_heads=new_heads, tiled=tiled)
    notes = _notes(grid, config, new_heads=new_heads)
    write_run(
        run,
        model=model,
        config=config,
        label_names=names,
        origin=_origin(start, old, grid, notes, image_size=image_size),
    )
    keep_license(start.run.path, run.path)
    return Resized(run, isinstance(grid, TiledGrid), notes)


def _check_model(model: keras.Model, config: TrainConfig, source: str | Path) -> None:
    if not config.model.name.startswith(_FAMILIES):
        raise InputError(
            f"source={source} is a {config.model.name}; only the weights of a Mixer, a ResMLP or a "
            "gMLP are resized"
        )
    if any(layer.name == "distillation_token" for layer in model.layers):
        raise InputError(
            f"source={source} has tokens=deit, a token that is mixed with all patches; it cannot "
            "be resized"
        )


def _check_weights(
    model: keras.Model, grid: TiledGrid | InterpolatedGrid, *, image_size: int
) -> None:
    """Refuses a size at which token mixing alone has an absurd number of weights."""
    more = grid.after[0] * grid.after[1] / (grid.before[0] * grid.before[1])
    # From patches to patches, and in a tiled Mixer the hidden layer grows as the patches do.
    squared = isinstance(grid, TiledGrid) or token_mlp_dim(model) is None
    mixing = [w for w in model.weights if _TOKEN_MIXING.search(w.path)]
    count = sum(math.prod(w.shape) for w in mixing) * (more**2 if squared else more)
    if count > _MOST_WEIGHTS:
        raise InputError(
            f"image_size={image_size} is {grid.after[0]}x{grid.after[1]} patches, whose token "
            f"mixing would have {count:.1e} weights, more than {_MOST_WEIGHTS:,}; use a smaller "
            "size"
        )


def _grid(
    before: tuple[int, int], after: tuple[int, int], token_mixing: str, *, image_size: int
) -> TiledGrid | InterpolatedGrid:
    whole = can_be_tiled(before, after)
    if token_mixing not in TOKEN_MIXING:
        raise InputError(f"token_mixing={token_mixing} is not one of {', '.join(TOKEN_MIXING)}")
    if token_mixing == "block_diagonal" and not whole:
        raise InputError(
            f"token_mixing=block_diagonal: {image_size} pixels are {after[0]}x{after[1]} "
            f"patches, not an integer multiple of {before[0]}x{before[1]}; use interpolated"
        )
    return grid_between(before, after, tiled=whole and token_mixing != "interpolated")


def _create(
    config: TrainConfig, old: keras.Model, *, image_size: int, num_classes: int
) -> keras.Model:
    normalization = input_normalization(old.to_json())
    mean, std = normalization or (None, None)
    common: dict[str, Any] = {
        "input_shape": (image_size, image_size, int(old.input_shape[3])),
        "num_classes": num_classes,
        "mean": mean,
        "std": std,
        **config.model.architecture(),
    }
    if not config.distillation.has_student_heads:
        return models.create(config.model.name, **common)
    return models.create_student(
        config.model.name,
        teacher_sites=[teachers.parse(text).site for text in config.distillation.teachers],
        tokens=config.distillation.tokens,
        token_mlps=config.distillation.token_mlps,
        propagate_tokens=config.distillation.propagate_tokens,
        **common,
    )


def _notes(
    grid: TiledGrid | InterpolatedGrid, config: TrainConfig, *, new_heads: bool
) -> tuple[str, ...]:
    tokens = config.distillation.has_student_heads and config.distillation.tokens in (
        "both",
        "spatial",
        "channel",
    )
    notes = []
    if isinstance(grid, InterpolatedGrid):
        notes.append(
            "the weights of patches are interpolated, which is an approximation: expect to "
            "fine-tune (`initialize_from`)"
        )
    elif grid.tiles > 1:
        notes.append(
            f"token mixing is block-diagonal over {grid.repeats[0]} x {grid.repeats[1]} tiles: the "
            "class logits are exactly the mean of the old ones over the tiles"
        )
        if tokens:
            notes.append(
                "T_C is repeated for every tile, T_S reads the mean over the tiles: the "
                "distillation heads are exact on equal tiles, and close on others"
            )
    if new_heads:
        notes.append("the heads are new and not trained")
    return tuple(notes)


def _origin(
    start: Start,
    old: keras.Model,
    grid: TiledGrid | InterpolatedGrid,
    notes: tuple[str, ...],
    *,
    image_size: int,
) -> dict[str, Any]:
    return {
        **started_from(start.name, start.run, file=start.file),
        "kind": "resized",
        "run": start.run.path.name,
        "image_size_before": int(old.input_shape[1]),
        "image_size": image_size,
        "token_mixing": "block_diagonal" if isinstance(grid, TiledGrid) else "interpolated",
        "notes": list(notes),
    }

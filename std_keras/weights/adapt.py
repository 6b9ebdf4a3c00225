"""Weights that belong to patches, for images or patches of another size.

Models that cut an image into patches have weights for each patch: a Mixer's, ResMLP's and gMLP's
token mixing, DeiT's position embedding, a student's token sets. `resize.py` says what is exact.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import keras
import numpy as np

from std_keras.weights.patch_grid import Grid, InterpolatedGrid, TiledGrid
from std_keras.weights.patch_size import resampled_stem

_DISTILLATION_HEAD = re.compile(r"distillation_\d+_\w+/kernel")


@dataclass(frozen=True)
class Adaptation:
    """How the weights of one model become those of another of the same kind.

    Attributes:
        grid: from the patches of one to those of the other.
        width: channels of a patch's features.
        patch_sizes: sides of a patch in pixels, before and after.
    """

    grid: TiledGrid | InterpolatedGrid
    width: int
    patch_sizes: tuple[int, int]

    @property
    def changes_grid(self) -> bool:
        """Whether there are other patches than before."""
        return self.grid.before != self.grid.after

    def __str__(self) -> str:
        parts = []
        if self.changes_grid:
            grids = [" x ".join(map(str, grid)) for grid in (self.grid.before, self.grid.after)]
            how = "weights of patches interpolated"
            if isinstance(self.grid, TiledGrid):
                tiles = self.grid.repeats
                how = f"token mixing block-diagonal over {tiles[0]} x {tiles[1]} tiles"
            parts.append(f"{' to '.join(grids)} patches ({how})")
        before, after = self.patch_sizes
        if before != after:
            parts.append(f"stem resampled from {before} to {after} pixels")
        return ", ".join(parts)

    def value(self, path: str, value: np.ndarray) -> np.ndarray:
        """The new value of the weight of that path."""
        grid = self.grid
        if path == "stem/kernel":
            return resampled_stem(value, self.patch_sizes[1])
        if not self.changes_grid:
            return value
        if "/token_mlp/" in path:
            return _token_mixing(path.split("/token_mlp/")[1], value, grid)
        if path.endswith("/token_dense/kernel"):  # (P, P), from patches to patches
            return grid.between(value)
        if path.endswith("/token_dense/bias"):  # (P,)
            return grid.spread(value)
        if path.endswith("/position_embedding"):  # (tokens + P, N)
            tokens = value.shape[0] - grid.before[0] * grid.before[1]
            places = InterpolatedGrid(grid.before, grid.after).spread(value[tokens:])
            return np.concatenate([value[:tokens], places])
        if path.endswith("/channel_token"):  # (P, 1)
            return grid.spread(value)
        if "/spatial_mlp_" in path and path.endswith("/hidden/kernel"):  # (P + 1, hidden)
            return np.concatenate([grid.share(value[:-1]), value[-1:]])
        if _DISTILLATION_HEAD.fullmatch(path) and value.shape[0] != self.width:
            # [T_S, T_C], (N + P, classes), or T_C alone.
            spatial = value.shape[0] - grid.before[0] * grid.before[1]
            return np.concatenate([value[:spatial], grid.share(value[spatial:])])
        return value


def adaptation(
    source: keras.Model, model: keras.Model, *, tiled: bool | None = None
) -> Adaptation | None:
    """How the weights of `source` become those of `model`; None if neither has patches.

    Args:
        source: the model that has the weights.
        model: the one that gets them.
        tiled: whether the new image is taken for equal tiles of the old size, which needs a whole
            multiple; None: where it is one, and the hidden width of token mixing has grown with it.
    """
    before, after = patch_grid(source), patch_grid(model)
    if before is None or after is None:
        return None
    if tiled is None:
        tiled = can_be_tiled(before, after) and _has_room_for_tiles(source, model, before, after)
    stems = [network.get_layer("stem").kernel.shape for network in (source, model)]
    return Adaptation(
        grid=grid_between(before, after, tiled=tiled),
        width=int(stems[0][-1]),
        patch_sizes=(int(stems[0][0]), int(stems[1][0])),
    )


def patch_grid(model: keras.Model) -> Grid | None:
    """Rows and columns of patches; None for a model that has no weights for them."""
    if not {"stem", "patches"} <= {layer.name for layer in model.layers}:
        return None
    _, rows, columns, _ = model.get_layer("stem").output.shape
    return int(rows), int(columns)


def can_be_tiled(before: Grid, after: Grid) -> bool:
    """Whether one grid is a whole multiple of the other in both directions."""
    return all(new % old == 0 for new, old in zip(after, before, strict=True))


def grid_between(before: Grid, after: Grid, *, tiled: bool) -> TiledGrid | InterpolatedGrid:
    """From one grid to another; `tiled` needs `can_be_tiled`."""
    if tiled:
        return TiledGrid(before, (after[0] // before[0], after[1] // before[1]))
    return InterpolatedGrid(before, after)


def _has_room_for_tiles(source: keras.Model, model: keras.Model, before: Grid, after: Grid) -> bool:
    old, new = token_mlp_dim(source), token_mlp_dim(model)
    if old is None or new is None:
        return True
    return new * before[0] * before[1] == old * after[0] * after[1]


def token_mlp_dim(model: keras.Model) -> int | None:
    """Hidden width of a Mixer's token mixing; None for other models."""
    for layer in model.layers:
        if layer.name == "block_0":
            return getattr(layer, "token_mlp_dim", None)
    return None


def _token_mixing(name: str, value: np.ndarray, grid: TiledGrid | InterpolatedGrid) -> np.ndarray:
    """A weight of the token-mixing MLP: P -> D -> P, from patches to patches."""
    if name == "output/bias":  # (P,)
        return grid.spread(value)
    if isinstance(grid, TiledGrid):
        if name == "hidden/kernel":  # (P, D)
            return grid.block_diagonal(value)
        if name == "hidden/bias":  # (D,)
            return np.tile(value, grid.tiles)
        return grid.block_diagonal(value.T).T  # (D, P)
    if name == "hidden/kernel":
        return grid.share(value)
    return value if name == "hidden/bias" else grid.spread(value.T).T

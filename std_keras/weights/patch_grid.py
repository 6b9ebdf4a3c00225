"""How weights that belong to patches go from one grid of patches to another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

Grid = tuple[int, int]


@dataclass(frozen=True)
class TiledGrid:
    """A grid made of `repeats` copies of a smaller one, as an image is of equal tiles.

    Patches are counted row by row, in the large grid and in each tile.

    Attributes:
        tile: rows and columns of the small grid.
        repeats: how often it is repeated downwards and to the right.
    """

    tile: Grid
    repeats: Grid

    @property
    def before(self) -> Grid:
        """Rows and columns of the small grid."""
        return self.tile

    @property
    def after(self) -> Grid:
        """Rows and columns of the large grid."""
        return self.tile[0] * self.repeats[0], self.tile[1] * self.repeats[1]

    @property
    def tiles(self) -> int:
        """Number of tiles."""
        return self.repeats[0] * self.repeats[1]

    def positions(self) -> tuple[np.ndarray, np.ndarray]:
        """For each patch of the large grid: its tile, and its place in the tile."""
        rows, columns = self.after
        row, column = np.divmod(np.arange(rows * columns), columns)
        tile = row // self.tile[0] * self.repeats[1] + column // self.tile[1]
        return tile, row % self.tile[0] * self.tile[1] + column % self.tile[1]

    def spread(self, values: np.ndarray) -> np.ndarray:
        """Values per patch (P, ...), repeated for every tile: (P', ...)."""
        return values[self.positions()[1]]

    def share(self, weights: np.ndarray) -> np.ndarray:
        """Weights with which patches are summed up (P, ...); the sum becomes the tiles' mean."""
        return self.spread(weights) / self.tiles

    def block_diagonal(self, weights: np.ndarray) -> np.ndarray:
        """Weights from patches to hidden units (P, D), once for each tile: (P', tiles * D).

        Hidden units are counted tile by tile. This is BD(W) times the permutation from rows of the
        large grid to tiles (Tolstikhin et al. 2021, arXiv 2105.01601, Appendix C, which orders its
        patches tile by tile).
        """
        tile, place = self.positions()
        hidden = weights.shape[1]
        result = np.zeros((len(tile), self.tiles, hidden), weights.dtype)
        result[np.arange(len(tile)), tile] = weights[place]
        return result.reshape(len(tile), self.tiles * hidden)

    def between(self, weights: np.ndarray) -> np.ndarray:
        """Weights from patches to patches (P, P), inside each tile: (P', P')."""
        tile, place = self.positions()
        same_tile = tile[:, np.newaxis] == tile
        return np.where(same_tile, weights[np.ix_(place, place)], 0).astype(weights.dtype)


@dataclass(frozen=True)
class InterpolatedGrid:
    """A grid whose weights are interpolated bilinearly from another one.

    Attributes:
        before: rows and columns of the other grid.
        after: rows and columns of this one.
    """

    before: Grid
    after: Grid

    def spread(self, values: np.ndarray) -> np.ndarray:
        """Values per patch: (P, ...) -> (P', ...)."""
        maps = values.reshape(*self.before, -1).astype(np.float32)
        resized = tf.image.resize(maps, self.after, "bilinear", antialias=True).numpy()
        return resized.reshape(self.after[0] * self.after[1], *values.shape[1:])

    def share(self, weights: np.ndarray) -> np.ndarray:
        """Weights with which patches are summed up; what a constant image gives stays the same."""
        factor = (self.before[0] * self.before[1]) / (self.after[0] * self.after[1])
        return self.spread(weights) * factor

    def between(self, weights: np.ndarray) -> np.ndarray:
        """Weights from patches to patches: (P, P) -> (P', P')."""
        return self.spread(self.share(weights).T).T

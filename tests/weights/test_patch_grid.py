from __future__ import annotations

import numpy as np
import pytest

from std_keras.weights.patch_grid import InterpolatedGrid, TiledGrid


@pytest.mark.parametrize(
    ("tile", "repeats"), [((2, 2), (2, 2)), ((1, 3), (2, 1)), ((2, 3), (3, 2))]
)
def test_tiles_by_cutting_an_image(tile, repeats):
    grid = TiledGrid(tile, repeats)
    rows, columns = tile[0] * repeats[0], tile[1] * repeats[1]
    image = np.arange(rows * columns).reshape(rows, columns)
    tiles, places = grid.positions()
    for number in range(grid.tiles):
        i, j = divmod(number, repeats[1])
        cut = image[i * tile[0] :, j * tile[1] :][: tile[0], : tile[1]]
        for place, patch in enumerate(cut.ravel()):
            assert (tiles[patch], places[patch]) == (number, place)
    values = np.random.default_rng(0).normal(size=(tile[0] * tile[1], 4))
    tiled = np.tile(values.reshape(*tile, 4), (*repeats, 1)).reshape(-1, 4)
    np.testing.assert_array_equal(grid.spread(values), tiled)


def test_block_diagonal_is_the_map_of_every_tile():
    grid = TiledGrid((2, 3), (2, 3))
    rng = np.random.default_rng(1)
    weights, features = rng.normal(size=(6, 5)), rng.normal(size=(36,))
    tiles, places = grid.positions()
    hidden = (features @ grid.block_diagonal(weights)).reshape(grid.tiles, 5)
    for number in range(grid.tiles):
        tile = np.empty(6)
        tile[places[tiles == number]] = features[tiles == number]
        np.testing.assert_allclose(hidden[number], tile @ weights)


@pytest.mark.parametrize("after", [(4, 4), (6, 3), (3, 5)])
def test_interpolation_keeps_constants_and_sums(after):
    grid = InterpolatedGrid((4, 4), after)
    weights = np.random.default_rng(2).normal(size=(16, 3))
    assert grid.spread(weights).shape == (after[0] * after[1], 3)
    np.testing.assert_allclose(grid.spread(np.full((16, 2), 7.0)), 7.0, rtol=1e-6)
    np.testing.assert_allclose(grid.share(np.full((16, 1), 2.0)).sum(0), 32.0, rtol=1e-5)
    if after == (4, 4):
        np.testing.assert_allclose(grid.spread(weights), weights, rtol=1e-6)


def test_interpolation_follows_the_place():
    ramp = np.repeat(np.arange(4.0), 4)[:, None]  # Grows from row to row.
    large = InterpolatedGrid((4, 4), (8, 8)).spread(ramp).reshape(8, 8)
    np.testing.assert_allclose(large[:, 0], large[:, 7])
    np.testing.assert_allclose(large[2:6, 0], [0.75, 1.25, 1.75, 2.25])

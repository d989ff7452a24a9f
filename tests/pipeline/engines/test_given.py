"""Operands that neighbouring tiles share."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from clustergrid.pipeline.distance import _in_bands
from clustergrid.pipeline.engines.given import RecentOperands
from clustergrid.storage.grid import BLOCK_ROWS, TriangleGrid

GRID = TriangleGrid(n=9 * BLOCK_ROWS + 5, tile_edge=BLOCK_ROWS)


def slabs_made(threads: int) -> list[int]:
    """Walk all tiles; return the first row of every slab that was made into operands."""
    recent, made, lock = RecentOperands(), [], threading.Lock()

    def make(rows: slice) -> np.ndarray:
        with lock:
            made.append(rows.start)
        return np.array([rows.start])

    def tile(place: tuple[int, int]) -> None:
        rows, columns = GRID.rows(place[0]), GRID.rows(place[1])
        left, right = recent.of_tile(rows, columns, make)
        assert left[rows.start] == rows.start
        assert right[columns.start] == columns.start
        assert len(recent._left) <= 4
        assert len(recent._right) == 1

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(tile, _in_bands(GRID, range(GRID.n_tiles))))
    return made


def test_a_band_makes_every_slab_once():
    # Three bands of four rows or less, of 10, 6 and 2 slabs.
    assert len(slabs_made(1)) == 18


@pytest.mark.parametrize("threads", [2, 5])
def test_threads_share_slabs(threads):
    assert len(slabs_made(threads)) < GRID.n_tiles


def test_bands_hold_every_tile_once():
    tiles = _in_bands(GRID, range(GRID.n_tiles))
    assert sorted(tiles) == [GRID.tile(p) for p in range(GRID.n_tiles)]
    assert tiles[:4] == [(0, 0), (0, 1), (1, 1), (0, 2)]
    assert tiles[9:14] == [(3, 3), (0, 4), (1, 4), (2, 4), (3, 4)]


def test_a_slab_that_could_not_be_made_is_made_again():
    recent, rows = RecentOperands(), slice(0, BLOCK_ROWS)

    def fails(_: slice) -> None:
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        recent.of_tile(rows, rows, fails)
    left, right = recent.of_tile(rows, rows, lambda block: block.start)
    assert left == right == {0: 0}

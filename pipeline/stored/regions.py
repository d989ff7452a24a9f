"""Driver: regions of a matrix of distances, read from its tiles by threads of this process.

What is made of regions is as large as what it is made of, so they are read where it is needed, and
not on workers. Regions have a fixed size, whatever the tiles: see ``hierarchy/_regions.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clustergrid.pipeline.hierarchy._regions import Members, Region, mark_tiles
from clustergrid.pipeline.hierarchy._threads import in_threads
from clustergrid.pipeline.stored.memory import REGION_COLUMNS, REGION_ROWS
from clustergrid.storage.condensed import CondensedDistances
from clustergrid.storage.grid import slabs

__all__ = ["RegionReader"]


class RegionReader:
    """Reads regions of a matrix, and counts what that takes.

    Parameters
    ----------
    distances
        Tiles, at rest or in memory. Those whose edge does not divide `REGION_ROWS` are read once
        for every region that they reach into.
    threads
        How many read tiles.

    Attributes
    ----------
    threads
        As given.
    bytes_read
        Of tiles, so far.
    """

    def __init__(self, distances: CondensedDistances, threads: int) -> None:
        self.bytes_read = 0
        self._distances = distances
        self.threads = threads

    def all_tiles(self) -> NDArray[np.bool_]:
        """Mark every tile on and above the diagonal, ``(tiles, tiles)``."""
        return np.triu(np.ones((self._distances.grid.n_edges,) * 2, np.bool_))

    def tiles_of(self, points: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Mark the tiles in rows or columns that hold some points."""
        grid = self._distances.grid
        holds = np.zeros(grid.n_edges, np.bool_)
        holds[points // grid.tile_edge] = True
        return np.triu(holds[:, None] | holds)

    def tiles_of_pairs(
        self, members: Members, first: NDArray[np.int64], second: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """Mark the tiles that hold distances between the members of pairs of clusters."""
        grid = self._distances.grid
        needed = np.zeros((grid.n_edges, grid.n_edges), np.bool_)
        mark_tiles(members, first, second, grid.tile_edge, needed)
        return needed

    def values_in(self, needed: NDArray[np.bool_]) -> int:
        """Count the distances that marked tiles hold."""
        grid = self._distances.grid
        shapes = (grid.tile_shape(int(i), int(j)) for i, j in np.argwhere(needed))
        return sum(height * width for height, width in shapes)

    def read(
        self, needed: NDArray[np.bool_], positions: NDArray[np.int64]
    ) -> Iterator[tuple[Region, float]]:
        """Read the regions that marked tiles reach into, one after another into the same place.

        Parameters
        ----------
        needed
            The tiles. Of a region, only what is in them is filled.
        positions
            ``(n,)`` of the points' clusters: what rows of regions are sorted by.

        Yields
        ------
        Region, float
            And the share of the regions that are done with it.
        """
        n = self._distances.n
        room = np.empty(min(n, REGION_ROWS) * min(n, REGION_COLUMNS), self._distances.dtype)
        places = list(self._places(needed))
        for done, (rows, columns, tiles) in enumerate(places, 1):
            height, width = rows.stop - rows.start, columns.stop - columns.start
            values = room[: height * width].reshape(height, width)
            self._fill(values, rows, columns, tiles)
            order = np.argsort(positions[rows], kind="stable")
            yield Region(values, rows.start, columns.start, order), done / len(places)

    def _places(
        self, needed: NDArray[np.bool_]
    ) -> Iterator[tuple[slice, slice, NDArray[np.int64]]]:
        """Yield rows, columns and marked tiles of the regions that reach above the diagonal."""
        n, edge = self._distances.n, self._distances.grid.tile_edge
        for rows in slabs(n, REGION_ROWS):
            for columns in slabs(n, REGION_COLUMNS):
                top, left = rows.start // edge, columns.start // edge
                inside = needed[top : -(-rows.stop // edge), left : -(-columns.stop // edge)]
                if columns.stop - 1 > rows.start and inside.any():
                    yield rows, columns, np.argwhere(inside) + np.array([top, left])

    def _fill(
        self, values: NDArray[Any], rows: slice, columns: slice, tiles: NDArray[np.int64]
    ) -> None:
        def copy(tile: NDArray[np.int64]) -> int:
            i, j = int(tile[0]), int(tile[1])
            read = self._distances.tile(i, j)
            to_rows, in_rows = _shared(rows, self._distances.grid.rows(i))
            to_columns, in_columns = _shared(columns, self._distances.grid.rows(j))
            values[to_rows, to_columns] = read[in_rows, in_columns]
            return int(read.nbytes)

        sizes = in_threads(copy, tiles, threads=self.threads, pause=lambda: None)
        self.bytes_read += sum(sizes)


def _shared(one: slice, other: slice) -> tuple[slice, slice]:
    """Return where the points that two ranges share are in each of them.

    Examples
    --------
    >>> _shared(slice(10, 20), slice(16, 30))
    (slice(6, 10, None), slice(0, 4, None))
    """
    start, stop = max(one.start, other.start), min(one.stop, other.stop)
    return (
        slice(start - one.start, stop - one.start),
        slice(start - other.start, stop - other.start),
    )

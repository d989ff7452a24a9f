"""Driver: the lists of the K nearest points, from tiles of distances; tasks, of one tile each.

Only lists travel: what a task found near in its tile, and before that, how far the lists of the
tile's rows and columns reached when it was handed out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clustergrid.pipeline.execution import Executor
from clustergrid.pipeline.hierarchy._clusters import Clusters
from clustergrid.pipeline.hierarchy._neighbors import (
    Neighbors,
    Reach,
    close_lists,
    open_lists,
    open_reach,
)
from clustergrid.pipeline.hierarchy._tile_lists import (
    TileLists,
    offer_tile,
    pack_lists,
    take_lists,
    weighed_tile,
)
from clustergrid.storage.condensed import CondensedDistances
from clustergrid.storage.errors import DataValueError

__all__ = ["list_points"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """A tile, and what the lists of its rows and columns take when its task is handed out."""

    tile: tuple[int, int]
    row_reach: NDArray[Any]
    column_reach: NDArray[Any]


@dataclass(frozen=True)
class _ListsOfTile:
    """What every task is given."""

    distances: CondensedDistances
    n_neighbors: int
    sizes: NDArray[np.float64] | None
    _rooms: deque[Neighbors] = field(default_factory=deque)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the rooms behind: every process has its own."""
        return {**vars(self), "_rooms": deque()}

    def __call__(self, work: _Work) -> tuple[tuple[int, int], TileLists]:
        i, j = work.tile
        grid = self.distances.grid
        rows, columns = grid.rows(i), grid.rows(j)
        tile = self.distances.tile(i, j)
        if not (tile.flags.c_contiguous and tile.flags.writeable):
            tile = tile.copy()  # kernels are compiled for one kind of array
        if self.sizes is not None:
            tile = weighed_tile(tile, self.sizes[rows], self.sizes[columns])
        near = work.row_reach if i == j else np.concatenate([work.row_reach, work.column_reach])
        reach = Reach(distance=near.copy(), last=np.full(len(near), np.iinfo(np.int64).max))
        lists = self._room()
        lists.counts[:] = 0
        if not offer_tile(tile, i == j, self.n_neighbors, lists, reach):
            raise _not_finite(tile, rows, columns)
        counts, ids, found = pack_lists(
            lists, len(near), self.n_neighbors, len(tile), rows.start, columns.start
        )
        self._rooms.append(lists)
        return work.tile, TileLists(counts, ids, found.astype(tile.dtype, copy=False))

    def _room(self) -> Neighbors:
        """Memory of lists that are done with: the system takes long to hand out new one."""
        try:
            return self._rooms.pop()
        except IndexError:
            grid = self.distances.grid
            # An odd number of cache lines: where lists grow, they do not displace one another.
            spare = (4 - self.n_neighbors) % 8
            return open_lists(2 * min(grid.tile_edge, grid.n), self.n_neighbors + spare)


def _run(task: _ListsOfTile, work: _Work) -> tuple[tuple[int, int], TileLists]:
    return task(work)


def _not_finite(tile: NDArray[Any], rows: slice, columns: slice) -> DataValueError:
    row, column = np.argwhere(~np.isfinite(tile))[0]
    return DataValueError(
        f"the distance of observations {rows.start + row:,} and {columns.start + column:,} is "
        f"{tile[row, column]!s}: The condensed distance matrix must contain only finite values."
    )


def list_points(
    distances: CondensedDistances,
    clusters: Clusters,
    method: str,
    n_neighbors: int,
    *,
    executor: Executor,
    pause: Callable[[float], None],
) -> Neighbors:
    """List the K nearest of every point, in one pass over the tiles.

    Parameters
    ----------
    distances
        Of n points, which tasks read where they run.
    clusters, method
        What the points stand for, and the linkage method.
    n_neighbors
        K.
    executor, pause
        Where, and who is told what share of the tiles is done.

    Raises
    ------
    DataValueError
        A distance is not finite.
    TileError
        A tile is missing or damaged.
    """
    grid = distances.grid
    weighs = method == "ward" and bool(clusters.sizes.max() > 1)
    lists = open_lists(grid.n, n_neighbors)
    reach = open_reach(grid.n, np.dtype(np.float64) if weighs else distances.dtype)

    def works() -> Iterator[_Work]:
        # By diagonals: every strip soon meets some others, and takes little of those that follow.
        tiles = (grid.tile(position) for position in range(grid.n_tiles))
        for i, j in sorted(tiles, key=lambda tile: (tile[1] - tile[0], tile[0])):
            yield _Work(
                tile=(i, j),
                row_reach=reach.distance[grid.rows(i)].copy(),
                column_reach=reach.distance[grid.rows(j)].copy(),
            )

    task = _ListsOfTile(distances, n_neighbors, clusters.sizes if weighs else None)
    results = executor.map(_run, executor.share(task), works(), name="list-tile")
    for done, ((i, j), found) in enumerate(results, 1):
        height, width = grid.tile_shape(i, j)
        take_lists(found, 0, height, grid.rows(i).start, n_neighbors, lists, reach)
        if i != j:
            start = grid.rows(j).start
            take_lists(found, height, height + width, start, n_neighbors, lists, reach)
        pause(done / grid.n_tiles)
    close_lists(lists, n_neighbors, grid.n - 1, 0, grid.n)
    return lists

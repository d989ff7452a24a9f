"""Kernel: the K nearest of every point, from tiles of distances that come in any order.

A task makes the lists of one tile's rows and columns, of what the lists of all points still take;
only these travel. Entries are ordered by (distance, id), of which no two are equal. So the lists of
all are the same whatever the order in which those of tiles come, and however old the news of what
they take was: old news lets more entries pass, and no other ones stay.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clustergrid.pipeline._jit import jit
from clustergrid.pipeline.hierarchy._clusters import WARD, single_pair
from clustergrid.pipeline.hierarchy._neighbors import (
    Neighbors,
    Reach,
    keep_nearest,
    offer,
    offer_piece,
)

__all__ = ["TileLists", "offer_tile", "pack_lists", "take_lists", "weighed_tile"]

# Columns whose lists, two cache lines each where they grow, stay in the second-level cache.
_PANEL = 2048


class TileLists(NamedTuple):
    """What one tile adds to the lists of its rows, and to those of its columns behind them.

    Parameters
    ----------
    counts
        ``(owners,) int64``: how many entries each owner has. The owners are the rows, then the
        columns; of a tile on the diagonal, which are the same, the rows.
    ids
        ``(entries,) int32``: the points, owner by owner.
    distances
        ``(entries,)``, the tile's dtype.
    """

    counts: NDArray[np.int64]
    ids: NDArray[np.int32]
    distances: NDArray[Any]


@jit
def offer_tile(
    tile: NDArray[Any], on_diagonal: bool, n_neighbors: int, lists: Neighbors, reach: Reach
) -> bool:
    """Offer the distances of a tile to the lists of its rows and its columns.

    Parameters
    ----------
    tile
        ``(h, w)``; of one on the diagonal, what is above the diagonal is read.
    on_diagonal
        Whether rows and columns are the same points.
    n_neighbors
        K.
    lists, reach
        Of the ``h`` rows, then of the ``w`` columns; of the rows only, where they are the same.
        Points are known by their places in these.

    Returns
    -------
    bool
        Whether all distances are finite.
    """
    height, width = tile.shape
    shift = 0 if on_diagonal else height
    marks = np.empty(_PANEL + 8, np.uint8)
    finite = True
    for left in range(0, width, _PANEL):
        right = min(left + _PANEL, width)
        for i in range(height):
            start = max(left, i + 1) if on_diagonal else left
            if start >= right:
                break
            piece = tile[i, start:right]
            finite &= offer_piece(piece, i, shift + start, n_neighbors, lists, reach, marks)
    return finite


@jit
def weighed_tile(
    tile: NDArray[Any], row_sizes: NDArray[np.float64], column_sizes: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return ward's distances of points that stand for several identical observations each."""
    height, width = tile.shape
    weighed = np.empty((height, width))
    for i in range(height):
        for j in range(width):
            weighed[i, j] = single_pair(WARD, np.float64(tile[i, j]), row_sizes[i], column_sizes[j])
    return weighed


@jit
def pack_lists(
    lists: Neighbors,
    n_owners: int,
    n_neighbors: int,
    n_rows: int,
    first_row: int,
    first_column: int,
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float64]]:
    """Cut the lists of a tile to K, and return them one behind another: counts, ids, distances.

    Parameters
    ----------
    lists, n_owners, n_neighbors
        As `offer_tile` left them, how many of them are of this tile, and K.
    n_rows
        Places below it are rows, those from it on columns.
    first_row, first_column
        The points that these begin with.
    """
    counts = np.empty(n_owners, np.int64)
    for owner in range(n_owners):
        count = lists.counts[owner]
        if count > n_neighbors:
            keep_nearest(
                lists.ids[owner], lists.bounds[owner], lists.exact[owner], count, n_neighbors
            )
            count = n_neighbors
        counts[owner] = count
    total = counts.sum()
    ids = np.empty(total, np.int32)
    distances = np.empty(total)
    at = 0
    for owner in range(n_owners):
        for entry in range(counts[owner]):
            place = lists.ids[owner, entry]
            ids[at] = place + first_row if place < n_rows else place - n_rows + first_column
            distances[at] = lists.bounds[owner, entry]
            at += 1
    return counts, ids, distances


@jit
def take_lists(
    found: TileLists,
    start: int,
    stop: int,
    first_owner: int,
    n_neighbors: int,
    lists: Neighbors,
    reach: Reach,
) -> None:
    """Take the owners `start` to `stop` of a tile's lists into those of all points.

    `first_owner` is the point that owner number `start` is.
    """
    at = found.counts[:start].sum()
    for position in range(start, stop):
        owner = first_owner + position - start
        for _ in range(found.counts[position]):
            distance = found.distances[at]
            if distance <= reach.distance[owner]:
                offer(lists, reach, n_neighbors, owner, found.ids[at], distance)
            at += 1

"""Kernel: distances between clusters, from regions of a matrix of distances between points.

The matrix above its diagonal is cut into regions of a fixed number of rows and columns, counted
from its corner, which come one after another, row by row; in each, rows come in their order, and in
these columns. For clusters A and B, what is below is added up in just that order, whatever is asked
for, and whoever does it::

    one(A, B)    over the pairs (i, j), i < j, with i in A and j in B
    one(B, A)    over those with i in B and j in A

and brought together last. So a distance has the same bits in a row, in the square and alone, and
they do not depend on the tiles that the regions were read from, nor on the number of threads: what
belongs to one cluster is added by one thread at a time.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clustergrid.pipeline._jit import jit
from clustergrid.pipeline.hierarchy._clusters import (
    COMPLETE,
    SINGLE,
    Clusters,
    add_pair,
    total_distance,
)
from clustergrid.pipeline.hierarchy._neighbors import Neighbors, close_lists, keep_nearest

__all__ = [
    "Members",
    "Region",
    "finish_pairs",
    "finish_rows",
    "mark_tiles",
    "nearest_of_rows",
    "reduce_pairs",
    "reduce_to_rows",
    "reduce_to_square",
]

_TILE = 32


class Members(NamedTuple):
    """The points of each cluster, in their order.

    Parameters
    ----------
    points
        ``(n,) int64``: sorted by cluster, then by number.
    starts
        ``(n + 1,) int64``: where those of the cluster in each slot begin; one more for the end.
    """

    points: NDArray[np.int64]
    starts: NDArray[np.int64]


class Region(NamedTuple):
    """Some rows and columns of the matrix of distances between points.

    Parameters
    ----------
    distances
        ``(h, w)``; what is not above the matrix's diagonal is not read.
    top, left
        The points that its rows and columns begin with.
    order
        ``(h,) int64``: its rows sorted by cluster, then by number; threads take ranges of them that
        share no cluster.
    """

    distances: NDArray[Any]
    top: int
    left: int
    order: NDArray[np.int64]


@jit
def reduce_to_square(
    region: Region,
    positions: NDArray[np.int64],
    weights: NDArray[np.float64],
    method: int,
    square: NDArray[np.float64],
    start: int,
    stop: int,
) -> None:
    """Take some rows of a region into the totals of their clusters with all others.

    Parameters
    ----------
    region
        Of n points.
    positions
        ``(n,) int64``: the row of the square that each point belongs to.
    weights, method
        ``(n,)`` weights of the points in their clusters, and how they are reduced.
    square
        ``(m, m)``: where the totals go, each in the row of the lower point's cluster.
    start, stop
        Which rows, in the region's order.
    """
    for place in range(start, stop):
        row = region.order[place]
        into = square[positions[region.top + row]]
        _add_row(region, row, positions, weights, method, into)


@jit
def _add_row(
    region: Region,
    row: int,
    positions: NDArray[np.int64],
    weights: NDArray[np.float64],
    method: int,
    into: NDArray[np.float64],
) -> None:
    """Add a row's distances to later points into the totals, ``(m,)``, of their clusters."""
    point = region.top + row
    first = max(0, point + 1 - region.left)
    distances = region.distances[row, first:]
    where = positions[region.left + first :]
    others = weights[region.left + first :]
    weight = weights[point]
    for j in range(len(distances)):
        at = where[j]
        into[at] = add_pair(method, into[at], np.float64(distances[j]), weight * others[j])


@jit
def reduce_to_rows(
    region: Region,
    positions: NDArray[np.int64],
    weights: NDArray[np.float64],
    method: int,
    owner_of: NDArray[np.int64],
    columns: NDArray[np.int64],
    rows: NDArray[np.float64],
    back: NDArray[np.float64],
    start: int,
    stop: int,
) -> None:
    """Take some rows of a region into the totals of a few clusters, the owners, with all others.

    Parameters
    ----------
    region, positions, weights, method, start, stop
        As in `reduce_to_square`; positions are those of the ``m`` live clusters.
    owner_of
        ``(n,) int64``: which owner each point belongs to; -1 for none.
    columns
        The points of owners among the region's columns, in their order.
    rows
        ``(owners, m)``: totals over pairs of which the owner has the lower point.
    back
        ``(m, owners)``: over those of which it has the higher one.
    """
    for place in range(start, stop):
        row = region.order[place]
        point = region.top + row
        weight = weights[point]
        if owner_of[point] >= 0:
            _add_row(region, row, positions, weights, method, rows[owner_of[point]])
        into = back[positions[point]]
        for j in columns[np.searchsorted(columns, point + 1) :]:
            at = owner_of[j]
            distance = region.distances[row, j - region.left]
            into[at] = add_pair(method, into[at], np.float64(distance), weight * weights[j])


@jit
def finish_rows(
    clusters: Clusters,
    method: int,
    owners: NDArray[np.int64],
    slots: NDArray[np.int64],
    rows: NDArray[np.float64],
    back: NDArray[np.float64],
    start: int,
    stop: int,
) -> None:
    """Make distances of the totals in rows `start` to `stop`; a cluster's to itself is infinite."""
    for left in range(0, len(slots), _TILE):
        right = min(left + _TILE, len(slots))
        for owner in range(start, stop):
            slot = int(owners[owner])
            for column in range(left, right):
                other = int(slots[column])
                total = _together(method, rows[owner, column], back[column, owner])
                rows[owner, column] = np.inf
                if other != slot:
                    low, high = min(slot, other), max(slot, other)
                    rows[owner, column] = total_distance(clusters, method, low, high, total)


@jit
def _together(method: int, one: float, other: float) -> float:
    if method == COMPLETE:
        return max(one, other)
    if method == SINGLE:
        return min(one, other)
    return one + other


@jit
def nearest_of_rows(
    rows: NDArray[np.float64],
    owners: NDArray[np.int64],
    slots: NDArray[np.int64],
    n_neighbors: int,
    lists: Neighbors,
    first_list: int,
    start: int,
    stop: int,
) -> None:
    """List the K nearest clusters of the owners `start` to `stop`, from `first_list` on."""
    ids = np.empty(len(slots), np.int32)
    bounds = np.empty(len(slots))
    exact = np.ones(len(slots), np.bool_)
    for owner in range(start, stop):
        count = 0
        for column in range(len(slots)):
            if slots[column] != owners[owner]:
                ids[count] = slots[column]
                bounds[count] = rows[owner, column]
                count += 1
        kept = min(count, n_neighbors)
        if count > kept:
            keep_nearest(ids, bounds, exact, count, kept)
        to = first_list + owner
        lists.ids[to, :kept] = ids[:kept]
        lists.bounds[to, :kept] = bounds[:kept]
        lists.counts[to] = kept
        close_lists(lists, n_neighbors, count, to, to + 1)


@jit
def mark_tiles(
    members: Members,
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    tile_edge: int,
    needed: NDArray[np.bool_],
) -> None:
    """Mark the tiles on and above the diagonal that hold distances between pairs of clusters."""
    for pair in range(len(first)):
        ones = _points(members, first[pair])
        others = _points(members, second[pair])
        last_row = -1
        for i in ones:
            row = i // tile_edge
            if row == last_row:
                continue
            last_row = row
            last_column = -1
            for j in others:
                column = j // tile_edge
                if column != last_column:
                    last_column = column
                    needed[min(row, column), max(row, column)] = True


@jit
def _points(members: Members, slot: int) -> NDArray[np.int64]:
    return members.points[members.starts[slot] : members.starts[slot + 1]]


@jit
def reduce_pairs(
    region: Region,
    members: Members,
    weights: NDArray[np.float64],
    method: int,
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    totals: NDArray[np.float64],
    start: int,
    stop: int,
) -> None:
    """Take what a region holds of the pairs `start` to `stop` into their two totals, ``(p, 2)``."""
    for pair in range(start, stop):
        ones = _points(members, first[pair])
        others = _points(members, second[pair])
        totals[pair, 0] = _add_pairs(region, weights, method, ones, others, totals[pair, 0])
        totals[pair, 1] = _add_pairs(region, weights, method, others, ones, totals[pair, 1])


@jit
def _add_pairs(
    region: Region,
    weights: NDArray[np.float64],
    method: int,
    lower: NDArray[np.int64],
    higher: NDArray[np.int64],
    total: float,
) -> float:
    """Add the distances of some points, in a region's rows, to later ones, in its columns."""
    height, width = region.distances.shape
    begin = np.searchsorted(lower, region.top)
    end = np.searchsorted(lower, region.top + height)
    left = np.searchsorted(higher, region.left)
    right = np.searchsorted(higher, region.left + width)
    for i in lower[begin:end]:
        for j in higher[left:right]:
            if j > i:
                distance = np.float64(region.distances[i - region.top, j - region.left])
                total = add_pair(method, total, distance, weights[i] * weights[j])
    return total


@jit
def finish_pairs(
    clusters: Clusters,
    method: int,
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    totals: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the distances of pairs of clusters, of their two totals."""
    distances = np.empty(len(first))
    for pair in range(len(first)):
        total = _together(method, totals[pair, 0], totals[pair, 1])
        low = min(first[pair], second[pair])
        high = max(first[pair], second[pair])
        distances[pair] = total_distance(clusters, method, low, high, total)
    return distances

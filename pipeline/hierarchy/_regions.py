"""Kernel: distances between clusters, from regions of a matrix of distances between points.

The matrix above its diagonal is cut into regions of a fixed number of rows and columns, counted
from its corner, which come one after another, row by row. What is asked for is added up region by
region, and in each of them in an order that depends on nothing else. So a distance has the same
bits whatever the tiles that regions were read from, whatever else is asked for, and however many
threads there are: each total belongs to one of them at a time.

Of the square, and of pairs, clusters A and B have two totals, over the pairs of points (i, j),
i < j, with i in A and j in B, and over those with i in B and j in A. They are brought together
last. Of rows, which may be more than the memory holds twice, there is one.
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
    "reduce_columns_to_rows",
    "reduce_pairs",
    "reduce_to_rows",
    "reduce_to_square",
]

# Columns that are turned to rows together, and the rows of each that are read at once.
_COLUMNS = 64
_ROWS = 8


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
    rows: NDArray[np.float64],
    start: int,
    stop: int,
) -> None:
    """Take the rows of a few clusters, the owners, into their totals with all others.

    Parameters
    ----------
    region, positions, weights, method, start, stop
        As in `reduce_to_square`; positions are those of the ``m`` live clusters.
    owner_of
        ``(n,) int64``: which owner each point belongs to; -1 for none.
    rows
        ``(owners, m)``: the totals.
    """
    for place in range(start, stop):
        row = region.order[place]
        owner = owner_of[region.top + row]
        if owner >= 0:
            _add_row(region, row, positions, weights, method, rows[owner])


@jit
def reduce_columns_to_rows(
    region: Region,
    positions: NDArray[np.int64],
    weights: NDArray[np.float64],
    method: int,
    owner_of: NDArray[np.int64],
    columns: NDArray[np.int64],
    rows: NDArray[np.float64],
    start: int,
    stop: int,
) -> None:
    """Take the columns of some owners into their totals with all others.

    Parameters
    ----------
    region, positions, weights, method, owner_of, rows
        As in `reduce_to_rows`.
    columns
        The points of owners among the region's columns, in their order.
    start, stop
        Which owners.
    """
    height = len(region.distances)
    turned = np.empty((_COLUMNS, height), region.distances.dtype)
    chosen = np.empty(_COLUMNS, np.int64)
    count = 0
    for place in range(len(columns)):
        if start <= owner_of[columns[place]] < stop:
            chosen[count] = columns[place]
            count += 1
        if count == _COLUMNS or (count > 0 and place == len(columns) - 1):
            _turn(region, chosen[:count], turned)
            for k in range(count):
                _add_column(
                    *(region, chosen[k], turned[k], positions, weights, method),
                    rows[owner_of[chosen[k]]],
                )
            count = 0


@jit
def _turn(region: Region, columns: NDArray[np.int64], turned: NDArray[Any]) -> None:
    """Copy some columns of a region to rows, through which a processor reads more easily."""
    height = len(region.distances)
    for top in range(0, height, _ROWS):
        bottom = min(top + _ROWS, height)
        for k in range(len(columns)):
            column = columns[k] - region.left
            for row in range(top, bottom):
                turned[k, row] = region.distances[row, column]


@jit
def _add_column(
    region: Region,
    point: int,
    distances: NDArray[Any],
    positions: NDArray[np.int64],
    weights: NDArray[np.float64],
    method: int,
    into: NDArray[np.float64],
) -> None:
    """Add a point's distances to earlier ones into the totals, ``(m,)``, of their clusters."""
    n_earlier = max(0, min(len(distances), point - region.top))
    where = positions[region.top : region.top + n_earlier]
    others = weights[region.top : region.top + n_earlier]
    weight = weights[point]
    for i in range(n_earlier):
        at = where[i]
        into[at] = add_pair(method, into[at], np.float64(distances[i]), weight * others[i])


@jit
def finish_rows(
    clusters: Clusters,
    method: int,
    owners: NDArray[np.int64],
    slots: NDArray[np.int64],
    rows: NDArray[np.float64],
    start: int,
    stop: int,
) -> None:
    """Make distances of the totals in rows `start` to `stop`; a cluster's to itself is infinite."""
    for owner in range(start, stop):
        slot = int(owners[owner])
        for column in range(len(slots)):
            other = int(slots[column])
            total = rows[owner, column]
            rows[owner, column] = np.inf
            if other != slot:
                low, high = min(slot, other), max(slot, other)
                rows[owner, column] = total_distance(clusters, method, low, high, total)


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
def _together(method: int, one: float, other: float) -> float:
    if method == COMPLETE:
        return max(one, other)
    if method == SINGLE:
        return min(one, other)
    return one + other


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

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

from clustergrid.pipeline._jit import borrowing, jit
from clustergrid.pipeline.hierarchy._clusters import (
    Clusters,
    add_pair,
    nothing_yet,
    total_distance,
)
from clustergrid.pipeline.hierarchy._neighbors import Neighbors, close_lists, keep_nearest
from clustergrid.pipeline.hierarchy._sums import (
    BLOCK,
    Members,
    add_distances,
    add_sums,
    gather_sums,
    nothing_in,
    points_of,
    together,
)

__all__ = [
    "Members",
    "Region",
    "finish_pairs",
    "finish_rows",
    "list_row",
    "mark_tiles",
    "nearest_of_rows",
    "open_entries",
    "reduce_columns_to_rows",
    "reduce_pairs",
    "reduce_to_rows",
    "reduce_to_square",
]

# Columns that are turned to rows together, and the rows of each that are read at once.
_COLUMNS = 64
_ROWS = 8


class Entries(NamedTuple):
    """Of a row of distances: which clusters, how far, and that this is exact; ``(m,)`` each."""

    ids: NDArray[np.int32]
    bounds: NDArray[np.float64]
    exact: NDArray[np.bool_]


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
    of_row = positions[region.top : region.top + len(region.order)]
    _reduce_runs(region, positions, weights, method, of_row, square, start, stop)


@jit
def _reduce_runs(
    region: Region,
    positions: NDArray[np.int64],
    weights: NDArray[np.float64],
    method: int,
    of_row: NDArray[np.int64],
    totals: NDArray[np.float64],
    start: int,
    stop: int,
) -> None:
    """Take rows of a region into the totals that `of_row` says, if it does: -1 is for none.

    Rows of one cluster follow one another in the region's order.
    """
    width = region.distances.shape[1]
    sums = np.empty(width)
    some = np.empty(max(width, totals.shape[1]))
    end = start
    for begin in range(start, stop):
        if begin < end:
            continue
        into = of_row[region.order[begin]]
        end = begin + 1
        while end < stop and of_row[region.order[end]] == into:
            end += 1
        first = max(0, region.top + region.order[begin] + 1 - region.left)
        if into < 0 or first >= width:
            continue
        _sum_rows(region, weights, method, begin, end, first, sums, some)
        columns = slice(region.left + first, region.left + width)
        where, others = positions[columns], weights[columns]
        _take(method, sums[first:], where, others, totals[into], some, end - begin)


@borrowing
def _sum_rows(
    region: Region,
    weights: NDArray[np.float64],
    method: int,
    begin: int,
    end: int,
    first: int,
    sums: NDArray[np.float64],
    some: NDArray[np.float64],
) -> None:
    """Add up the rows `begin` to `end`, of the region's order, from column `first` on."""
    width = len(sums)
    nothing_in(method, sums[first:])
    for block in range(begin, end, BLOCK):
        of_block = sums if block == begin else some
        if block > begin:
            nothing_in(method, some[first:width])
        for place in range(block, min(block + BLOCK, end)):
            row = region.order[place]
            point = region.top + row
            start = max(first, point + 1 - region.left)
            if start < width:
                distances = region.distances[row, start:]
                add_distances(method, distances, weights[point], of_block[start:width])
        if block > begin:
            add_sums(method, some[first:width], sums[first:])


@borrowing
def _take(
    method: int,
    sums: NDArray[np.float64],
    positions: NDArray[np.int64],
    weights: NDArray[np.float64],
    totals: NDArray[np.float64],
    some: NDArray[np.float64],
    n_added: int,
) -> None:
    """Bring columns together in a cluster's totals: of sums of many apart, lest these grow long.

    Where `n_added` is one, as of most clusters, that would cost more than it is worth.
    """
    if n_added == 1:
        gather_sums(method, sums, positions, weights, totals)
        return
    apart = some[: len(totals)]
    nothing_in(method, apart)
    gather_sums(method, sums, positions, weights, apart)
    add_sums(method, apart, totals)


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
    of_row = owner_of[region.top : region.top + len(region.order)]
    _reduce_runs(region, positions, weights, method, of_row, rows, start, stop)


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
    sums = np.empty(height)
    some = np.empty(max(height, rows.shape[1]))
    owners = owner_of[columns]
    by_owner = np.argsort(owners, kind="mergesort")
    columns, owners = columns[by_owner], owners[by_owner]
    of_rows = slice(region.top, region.top + height)
    end = np.searchsorted(owners, start)
    for owner in range(start, stop):
        begin, end = end, np.searchsorted(owners, owner, side="right")
        if begin == end:
            continue
        nothing_in(method, sums)
        for block in range(begin, end, _COLUMNS):
            chosen = columns[block : min(block + _COLUMNS, end)]
            _turn(region, chosen, turned)
            nothing_in(method, some[:height])
            for k in range(len(chosen)):
                # Of a point, those before it.
                n_earlier = max(0, min(height, chosen[k] - region.top))
                distances = turned[k, :n_earlier]
                add_distances(method, distances, weights[chosen[k]], some[:n_earlier])
            add_sums(method, some[:height], sums)
        where, others = positions[of_rows], weights[of_rows]
        _take(method, sums, where, others, rows[owner], some, int(end - begin))


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
    entries = open_entries(len(slots))
    for owner in range(start, stop):
        list_row(rows[owner], owners[owner], slots, n_neighbors, lists, first_list + owner, entries)


@jit
def open_entries(n_clusters: int) -> Entries:
    """Return room for the distances of a row and whose they are."""
    return Entries(
        np.empty(n_clusters, np.int32), np.empty(n_clusters), np.ones(n_clusters, np.bool_)
    )


@jit
def list_row(
    row: NDArray[np.float64],
    owner: int,
    slots: NDArray[np.int64],
    n_neighbors: int,
    lists: Neighbors,
    to: int,
    entries: Entries,
) -> None:
    """Make list number `to` of the distances of a cluster to all; `entries` is scratch."""
    ids, bounds, exact = entries
    count = 0
    for column in range(len(slots)):
        if slots[column] != owner:
            ids[count] = slots[column]
            bounds[count] = row[column]
            count += 1
    kept = min(count, n_neighbors)
    if count > kept:
        keep_nearest(ids, bounds, exact, count, kept)
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
        ones = points_of(members, first[pair])
        others = points_of(members, second[pair])
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
        ones = points_of(members, first[pair])
        others = points_of(members, second[pair])
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
    for top in range(begin, end, BLOCK):
        of_block = nothing_yet(method)
        for i in lower[top : min(top + BLOCK, end)]:
            for start in range(left, right, BLOCK):
                part = nothing_yet(method)
                for j in higher[start : min(start + BLOCK, right)]:
                    if j > i:
                        distance = np.float64(region.distances[i - region.top, j - region.left])
                        part = add_pair(method, part, distance, weights[i] * weights[j])
                of_block = together(method, of_block, part)
        total = together(method, total, of_block)
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
        total = together(method, totals[pair, 0], totals[pair, 1])
        low = min(first[pair], second[pair])
        high = max(first[pair], second[pair])
        distances[pair] = total_distance(clusters, method, low, high, total)
    return distances

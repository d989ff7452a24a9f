"""Kernel: lists of near clusters, and distances between clusters, from SciPy's condensed vector.

The distances of row ``i`` to the columns after it are contiguous, those to the columns before it
are one number from each of ``i`` rows. What needs every distance goes along the rows, and serves
row and column at once; only rescans of single clusters and distances of single pairs jump.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clustergrid.pipeline._jit import jit
from clustergrid.pipeline.hierarchy._clusters import (
    WARD,
    nothing_yet,
    single_pair,
    total_distance,
)
from clustergrid.pipeline.hierarchy._contraction import Reduction, finish_row, sum_all
from clustergrid.pipeline.hierarchy._neighbors import Neighbors, Reach, offer_piece
from clustergrid.pipeline.hierarchy._regions import list_row, open_entries
from clustergrid.pipeline.hierarchy._sums import BLOCK, points_of, sum_pairs, together

__all__ = [
    "Blocks",
    "cluster_distances",
    "cluster_rows",
    "cut_pairs",
    "finish_distances",
    "guess_reach",
    "nearest_clusters",
    "offer_rectangle",
    "offer_weighed",
]

# Columns whose lists, two cache lines each where they grow, stay in the second-level cache.
_PANEL = 2048


class Blocks(NamedTuple):
    """Pairs of clusters, cut into blocks of members of the first.

    Parameters
    ----------
    pairs
        ``(b,) int64``: of which pair each block is.
    rows, columns
        ``(b,) int64``: the slots of its clusters.
    begins
        ``(b,) int64``: the first of its `BLOCK` members, among those of the cluster in `rows`.
    """

    pairs: NDArray[np.int64]
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    begins: NDArray[np.int64]


def cut_pairs(
    first: NDArray[np.int64], second: NDArray[np.int64], n_points: NDArray[np.int64]
) -> Blocks:
    """Cut pairs of clusters, whose slots are given with how many points each slot has."""
    n_blocks = -(-n_points[first] // BLOCK)
    pairs = np.repeat(np.arange(len(first)), n_blocks)
    before = np.repeat(np.cumsum(n_blocks) - n_blocks, n_blocks)
    begins = (np.arange(len(pairs)) - before) * BLOCK
    return Blocks(pairs=pairs, rows=first[pairs], columns=second[pairs], begins=begins)


@jit
def guess_reach(
    condensed: NDArray[Any],
    sizes: NDArray[np.float64],
    method: int,
    sample: NDArray[np.int64],
    rank: int,
    distances: NDArray[Any],
    start: int,
    stop: int,
) -> None:
    """Put the distance of number `rank`, of those to a sample, in the places `start` to `stop`.

    An entry takes its time to be put into a list and out again; most of those that come first
    would be. With a guess of where the K-th will be, few entries are taken that do not stay.
    """
    n = len(sizes)
    least = np.full((stop - start, rank), np.inf)
    for j in sample:
        shift = j * n - j * (j + 1) // 2 - j - 1
        for i in range(max(start, j + 1), stop):
            distance = single_pair(method, condensed[shift + i], sizes[i], sizes[j])
            if distance < least[i - start, rank - 1]:
                _insert(least[i - start], distance)
    for i in range(start, stop):
        shift = i * n - i * (i + 1) // 2 - i - 1
        for j in sample[np.searchsorted(sample, i + 1) :]:
            distance = single_pair(method, condensed[shift + j], sizes[i], sizes[j])
            if distance < least[i - start, rank - 1]:
                _insert(least[i - start], distance)
        distances[i] = least[i - start, rank - 1]


@jit
def _insert(ascending: NDArray[np.float64], value: float) -> None:
    """Put a value in its place, and drop the last one."""
    place = len(ascending) - 1
    while place > 0 and ascending[place - 1] > value:
        ascending[place] = ascending[place - 1]
        place -= 1
    ascending[place] = value


@jit
def offer_rectangle(
    condensed: NDArray[Any],
    rows: tuple[int, int],
    columns: tuple[int, int],
    sizes: NDArray[np.float64],
    n_neighbors: int,
    lists: Neighbors,
    reach: Reach,
) -> bool:
    """Offer the distances above the diagonal in a range of rows and one of columns to the lists.

    Returns whether all of them are finite.
    """
    n = len(sizes)
    marks = np.empty(_PANEL + 8, np.uint8)
    finite = True
    for left in range(columns[0], columns[1], _PANEL):
        right = min(left + _PANEL, columns[1])
        for i in range(rows[0], rows[1]):
            start = max(left, i + 1)
            if start >= right:
                break
            # Distance (i, j) is at shift + j.
            shift = i * n - i * (i + 1) // 2 - i - 1
            piece = condensed[shift + start : shift + right]
            finite &= offer_piece(piece, i, start, n_neighbors, lists, reach, marks)
    return finite


@jit
def offer_weighed(
    condensed: NDArray[Any],
    rows: tuple[int, int],
    columns: tuple[int, int],
    sizes: NDArray[np.float64],
    n_neighbors: int,
    lists: Neighbors,
    reach: Reach,
) -> bool:
    """Do what `offer_rectangle` does, for ward and points of several observations.

    Distances between them are no longer those in the vector, and no longer of its type.
    """
    n = len(sizes)
    marks = np.empty(_PANEL + 8, np.uint8)
    piece = np.empty(_PANEL)
    finite = True
    for left in range(columns[0], columns[1], _PANEL):
        right = min(left + _PANEL, columns[1])
        for i in range(rows[0], rows[1]):
            start = max(left, i + 1)
            if start >= right:
                break
            shift = i * n - i * (i + 1) // 2 - i - 1
            for j in range(start, right):
                distance = np.float64(condensed[shift + j])
                piece[j - start] = single_pair(WARD, distance, sizes[i], sizes[j])
            finite &= offer_piece(
                piece[: right - start], i, start, n_neighbors, lists, reach, marks
            )
    return finite


@jit
def cluster_distances(
    reduction: Reduction,
    blocks: Blocks,
    totals: NDArray[np.float64],
    start: int,
    stop: int,
) -> None:
    """Reduce the distances of the blocks `start` to `stop`, each to its total."""
    condensed, clusters, members, method = reduction[:4]
    n = len(clusters.live)
    for block in range(start, stop):
        rows = points_of(members, blocks.rows[block])
        rows = rows[blocks.begins[block] : blocks.begins[block] + BLOCK]
        columns = points_of(members, blocks.columns[block])
        totals[block] = sum_pairs(condensed, n, rows, columns, clusters.weights, method)


@jit
def finish_distances(
    reduction: Reduction,
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    blocks: Blocks,
    totals: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the distances of pairs of clusters, of the totals of their blocks."""
    method = reduction.method
    distances = np.full(len(first), nothing_yet(method))
    for block in range(len(totals)):
        pair = blocks.pairs[block]
        distances[pair] = together(method, distances[pair], totals[block])
    for pair in range(len(first)):
        distances[pair] = total_distance(
            reduction.clusters, method, first[pair], second[pair], distances[pair]
        )
    return distances


@jit
def cluster_rows(
    reduction: Reduction,
    owners: NDArray[np.int64],
    places: NDArray[np.int64],
    rows: NDArray[np.float64],
    start: int,
    stop: int,
) -> None:
    """Make rows of distances of some owners, a live cluster a column.

    Parameters
    ----------
    reduction
        Of m clusters.
    owners
        Their slots.
    places
        Which owners.
    rows
        ``(len(owners), m)``.
    start, stop
        Which of `places`.
    """
    n = len(reduction.positions)
    sums = np.empty(n)
    some = np.empty(n)
    for place in places[start:stop]:
        _fill_row(reduction, owners[place], sums, rows[place], some)


@jit
def nearest_clusters(
    reduction: Reduction,
    n_neighbors: int,
    owners: NDArray[np.int64],
    places: NDArray[np.int64],
    lists: Neighbors,
    start: int,
    stop: int,
) -> None:
    """Make the lists of some owners, one a row of `lists`; see `cluster_rows`."""
    n = len(reduction.positions)
    sums = np.empty(n)
    some = np.empty(n)
    row = np.empty(len(reduction.slots))
    entries = open_entries(len(row))
    for place in places[start:stop]:
        owner = owners[place]
        _fill_row(reduction, owner, sums, row, some)
        list_row(row, owner, reduction.slots, n_neighbors, lists, place, entries)


@jit
def _fill_row(
    reduction: Reduction,
    owner: int,
    sums: NDArray[np.float64],
    row: NDArray[np.float64],
    some: NDArray[np.float64],
) -> None:
    n = len(sums)
    points = points_of(reduction.members, owner)
    weights = reduction.clusters.weights
    sum_all(reduction.condensed, n, points, weights, reduction.method, 0, n, sums, some)
    finish_row(reduction, owner, sums, row, some)

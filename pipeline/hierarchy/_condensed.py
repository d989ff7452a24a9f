"""Kernel: lists of near clusters, and distances between clusters, from SciPy's condensed vector.

The distances of row ``i`` to the columns after it are contiguous, those to the columns before it
are one number from each of ``i`` rows. What needs every distance goes along the rows, and serves
row and column at once; only rescans of single clusters and distances of single pairs jump.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from clustergrid.pipeline._jit import jit
from clustergrid.pipeline.hierarchy._clusters import (
    WARD,
    Clusters,
    add_pair,
    nothing_yet,
    single_pair,
    total_distance,
)
from clustergrid.pipeline.hierarchy._neighbors import (
    Neighbors,
    Reach,
    close_lists,
    keep_nearest,
    offer_piece,
)

__all__ = [
    "cluster_distances",
    "cluster_rows",
    "guess_reach",
    "nearest_clusters",
    "offer_rectangle",
    "offer_weighed",
]

# Columns whose lists, two cache lines each where they grow, stay in the second-level cache.
_PANEL = 2048


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
    condensed: NDArray[Any],
    clusters: Clusters,
    method: int,
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    distances: NDArray[np.float64],
    start: int,
    stop: int,
) -> None:
    """Compute the distances of the pairs `start` to `stop` from those of their members."""
    n = len(clusters.live)
    for pair in range(start, stop):
        total = nothing_yet(method)
        i = first[pair]
        while i >= 0:
            j = second[pair]
            weight = clusters.weights[i]
            while j >= 0:
                low = min(i, j)
                distance = condensed[low * n - low * (low + 1) // 2 - low - 1 + max(i, j)]
                total = add_pair(method, total, np.float64(distance), weight * clusters.weights[j])
                j = clusters.next_member[j]
            i = clusters.next_member[i]
        distances[pair] = total_distance(clusters, method, first[pair], second[pair], total)


@jit
def nearest_clusters(
    condensed: NDArray[Any],
    clusters: Clusters,
    labels: NDArray[np.int64],
    method: int,
    n_neighbors: int,
    owners: NDArray[np.int64],
    lists: Neighbors,
    start: int,
    stop: int,
) -> None:
    """Make the lists of the owners `start` to `stop`, one a row of `lists`."""
    slots = np.flatnonzero(clusters.live)
    totals = np.empty(len(labels))
    row = np.empty(len(slots))
    ids = np.empty(len(slots), np.int32)
    bounds = np.empty(len(slots))
    exact = np.ones(len(slots), np.bool_)
    for position in range(start, stop):
        owner = int(owners[position])
        _fill_row(condensed, clusters, labels, method, owner, slots, totals, row)
        count = 0
        for column in range(len(slots)):
            if slots[column] != owner:
                ids[count] = slots[column]
                bounds[count] = row[column]
                count += 1
        kept = min(count, n_neighbors)
        if count > kept:
            keep_nearest(ids, bounds, exact, count, kept)
        lists.ids[position, :kept] = ids[:kept]
        lists.bounds[position, :kept] = bounds[:kept]
        lists.counts[position] = kept
        close_lists(lists, n_neighbors, count, position, position + 1)


@jit
def cluster_rows(
    condensed: NDArray[Any],
    clusters: Clusters,
    labels: NDArray[np.int64],
    method: int,
    owners: NDArray[np.int64],
    rows: NDArray[np.float64],
    start: int,
    stop: int,
) -> None:
    """Make the rows of the owners `start` to `stop`, a live cluster a column."""
    slots = np.flatnonzero(clusters.live)
    totals = np.empty(len(labels))
    for position in range(start, stop):
        owner = int(owners[position])
        _fill_row(condensed, clusters, labels, method, owner, slots, totals, rows[position])


@jit
def _fill_row(
    condensed: NDArray[Any],
    clusters: Clusters,
    labels: NDArray[np.int64],
    method: int,
    owner: int,
    slots: NDArray[np.int64],
    totals: NDArray[np.float64],
    row: NDArray[np.float64],
) -> None:
    """Compute the distances of a cluster to those in `slots`; that to itself is infinite."""
    totals[:] = nothing_yet(method)
    i = owner
    while i >= 0:
        _add_row(condensed, clusters, labels, method, i, totals)
        i = int(clusters.next_member[i])
    for column in range(len(slots)):
        other = int(slots[column])
        row[column] = np.inf
        if other != owner:
            row[column] = total_distance(clusters, method, owner, other, totals[other])


@jit
def _add_row(
    condensed: NDArray[Any],
    clusters: Clusters,
    labels: NDArray[np.int64],
    method: int,
    i: int,
    totals: NDArray[np.float64],
) -> None:
    """Add the distances of point `i` to all others into the totals of their clusters."""
    n = len(labels)
    weight = clusters.weights[i]
    # Above the diagonal a step down a column, and from there on one along the row.
    at = i - 1
    for j in range(n):
        if j != i:
            label = labels[j]
            distance = np.float64(condensed[at])
            totals[label] = add_pair(method, totals[label], distance, weight * clusters.weights[j])
        at += n - j - 2 if j < i else 1

"""Kernel: blocks of distances, reduced over clusters, and what lists take of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clustergrid.pipeline._jit import jit
from clustergrid.pipeline.hierarchy._clusters import (
    COMPLETE,
    SINGLE,
    Clusters,
    add_pair,
    nothing_yet,
    single_pair,
    total_distance,
)
from clustergrid.pipeline.hierarchy._neighbors import Neighbors, Reach, offer
from clustergrid.pipeline.points._squares import join, of_square

__all__ = [
    "add_block",
    "add_corners",
    "add_paired",
    "finish_pairs",
    "finish_totals",
    "offer_block",
    "offer_listed",
    "offer_row",
]


@jit
def add_block(
    block: NDArray[np.float64],
    left_weights: NDArray[np.float64],
    left_units: NDArray[np.int64],
    right_weights: NDArray[np.float64],
    right_units: NDArray[np.int64],
    method: int,
    totals: NDArray[np.float64],
) -> None:
    """Reduce the distances of a block into totals, as `add_squares` does."""
    sums = np.empty(totals.shape[1])
    for i in range(len(block)):
        sums[:] = nothing_yet(method)
        row = block[i]
        for j in range(len(row)):
            unit = right_units[j]
            sums[unit] = add_pair(method, sums[unit], row[j], right_weights[j])
        own = totals[left_units[i]]
        for unit in range(len(own)):
            own[unit] = join(method, own[unit], left_weights[i], sums[unit])


@jit
def add_corners(
    block: NDArray[np.float64],
    top: NDArray[np.int64],
    left: NDArray[np.int64],
    row_weights: NDArray[np.float64],
    column_weights: NDArray[np.float64],
    method: int,
    totals: NDArray[np.float64],
) -> None:
    """Reduce corners of a block, one a pair of clusters, as `add_block` does.

    Parameters
    ----------
    block
        ``(h, w)``: the members of the first cluster of each pair, with those of the second of each.
    top, left
        Where the corner of each pair begins, and the last one ends, ``(p + 1,)``.
    row_weights, column_weights
        ``(h,)``, ``(w,)``.
    method
        How distances are reduced.
    totals
        ``(p,)``.
    """
    for pair in range(len(totals)):
        total = nothing_yet(method)
        for i in range(top[pair], top[pair + 1]):
            more = nothing_yet(method)
            for j in range(left[pair], left[pair + 1]):
                more = add_pair(method, more, block[i, j], column_weights[j])
            total = join(method, total, row_weights[i], more)
        totals[pair] = total


@jit
def add_paired(
    distances: NDArray[np.float64],
    starts: NDArray[np.int64],
    weights: NDArray[np.float64],
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    method: int,
    totals: NDArray[np.float64],
) -> None:
    """Reduce the distances of pairs of clusters as `add_block` does.

    Parameters
    ----------
    distances
        Pair after pair, those of each member of the first cluster, in their order.
    starts, weights
        Where the members of each cluster begin among all, and the weight of each member.
    first, second
        ``(p,)``: two clusters a pair.
    method
        How distances are reduced.
    totals
        ``(p,)``.
    """
    at = 0
    for pair in range(len(totals)):
        total = nothing_yet(method)
        for i in range(starts[first[pair]], starts[first[pair] + 1]):
            more = nothing_yet(method)
            for j in range(starts[second[pair]], starts[second[pair] + 1]):
                more = add_pair(method, more, distances[at], weights[j])
                at += 1
            total = join(method, total, weights[i], more)
        totals[pair] = total


@jit
def finish_totals(
    totals: NDArray[np.float64],
    clusters: Clusters,
    owners: NDArray[np.int64],
    first: int,
    form: int,
    method: int,
) -> None:
    """Make distances of totals, in their place.

    Parameters
    ----------
    totals
        ``(a, b)``: of `owners`, with the clusters from `first` on.
    clusters
        Sizes, masses and spreads.
    owners, first
        Places of clusters.
    form, method
        Of what complete and single have totals; how they were reduced.
    """
    for a in range(len(totals)):
        for b in range(totals.shape[1]):
            total = totals[a, b]
            if method in (COMPLETE, SINGLE):
                total = of_square(total, form)
            totals[a, b] = total_distance(clusters, method, owners[a], first + b, total)


@jit
def finish_pairs(
    totals: NDArray[np.float64],
    clusters: Clusters,
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    form: int,
    method: int,
) -> None:
    """Make distances of the totals of pairs of clusters, in their place."""
    for pair in range(len(totals)):
        total = totals[pair]
        if method in (COMPLETE, SINGLE):
            total = of_square(total, form)
        totals[pair] = total_distance(clusters, method, first[pair], second[pair], total)


@jit
def offer_row(
    distances: NDArray[np.float64],
    owners: NDArray[np.int64],
    first: int,
    slots: NDArray[np.int64],
    n_neighbors: int,
    lists: Neighbors,
    reach: Reach,
) -> None:
    """Offer the distances of owners to the clusters from `first` on to the owners' lists."""
    for a in range(len(distances)):
        for b in range(distances.shape[1]):
            if distances[a, b] <= reach.distance[a] and first + b != owners[a]:
                offer(lists, reach, n_neighbors, a, slots[first + b], distances[a, b])


@jit
def offer_block(
    block: NDArray[np.float64],
    first_row: int,
    first_column: int,
    sizes: NDArray[np.float64],
    method: int,
    n_neighbors: int,
    lists: Neighbors,
    reach: Reach,
) -> None:
    """Offer the distances of a block of points to lists of its rows and of its columns.

    Parameters
    ----------
    block
        ``(h, w)``; where both are the same points, what is above the diagonal is offered.
    first_row, first_column
        The points at its sides.
    sizes
        Of all points.
    method, n_neighbors
        Ward's distances depend on sizes; K.
    lists, reach
        Those of the rows, then those of the columns; of the rows alone on the diagonal.
    """
    height, width = block.shape
    behind = 0 if first_row == first_column else height
    for i in range(height):
        for j in range(0 if behind else i + 1, width):
            distance = single_pair(
                method, block[i, j], sizes[first_row + i], sizes[first_column + j]
            )
            if distance <= reach.distance[i]:
                offer(lists, reach, n_neighbors, i, first_column + j, distance)
            if distance <= reach.distance[behind + j]:
                offer(lists, reach, n_neighbors, behind + j, first_row + i, distance)


@jit
def offer_listed(
    ids: NDArray[np.int32],
    distances: NDArray[np.float64],
    counts: NDArray[np.int64],
    first: int,
    n_neighbors: int,
    lists: Neighbors,
    reach: Reach,
) -> None:
    """Offer what lists of the points from `first` on hold, one after another, to the lists of all.

    Parameters
    ----------
    ids, distances
        ``(e,)``: the entries.
    counts
        How many there are of each list.
    first
        The owner of the first list.
    n_neighbors, lists, reach
        K, and the lists of all points.
    """
    entry = 0
    for position in range(len(counts)):
        owner = first + position
        for _ in range(counts[position]):
            if distances[entry] <= reach.distance[owner]:
                offer(lists, reach, n_neighbors, owner, ids[entry], distances[entry])
            entry += 1

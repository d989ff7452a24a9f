"""Kernel: sums of distances over the members of clusters, in short parts.

One after another, a billion equal terms lose seven digits: each addition to a large total is
rounded the same way. So members are added up a block at a time, and then the blocks; and columns of
a large cluster a panel at a time. Of no more than some thousand terms in a row, roundings come to
less than 1e-12. What is added up in which order follows from the clusters alone.

A row of sums, of the distances of all members of one cluster to every point, comes first, which is
vectorized; then its columns are brought together cluster by cluster. ``complete`` and ``single``
take extremes instead of sums, and the same way.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clustergrid.pipeline._jit import borrowing, jit
from clustergrid.pipeline.hierarchy._clusters import (
    COMPLETE,
    SINGLE,
    WARD,
    Clusters,
    add_pair,
    labels_of,
    nothing_yet,
)

__all__ = [
    "BLOCK",
    "PANEL",
    "Members",
    "add_distances",
    "add_sums",
    "gather_sums",
    "members_of",
    "nothing_in",
    "points_of",
    "sum_pairs",
    "together",
]

BLOCK = 128
"""Members that are added up one after another."""

PANEL = 4096
"""Columns, of one cluster, that are."""


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


@jit
def members_of(clusters: Clusters) -> Members:
    """Return the points of each cluster."""
    n = len(clusters.live)
    labels = labels_of(clusters)
    starts = np.zeros(n + 1, np.int64)
    for label in labels:
        starts[label + 1] += 1
    for slot in range(n):
        starts[slot + 1] += starts[slot]
    ends = starts[:-1].copy()
    points = np.empty(n, np.int64)
    for point in range(n):
        label = labels[point]
        points[ends[label]] = point
        ends[label] += 1
    return Members(points, starts)


@jit
def points_of(members: Members, slot: int) -> NDArray[np.int64]:
    """Return the points of the cluster in a slot."""
    return members.points[members.starts[slot] : members.starts[slot + 1]]


@borrowing
def nothing_in(method: int, sums: NDArray[np.float64]) -> None:
    """Begin with sums of nothing."""
    nothing = nothing_yet(method)
    for j in range(len(sums)):
        sums[j] = nothing


@borrowing
def add_distances(
    method: int, distances: NDArray[Any], weight: float, sums: NDArray[np.float64]
) -> None:
    """Take the distances of one member, of some `weight`, into the sums of its cluster."""
    if method == COMPLETE:
        for j in range(len(distances)):
            distance = np.float64(distances[j])
            sums[j] = distance if distance > sums[j] else sums[j]
    elif method == SINGLE:
        for j in range(len(distances)):
            distance = np.float64(distances[j])
            sums[j] = distance if distance < sums[j] else sums[j]
    elif method == WARD:
        for j in range(len(distances)):
            distance = np.float64(distances[j])
            sums[j] += weight * (distance * distance)
    else:
        for j in range(len(distances)):
            sums[j] += weight * np.float64(distances[j])


@borrowing
def add_sums(method: int, some: NDArray[np.float64], sums: NDArray[np.float64]) -> None:
    """Take the sums of a block into those of all."""
    if method == COMPLETE:
        for j in range(len(some)):
            sums[j] = some[j] if some[j] > sums[j] else sums[j]
    elif method == SINGLE:
        for j in range(len(some)):
            sums[j] = some[j] if some[j] < sums[j] else sums[j]
    else:
        for j in range(len(some)):
            sums[j] += some[j]


@borrowing
def gather_sums(
    method: int,
    sums: NDArray[np.float64],
    positions: NDArray[np.integer],
    weights: NDArray[np.float64],
    totals: NDArray[np.float64],
) -> None:
    """Take the sums of columns into the totals of these columns' clusters.

    Parameters
    ----------
    method
        How.
    sums, positions, weights
        ``(w,)``: of each column, where its cluster is, and its weight there.
    totals
        Of all clusters.
    """
    if method == COMPLETE:
        for j in range(len(sums)):
            at = positions[j]
            totals[at] = sums[j] if sums[j] > totals[at] else totals[at]
    elif method == SINGLE:
        for j in range(len(sums)):
            at = positions[j]
            totals[at] = sums[j] if sums[j] < totals[at] else totals[at]
    else:
        for j in range(len(sums)):
            totals[positions[j]] += weights[j] * sums[j]


@borrowing
def together(method: int, one: float, other: float) -> float:
    """Return what two parts of a reduction come to."""
    if method == COMPLETE:
        return max(one, other)
    if method == SINGLE:
        return min(one, other)
    return one + other


@borrowing
def sum_pairs(
    condensed: NDArray[Any],
    n: int,
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    weights: NDArray[np.float64],
    method: int,
) -> float:
    """Reduce the distances of a block of members, `rows`, to those of another cluster, `columns`.

    They are looked up in the condensed vector of n points, one by one.
    """
    total = nothing_yet(method)
    for i in rows:
        of_row = nothing_yet(method)
        for begin in range(0, len(columns), BLOCK):
            part = nothing_yet(method)
            for j in columns[begin : begin + BLOCK]:
                low = min(i, j)
                distance = condensed[low * n - low * (low + 1) // 2 - low - 1 + max(i, j)]
                part = add_pair(method, part, np.float64(distance), weights[j])
            of_row = together(method, of_row, part)
        if method not in (SINGLE, COMPLETE):
            of_row *= weights[i]
        total = together(method, total, of_row)
    return total

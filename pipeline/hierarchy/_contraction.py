"""Kernel: the square of distances between clusters, from one pass over a condensed vector.

For each cluster its members' rows are read, contiguously, and every distance is added (or
compared) into the total of its column's cluster: one vector of totals, which stays in the cache.
That leaves, for clusters A and B, part of the total in (A, B) and the rest in (B, A), as the
members of one or the other come first. A sweep in tiles brings them together.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from clustergrid.pipeline._jit import jit
from clustergrid.pipeline.hierarchy._clusters import (
    COMPLETE,
    SINGLE,
    Clusters,
    add_pair,
    nothing_yet,
    total_distance,
)

__all__ = ["finish_square", "reduce_rows"]

_TILE = 32


@jit
def reduce_rows(
    condensed: NDArray[Any],
    clusters: Clusters,
    method: int,
    slots: NDArray[np.int64],
    positions: NDArray[np.int32],
    square: NDArray[Any],
    start: int,
    stop: int,
) -> None:
    """Reduce the rows of the members of clusters `start` to `stop` into rows of the square.

    Parameters
    ----------
    condensed
        ``(n (n - 1) / 2,)``.
    clusters, method
        The clusters of its n points, and how they are reduced.
    slots
        ``(m,) int64``: the slots of the clusters, one a row of the square.
    positions
        ``(n,) int32``: the row of the square that each point belongs to.
    square
        ``(m, m)``: where the totals go, each in the row of the member that comes first.
    start, stop
        Which rows.
    """
    n = len(positions)
    weights = clusters.weights
    totals = np.empty(len(slots))
    for row in range(start, stop):
        totals[:] = nothing_yet(method)
        i = slots[row]
        while i >= 0:
            shift = i * n - i * (i + 1) // 2 - i - 1
            distances = condensed[shift + i + 1 : shift + n]
            where = positions[i + 1 :]
            others = weights[i + 1 :]
            weight = weights[i]
            for j in range(len(distances)):
                at = where[j]
                totals[at] = add_pair(
                    method, totals[at], np.float64(distances[j]), weight * others[j]
                )
            i = clusters.next_member[i]
        square[row, :] = totals


@jit
def finish_square(
    clusters: Clusters,
    method: int,
    slots: NDArray[np.int64],
    square: NDArray[Any],
    start: int,
    stop: int,
) -> None:
    """Make symmetric distances of the totals in rows `start` to `stop`, from the diagonal on."""
    m = len(slots)
    for top in range(start, stop, _TILE):
        bottom = min(top + _TILE, stop)
        for left in range(top, m, _TILE):
            right = min(left + _TILE, m)
            for i in range(top, bottom):
                for j in range(max(left, i + 1), right):
                    one = np.float64(square[i, j])
                    other = np.float64(square[j, i])
                    if method == COMPLETE:
                        total = max(one, other)
                    elif method == SINGLE:
                        total = min(one, other)
                    else:
                        total = one + other
                    distance = total_distance(clusters, method, slots[i], slots[j], total)
                    square[i, j] = distance
                    square[j, i] = distance

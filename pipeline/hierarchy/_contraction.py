"""Kernel: distances between clusters, from a condensed vector of those between their members.

For each cluster its members' rows are read, contiguously, and added up; then the columns of the sum
are brought together, cluster by cluster. Of the square that leaves, for clusters A and B, part of
the total in (A, B) and the rest in (B, A), as the members of one or the other come first. A sweep
in tiles brings them together.

What a cluster of many members takes is cut by columns, of which each is a sum of its own.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clustergrid.pipeline._jit import borrowing, jit
from clustergrid.pipeline.hierarchy._clusters import (
    CODES,
    COMPLETE,
    SINGLE,
    WARD,
    Clusters,
    add_pair,
    nothing_yet,
    total_distance,
    ward_distance,
)
from clustergrid.pipeline.hierarchy._sums import (
    BLOCK,
    PANEL,
    Members,
    add_distances,
    add_sums,
    gather_sums,
    members_of,
    nothing_in,
    points_of,
    together,
)

__all__ = [
    "Reduction",
    "finish_row",
    "finish_square",
    "gather_row",
    "open_reduction",
    "reduce_rows",
    "sum_after",
    "sum_all",
]

_TILE = 32


class Reduction(NamedTuple):
    """Clusters of n points, and what distances between them follow from.

    Parameters
    ----------
    condensed
        ``(n (n - 1) / 2,)``: the distances between points.
    clusters, members, method
        Which points each cluster has, and how their distances are reduced.
    slots
        ``(m,) int64``: the slots of the live clusters.
    positions
        ``(n,) uint32``: the place of each point's cluster in `slots`. Unsigned: a signed index
        would be checked for being negative, in the innermost loop.
    panel
        Columns that are brought together one after another: all, where no cluster has so many.
    """

    condensed: NDArray[Any]
    clusters: Clusters
    members: Members
    method: int
    slots: NDArray[np.int64]
    positions: NDArray[np.uint32]
    panel: int


def open_reduction(condensed: NDArray[Any], clusters: Clusters, method: str) -> Reduction:
    """Return what distances between the live clusters follow from."""
    members = members_of(clusters)
    n = len(clusters.live)
    slots = np.flatnonzero(clusters.live)
    n_points = np.diff(members.starts)[slots]
    positions = np.empty(n, np.uint32)
    positions[members.points] = np.repeat(np.arange(len(slots)), n_points)
    return Reduction(
        condensed=condensed,
        clusters=clusters,
        members=members,
        method=CODES[method],
        slots=slots,
        positions=positions,
        panel=PANEL if n_points.max() > PANEL else n,
    )


@borrowing
def sum_after(
    condensed: NDArray[Any],
    n: int,
    points: NDArray[np.int64],
    weights: NDArray[np.float64],
    method: int,
    left: int,
    right: int,
    sums: NDArray[np.float64],
    some: NDArray[np.float64],
) -> None:
    """Add up the distances of a cluster's members to the points after each, some columns of them.

    Parameters
    ----------
    condensed, n
        ``(n (n - 1) / 2,)``, of n points.
    points
        The members, ascending.
    weights, method
        ``(n,)`` weights of the points in their clusters, and how distances are reduced.
    left, right
        Which columns.
    sums
        ``(n,)``: where the sums go.
    some
        ``(n,)``: scratch.
    """
    nothing_in(method, sums[left:right])
    for begin in range(0, len(points), BLOCK):
        of_block = sums if begin == 0 else some
        if begin > 0:
            nothing_in(method, some[left:right])
        for i in points[begin : begin + BLOCK]:
            start = max(left, i + 1)
            if start >= right:
                break
            # Distance (i, j) is at shift + j.
            shift = i * n - i * (i + 1) // 2 - i - 1
            distances = condensed[shift + start : shift + right]
            add_distances(method, distances, weights[i], of_block[start:right])
        if begin > 0:
            add_sums(method, some[left:right], sums[left:right])


@borrowing
def sum_all(
    condensed: NDArray[Any],
    n: int,
    points: NDArray[np.int64],
    weights: NDArray[np.float64],
    method: int,
    left: int,
    right: int,
    sums: NDArray[np.float64],
    some: NDArray[np.float64],
) -> None:
    """Add up the distances of a cluster's members to all points, of some columns.

    The parameters are those of `sum_after`. Of each column's row, what is read for the members
    that come after it lies far apart.
    """
    sum_after(condensed, n, points, weights, method, left, right, sums, some)
    first = np.searchsorted(points, left, side="right")
    for j in range(left, right):
        if first < len(points) and points[first] == j:
            first += 1
        shift = j * n - j * (j + 1) // 2 - j - 1
        for begin in range(first, len(points), BLOCK):
            part = nothing_yet(method)
            for i in points[begin : begin + BLOCK]:
                part = add_pair(method, part, np.float64(condensed[shift + i]), weights[i])
            sums[j] = together(method, sums[j], part)


@borrowing
def gather_row(
    method: int,
    sums: NDArray[np.float64],
    positions: NDArray[np.uint32],
    weights: NDArray[np.float64],
    panel: int,
    totals: NDArray[np.float64],
    some: NDArray[np.float64],
) -> None:
    """Bring the columns of a row of sums together, a panel at a time.

    Parameters
    ----------
    method
        How.
    sums, positions, weights
        ``(w,)``: of each column, where its cluster is, and its weight there.
    panel
        Columns in it; all, where no cluster has many.
    totals
        ``(m,)``: where the totals of clusters go.
    some
        ``(m or more,)``: scratch.
    """
    nothing_in(method, totals)
    # Extremes are the same in any order.
    if panel >= len(sums) or method in (COMPLETE, SINGLE):
        gather_sums(method, sums, positions, weights, totals)
        return
    part = some[: len(totals)]
    nothing_in(method, part)
    for begin in range(0, len(sums), panel):
        end = min(begin + panel, len(sums))
        gather_sums(method, sums[begin:end], positions[begin:end], weights[begin:end], part)
        for k in range(len(totals)):
            totals[k] += part[k]
            part[k] = 0.0


@jit
def reduce_rows(
    reduction: Reduction,
    rows: NDArray[np.int64],
    square: NDArray[np.float64],
    start: int,
    stop: int,
) -> None:
    """Reduce the rows of the members of some clusters into rows of the square.

    Parameters
    ----------
    reduction
        Of m clusters.
    rows
        Rows of the square.
    square
        ``(m, m)``: where the totals go, each in the row of the member that comes first.
    start, stop
        Which of `rows`.
    """
    condensed, clusters, members, method, slots, positions, panel = reduction
    weights = clusters.weights
    n = len(positions)
    sums = np.empty(n)
    some = np.empty(n)
    for row in rows[start:stop]:
        points = points_of(members, slots[row])
        first = points[0] + 1
        sum_after(condensed, n, points, weights, method, first, n, sums, some)
        gather_row(
            method, sums[first:], positions[first:], weights[first:], panel, square[row], some
        )


@jit
def finish_row(
    reduction: Reduction,
    owner: int,
    sums: NDArray[np.float64],
    row: NDArray[np.float64],
    some: NDArray[np.float64],
) -> None:
    """Make the ``(m,)`` distances of a cluster of its sums with all points.

    That to itself is infinite. `some` is scratch, ``(n,)``.
    """
    _, clusters, _, method, slots, positions, panel = reduction
    gather_row(method, sums, positions, clusters.weights, panel, row, some)
    for column in range(len(slots)):
        other = slots[column]
        total = row[column]
        row[column] = np.inf
        if other != owner:
            row[column] = total_distance(clusters, method, owner, other, total)


@jit
def finish_square(
    clusters: Clusters,
    method: int,
    slots: NDArray[np.int64],
    square: NDArray[np.float64],
    start: int,
    stop: int,
) -> None:
    """Make symmetric distances of the totals in rows `start` to `stop`, from the diagonal on."""
    _finish_tiles(
        method,
        clusters.masses[slots],
        clusters.spreads[slots],
        clusters.sizes[slots],
        square,
        start,
        stop,
    )


@borrowing
def _finish_tiles(
    method: int,
    masses: NDArray[np.float64],
    spreads: NDArray[np.float64],
    sizes: NDArray[np.float64],
    square: NDArray[np.float64],
    start: int,
    stop: int,
) -> None:
    m = len(square)
    for top in range(start, stop, _TILE):
        bottom = min(top + _TILE, stop)
        for left in range(top, m, _TILE):
            right = min(left + _TILE, m)
            for i in range(top, bottom):
                for j in range(max(left, i + 1), right):
                    total = together(method, square[i, j], square[j, i])
                    if method not in (COMPLETE, SINGLE):
                        total = np.divide(total, masses[i] * masses[j])
                    if method == WARD:
                        total = ward_distance(total, spreads[i], spreads[j], sizes[i], sizes[j])
                    square[i, j] = total
                    square[j, i] = total

"""Kernel: clusters as a mean and a scalar, and how distances follow from these.

Where a distance of points is a squared Euclidean one, ``d(i, j) = f |x_i - x_j|^2 + c_i + c_j``,
those of clusters need no pairs of points. With the mean ``m_A`` of a cluster, by the weights of its
members,

    average, weighted   d(A, B) = f |m_A - m_B|^2 + c_A + c_B
    ward                d(A, B) = f sqrt(2 |A| |B| / (|A| + |B|)) |m_A - m_B|

where ``c_A`` holds what the members are apart: when A and B merge with shares a + b = 1,

    m = a m_A + b m_B        c = a c_A + b c_B + a b f |m_A - m_B|^2

Cosines, correlations and the like are of that kind, of rows of length one, with ``f = 1/2``:
``1 - u.v = |u - v|^2 / 2``; averaged, ``1 - m_A . m_B``. That product, though shorter, loses what
differs of two clusters whose rows nearly coincide; sums of squares keep it.

A mean is kept as its *offset* from the first member's row, since means of rows far from the origin
are rounded as coarsely as these: a difference ``(x_A - x_B) + (o_A - o_B)`` is rounded as finely as
the clusters are small.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clustergrid.pipeline._jit import inline, jit
from clustergrid.pipeline.hierarchy._clusters import Clusters
from clustergrid.pipeline.hierarchy._union_find import find

__all__ = [
    "AT_ONCE",
    "Summaries",
    "distance_between",
    "fill_rows",
    "fill_square",
    "open_summaries",
    "pair_distances",
    "some_summaries",
    "squares_to_some",
    "take_members",
    "trace_heights",
]

AT_ONCE = 4
"""Distances of a cluster that are computed together."""

_LANES = 64


class Summaries(NamedTuple):
    """What is known of n clusters, each in the slot of its lowest member.

    Parameters
    ----------
    rows
        ``(n, k) float32 or float64``: the points.
    constants
        ``(n,) float64``: ``c`` of the points.
    factor
        ``f``; of a ward distance itself.
    is_ward
        Whether distances are ward's.
    offsets
        ``(n, k) float64``: the mean of each cluster, less its slot's row.
    moved
        ``(n,) bool``: whether that is not zero.
    scalars
        ``(n,) float64``: ``c`` of the clusters.
    sizes
        ``(n,) float64``: observations in each.
    masses
        ``(n,) float64``: what the weights of the members that are in the mean add up to.
    latest
        ``(n,) int64``: the last of the members, as they are chained, that is in the mean.
    """

    rows: NDArray[Any]
    constants: NDArray[np.float64]
    factor: float
    is_ward: bool
    offsets: NDArray[np.float64]
    moved: NDArray[np.bool_]
    scalars: NDArray[np.float64]
    sizes: NDArray[np.float64]
    masses: NDArray[np.float64]
    latest: NDArray[np.int64]


def open_summaries(
    rows: NDArray[Any], constants: NDArray[np.float64], *, factor: float, is_ward: bool
) -> Summaries:
    """Return the summaries of points, each a cluster whose size is not known yet."""
    n, k = rows.shape
    return Summaries(
        rows=rows,
        constants=constants,
        factor=factor,
        is_ward=is_ward,
        # The system hands out zeros, and memory when it is written to.
        offsets=np.zeros((n, k)),
        moved=np.zeros(n, np.bool_),
        scalars=constants.copy(),
        sizes=np.zeros(n),
        masses=np.zeros(n),
        latest=np.arange(n),
    )


def some_summaries(summaries: Summaries, which: slice | NDArray[np.int64]) -> Summaries:
    """Return what is known of some clusters: views of a range, copies of others."""
    return summaries._replace(
        rows=summaries.rows[which],
        constants=summaries.constants[which],
        offsets=summaries.offsets[which],
        moved=summaries.moved[which],
        scalars=summaries.scalars[which],
        sizes=summaries.sizes[which],
        masses=summaries.masses[which],
        latest=summaries.latest[which],
    )


@inline
def distance_between(one: Summaries, i: int, other: Summaries, j: int, squared: float) -> float:
    """Return the distance of two clusters from the squared one of their means."""
    if one.is_ward:
        inverse = 1.0 / one.sizes[i] + 1.0 / other.sizes[j]
        return float(one.factor * np.sqrt(2.0 * squared / inverse))
    return float(one.factor * squared + (one.scalars[i] + other.scalars[j]))


@inline
def distance_of(summaries: Summaries, i: int, j: int, squared: float) -> float:
    """Return the distance of two clusters from the squared one of their means."""
    return distance_between(summaries, i, summaries, j, squared)


@jit
def _squared(summaries: Summaries, i: int, j: int) -> float:
    """Return the squared distance of two means: one sum over the features in their order.

    The bits do not depend on which of the two is named first; nor does that of a point depend on
    whether its offset, which is zero, is looked at.
    """
    rows, offsets = summaries.rows, summaries.offsets
    total = 0.0
    for f in range(rows.shape[1]):
        difference = (np.float64(rows[i, f]) - np.float64(rows[j, f])) + (
            offsets[i, f] - offsets[j, f]
        )
        total += difference * difference
    return total


@jit
def squares_to_some(
    one: Summaries,
    i: int,
    some: Summaries,
    others: NDArray[np.int64],
    start: int,
    squares: NDArray[np.float64],
) -> None:
    """Compute the squared distances of a mean to four others, which need not wait for each other.

    Parameters
    ----------
    one, i
        Some clusters, and which of them.
    some, others, start
        Some clusters, maybe the same ones, and which of them: ``others[start]`` and so on.
    squares
        ``(4,)``, with the bits of `_squared`.
    """
    row, rows = one.rows[i], some.rows
    moved = some.moved
    a, b, c, d = others[start], others[start + 1], others[start + 2], others[start + 3]
    to_a = to_b = to_c = to_d = 0.0
    if one.moved[i] or moved[a] or moved[b] or moved[c] or moved[d]:
        own, offsets = one.offsets[i], some.offsets
        for f in range(len(row)):
            value = np.float64(row[f])
            offset = own[f]
            from_a = (np.float64(rows[a, f]) - value) + (offsets[a, f] - offset)
            from_b = (np.float64(rows[b, f]) - value) + (offsets[b, f] - offset)
            from_c = (np.float64(rows[c, f]) - value) + (offsets[c, f] - offset)
            from_d = (np.float64(rows[d, f]) - value) + (offsets[d, f] - offset)
            to_a += from_a * from_a
            to_b += from_b * from_b
            to_c += from_c * from_c
            to_d += from_d * from_d
    else:
        for f in range(len(row)):
            value = np.float64(row[f])
            from_a = np.float64(rows[a, f]) - value
            from_b = np.float64(rows[b, f]) - value
            from_c = np.float64(rows[c, f]) - value
            from_d = np.float64(rows[d, f]) - value
            to_a += from_a * from_a
            to_b += from_b * from_b
            to_c += from_c * from_c
            to_d += from_d * from_d
    squares[0] = to_a
    squares[1] = to_b
    squares[2] = to_c
    squares[3] = to_d


@jit
def _fill_panel(
    summaries: Summaries,
    slots: NDArray[np.int64],
    start: int,
    panel: NDArray[np.float64],
    offsets: NDArray[np.float64],
) -> None:
    """Put the clusters from `start` on, as many as there are lanes, side by side."""
    k = panel.shape[0]
    for lane in range(_LANES):
        slot = slots[min(start + lane, len(slots) - 1)]
        for f in range(k):
            panel[f, lane] = np.float64(summaries.rows[slot, f])
            offsets[f, lane] = summaries.offsets[slot, f]


@jit
def _squares_to_panel(
    rows: NDArray[Any],
    row_offsets: NDArray[np.float64],
    i: int,
    panel: NDArray[np.float64],
    offsets: NDArray[np.float64],
    squares: NDArray[np.float64],
) -> None:
    """Compute the squared distances of a mean to those of a panel, side by side."""
    squares[:] = 0.0
    for f in range(panel.shape[0]):
        value = np.float64(rows[i, f])
        offset = row_offsets[i, f]
        values, moves = panel[f], offsets[f]
        for lane in range(_LANES):
            difference = (values[lane] - value) + (moves[lane] - offset)
            squares[lane] += difference * difference


@jit
def _add_to_mean(summaries: Summaries, a: int, b: int, share: float, is_point: bool) -> None:
    """Move the mean of slot `a` by a share of the way to that of slot `b`, or to its point."""
    x, y = summaries.rows[a], summaries.rows[b]
    p, q = summaries.offsets[a], summaries.offsets[b]
    if is_point:
        for f in range(len(p)):
            p[f] += share * ((np.float64(y[f]) - np.float64(x[f])) - p[f])
    else:
        for f in range(len(p)):
            p[f] += share * ((np.float64(y[f]) - np.float64(x[f])) + (q[f] - p[f]))
    summaries.moved[a] = True


@jit
def _squared_to_point(summaries: Summaries, a: int, point: int) -> float:
    """Return the squared distance from the mean of slot `a` to a point."""
    x, y, p = summaries.rows[a], summaries.rows[point], summaries.offsets[a]
    total = 0.0
    for f in range(len(p)):
        difference = (np.float64(y[f]) - np.float64(x[f])) - p[f]
        total += difference * difference
    return total


@jit
def take_members(
    summaries: Summaries,
    clusters: Clusters,
    halves: bool,
    slots: NDArray[np.int64],
    start: int,
    stop: int,
) -> None:
    """Bring the summaries of the slots `start` to `stop`, of a list of slots, up to date.

    Members come in the order in which they are chained, one after another. A chain grows at its
    end, so those that came earlier are not taken again, and the bits are those of a mean that is
    made anew. With `halves` (of weighted linkage) their weights have become less since, all by the
    same power of two.
    """
    for position in range(start, stop):
        a = slots[position]
        summaries.sizes[a] = clusters.sizes[a]
        latest = summaries.latest[a]
        if latest == a:
            summaries.masses[a] = clusters.weights[a]
        member = clusters.next_member[latest]
        if member < 0:
            continue
        mass = summaries.masses[a]
        if halves:
            mass = clusters.weights[a]
            before = a
            while before != latest:
                before = clusters.next_member[before]
                mass += clusters.weights[before]
        scalar = summaries.scalars[a]
        while member >= 0:
            weight = clusters.weights[member]
            mass += weight
            # Nothing at all, where a thousand mergers have halved it.
            if weight > 0.0:
                share = weight / mass
                if not summaries.is_ward:
                    squared = _squared_to_point(summaries, a, member)
                    scalar = (
                        (1.0 - share) * scalar
                        + share * summaries.constants[member]
                        + share * (1.0 - share) * (summaries.factor * squared)
                    )
                _add_to_mean(summaries, a, member, share, True)
            latest = member
            member = clusters.next_member[member]
        summaries.scalars[a] = scalar
        summaries.masses[a] = mass
        summaries.latest[a] = latest


@jit
def pair_distances(
    summaries: Summaries,
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    distances: NDArray[np.float64],
    start: int,
    stop: int,
) -> None:
    """Compute the distances of the pairs `start` to `stop`."""
    for pair in range(start, stop):
        i, j = first[pair], second[pair]
        distances[pair] = distance_of(summaries, i, j, _squared(summaries, i, j))


@jit
def fill_rows(
    summaries: Summaries,
    owners: NDArray[np.int64],
    slots: NDArray[np.int64],
    distances: NDArray[np.float64],
    start: int,
    stop: int,
) -> None:
    """Compute the columns `start` to `stop` of the distances of some clusters to all.

    ``distances`` is ``(len(owners), len(slots))``; those of a cluster to itself are infinite.
    """
    k = summaries.rows.shape[1]
    panel, offsets = np.empty((k, _LANES)), np.empty((k, _LANES))
    squares = np.empty(_LANES)
    for left in range(start, stop, _LANES):
        _fill_panel(summaries, slots, left, panel, offsets)
        for row in range(len(owners)):
            owner = owners[row]
            _squares_to_panel(summaries.rows, summaries.offsets, owner, panel, offsets, squares)
            for column in range(left, min(left + _LANES, stop)):
                other = slots[column]
                distances[row, column] = np.inf
                if other != owner:
                    distances[row, column] = distance_of(
                        summaries, owner, other, squares[column - left]
                    )


@jit
def fill_square(
    summaries: Summaries,
    slots: NDArray[np.int64],
    square: NDArray[np.float64],
    start: int,
    stop: int,
) -> None:
    """Compute rows `start` to `stop` from the diagonal on, and the columns that mirror them."""
    m = len(slots)
    k = summaries.rows.shape[1]
    panel, offsets = np.empty((k, _LANES)), np.empty((k, _LANES))
    squares = np.empty(_LANES)
    for top in range(start, stop, _LANES):
        for left in range(top, m, _LANES):
            _fill_panel(summaries, slots, left, panel, offsets)
            for i in range(top, min(top + _LANES, stop)):
                slot = slots[i]
                _squares_to_panel(summaries.rows, summaries.offsets, slot, panel, offsets, squares)
                if left == top:
                    square[i, i] = 0.0
                for j in range(max(left, i + 1), min(left + _LANES, m)):
                    distance = distance_of(summaries, slot, slots[j], squares[j - left])
                    square[i, j] = distance
                    square[j, i] = distance


@jit
def trace_heights(
    summaries: Summaries,
    halves: bool,
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    heights: NDArray[np.float64],
    lowest: NDArray[np.int64],
    united: NDArray[np.int64],
) -> None:
    """Compute the heights of a tree from the points up, which depend on nothing but the tree.

    Parameters
    ----------
    summaries
        Of the points, with their sizes; they become those of the unions.
    halves
        Whether either part of a union counts for a half (weighted linkage).
    first, second
        ``(n - 1,) int64``: a point of each of two clusters that merge, in an order in which every
        merge follows those below it.
    heights
        ``(n - 1,) float64``: where the distances of the two go, no less than those below.
    lowest, united
        ``(n - 1,) int64``: where the lowest point of each union goes, and how many it has.
    """
    n = len(summaries.rows)
    parent = np.arange(n)
    below = np.full(n, -np.inf)
    n_points = np.ones(n, np.int64)
    for t in range(len(first)):
        one = find(parent, first[t])
        other = find(parent, second[t])
        a = min(one, other)
        b = max(one, other)
        squared = _squared(summaries, a, b)
        height = max(distance_of(summaries, a, b, squared), below[a], below[b])
        size = summaries.sizes[a] + summaries.sizes[b]
        share = 0.5 if halves else summaries.sizes[b] / size
        if not summaries.is_ward:
            summaries.scalars[a] = (
                (1.0 - share) * summaries.scalars[a]
                + share * summaries.scalars[b]
                + share * (1.0 - share) * (summaries.factor * squared)
            )
        _add_to_mean(summaries, a, b, share, False)
        summaries.sizes[a] = size
        parent[b] = a
        below[a] = height
        n_points[a] += n_points[b]
        heights[t] = height
        lowest[t] = a
        united[t] = n_points[a]

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

__all__ = [
    "AT_ONCE",
    "Side",
    "Summaries",
    "distance_between",
    "fill_rows",
    "open_summaries",
    "pair_distances",
    "some_summaries",
    "squared_between",
    "squares_to_some",
]

AT_ONCE = 4
"""Distances of a cluster that are computed together."""

_LANES = 64


class Summaries(NamedTuple):
    """What is known of n clusters.

    In memory each is in the slot of its lowest member; of those at rest some are held together.

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


@jit
def squared_between(summaries: Summaries, i: int, j: int) -> float:
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
        ``(4,)``, with the bits of `squared_between`.
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
def pair_distances(
    summaries: Summaries,
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    distances: NDArray[np.float64],
    start: int,
    stop: int,
) -> None:
    """Compute the distances of the pairs `start` to `stop`, of places among summaries."""
    for pair in range(start, stop):
        i, j = first[pair], second[pair]
        squared = squared_between(summaries, i, j)
        distances[pair] = distance_between(summaries, i, summaries, j, squared)


class Side(NamedTuple):
    """Clusters at one side of a matrix of distances.

    Parameters
    ----------
    summaries, places
        Summaries, and where among them that of each of the q clusters is.
    slots
        ``(q,) int64``: the slot of each.
    numbers
        ``(q,) int64``: its row or column.
    """

    summaries: Summaries
    places: NDArray[np.int64]
    slots: NDArray[np.int64]
    numbers: NDArray[np.int64]


@jit
def fill_rows(
    owners: Side, others: Side, distances: NDArray[np.float64], start: int, stop: int
) -> None:
    """Compute the distances of owners, in rows, to the others `start` to `stop`, in columns.

    Those of a cluster to itself are infinite.
    """
    ones, some, places = owners.summaries, others.summaries, others.places
    k = ones.rows.shape[1]
    panel, offsets = np.empty((k, _LANES)), np.empty((k, _LANES))
    squares = np.empty(_LANES)
    for left in range(start, stop, _LANES):
        _fill_panel(some, places, left, panel, offsets)
        for at in range(len(owners.places)):
            owner, row = owners.places[at], owners.numbers[at]
            _squares_to_panel(ones.rows, ones.offsets, owner, panel, offsets, squares)
            for to in range(left, min(left + _LANES, stop)):
                column = others.numbers[to]
                distances[row, column] = np.inf
                if others.slots[to] != owners.slots[at]:
                    distances[row, column] = distance_between(
                        ones, owner, some, places[to], squares[to - left]
                    )

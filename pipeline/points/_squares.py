"""Kernel: squared distances of points side by side, reduced over clusters.

The squared distance of two points is one sum over their features in order, in double precision:
the same bits whoever computes it, and whichever of the two comes first. 64 points lie in a panel,
feature by feature, so that four others are compared with all of them at a time; a panel and what
is added up stay in the first-level cache.

Distances follow from squares by their *form*:

=========  ====================================
``PLAIN``  as they are
``ROOT``   their root
``HALF``   half of them, at most 2: unit rows
=========  ====================================
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clustergrid.pipeline._jit import borrowing, inline, jit
from clustergrid.pipeline.hierarchy._clusters import (
    COMPLETE,
    SINGLE,
    WARD,
    add_pair,
    nothing_yet,
)

__all__ = [
    "AT_ONCE",
    "HALF",
    "LANES",
    "PAIR_EDGE",
    "PLAIN",
    "ROOT",
    "TOGETHER",
    "add_squares",
    "fill_lanes",
    "fill_panels",
    "four_squares",
    "join",
    "of_square",
    "take_lanes",
    "to_distances",
]

LANES = 64
"""Points of a panel, at most."""

TOGETHER = 8
"""Panels are of multiples of so many lanes, a cache line of one feature."""

PAIR_EDGE = 512
"""Members of each of two clusters whose distances are added up one after another."""

PLAIN, ROOT, HALF = 0, 1, 2

AT_ONCE = 4
"""Points that are compared with a panel together."""


@jit
def of_square(square: float, form: int) -> float:
    """Return the distance that a square stands for."""
    if form == ROOT:
        return float(np.sqrt(square))
    if form == HALF:
        return min(0.5 * square, 2.0)
    return square


@jit
def fill_panels(rows: NDArray[np.float64], places: NDArray[np.int64]) -> NDArray[np.float64]:
    """Put some rows into panels of 64, one after another; the last has as many lanes as it needs.

    Panels are ``(k, lanes)``, lanes being a multiple of 8; those that are left over hold the last
    row.
    """
    k = rows.shape[1]
    panels = np.empty(k * (len(places) + (-len(places)) % TOGETHER))
    for start in range(0, len(places), LANES):
        lanes = _lanes(len(places) - start)
        panel = panels[k * start : k * (start + lanes)].reshape(k, lanes)
        fill_lanes(rows, places[start : start + LANES], panel)
    return panels


@inline
def _lanes(n_left: int) -> int:
    """Return how many lanes the next panel of so many points has."""
    return min(LANES, n_left + (-n_left) % TOGETHER)


@borrowing
def fill_lanes(
    rows: NDArray[np.float64], places: NDArray[np.int64], panel: NDArray[np.float64]
) -> None:
    """Put some rows into the lanes of a panel, ``(k, a multiple of 8)``, and the last into others.

    Eight at a time, which is a cache line of each feature: they come from memory side by side.
    """
    k, lanes = panel.shape
    last = len(places) - 1
    for lane in range(0, lanes, 8):
        r0 = rows[places[min(lane, last)]]
        r1 = rows[places[min(lane + 1, last)]]
        r2 = rows[places[min(lane + 2, last)]]
        r3 = rows[places[min(lane + 3, last)]]
        r4 = rows[places[min(lane + 4, last)]]
        r5 = rows[places[min(lane + 5, last)]]
        r6 = rows[places[min(lane + 6, last)]]
        r7 = rows[places[min(lane + 7, last)]]
        for f in range(k):
            panel[f, lane] = r0[f]
            panel[f, lane + 1] = r1[f]
            panel[f, lane + 2] = r2[f]
            panel[f, lane + 3] = r3[f]
            panel[f, lane + 4] = r4[f]
            panel[f, lane + 5] = r5[f]
            panel[f, lane + 6] = r6[f]
            panel[f, lane + 7] = r7[f]


@jit
def add_squares(
    panels: NDArray[np.float64],
    left_weights: NDArray[np.float64],
    left_units: NDArray[np.int64],
    rows: NDArray[np.float64],
    places: NDArray[np.int64],
    right_weights: NDArray[np.float64],
    right_units: NDArray[np.int64],
    form: int,
    method: int,
    totals: NDArray[np.float64],
) -> None:
    """Reduce the distances of some points to some others into totals of their clusters.

    Every total is added to point after point at the left, each with its sum over the points at the
    right, all in their order.

    Parameters
    ----------
    panels, left_weights, left_units
        Points at the left, as `fill_panels` puts them; the weight of each, and the row of its
        total, ``(l,)``.
    rows, places
        All points, ``(n, k)``; which are at the right, ``(r,)``.
    right_weights, right_units
        The weight of each of these, and the column of its total, not descending.
    form, method
        How distances follow from squares, and how they are reduced. Of complete and single the
        totals are squares.
    totals
        ``(rows, columns)``.
    """
    n_left = len(left_units)
    n_right = len(places)
    k = rows.shape[1]
    squares = np.empty(AT_ONCE * LANES)
    sums = np.empty((totals.shape[1], LANES))
    for start in range(0, n_left, LANES):
        lanes = _lanes(n_left - start)
        panel = panels[k * start : k * (start + lanes)].reshape(k, lanes)
        sums[:, :lanes] = nothing_yet(method)
        for first in range(0, n_right, AT_ONCE):
            _four_of(panel, rows, places, first, squares)
            for j in range(first, min(first + AT_ONCE, n_right)):
                of_one = squares[(j - first) * LANES : (j - first) * LANES + lanes]
                _take(of_one, right_weights[j], form, method, sums[right_units[j]])
        for i in range(start, min(start + LANES, n_left)):
            own = totals[left_units[i]]
            for unit in range(len(own)):
                own[unit] = join(method, own[unit], left_weights[i], sums[unit, i - start])


@borrowing
def to_distances(squares: NDArray[np.float64], form: int) -> None:
    """Put the distances in the place of their squares."""
    if form == ROOT:
        for lane in range(len(squares)):
            squares[lane] = np.sqrt(squares[lane])
    else:
        for lane in range(len(squares)):
            squares[lane] = of_square(squares[lane], form)


@borrowing
def take_lanes(
    values: NDArray[np.float64],
    weights: NDArray[np.float64],
    units: NDArray[np.int64],
    n_lanes: int,
    method: int,
    sums: NDArray[np.float64],
) -> None:
    """Take a point's values to those in the lanes of a panel into the sums of their units."""
    lane = 0
    while lane < n_lanes:
        unit = units[lane]
        total = sums[unit]
        while lane < n_lanes and units[lane] == unit:
            total = add_pair(method, total, values[lane], weights[lane])
            lane += 1
        sums[unit] = total


@jit
def join(method: int, total: float, weight: float, more: float) -> float:
    """Take a point's sum over the members of another cluster into the total of its own."""
    if method == COMPLETE:
        return max(total, more)
    if method == SINGLE:
        return min(total, more)
    return total + weight * more


@borrowing
def _four_of(
    panel: NDArray[np.float64],
    rows: NDArray[np.float64],
    places: NDArray[np.int64],
    first: int,
    squares: NDArray[np.float64],
) -> None:
    """Take four rows that follow one another; behind the last there is the last again."""
    last = len(places) - 1
    four_squares(
        panel,
        rows[places[first]],
        rows[places[min(first + 1, last)]],
        rows[places[min(first + 2, last)]],
        rows[places[min(first + 3, last)]],
        squares,
    )


@borrowing
def four_squares(
    panel: NDArray[np.float64],
    a: NDArray[np.float64],
    b: NDArray[np.float64],
    c: NDArray[np.float64],
    d: NDArray[np.float64],
    squares: NDArray[np.float64],
) -> None:
    """Compute the squared distances of the points of a panel to four others, one after another.

    Parameters
    ----------
    panel
        ``(k, lanes)``, of which there are 64 at most.
    a, b, c, d
        ``(k,)``.
    squares
        ``(4 * 64,)``: of the first of the four from 0 on, of the second from 64 on, ...
    """
    k, lanes = panel.shape
    # At constant distances: else nobody would know that they are apart, and take them together.
    for q in range(AT_ONCE):
        squares[q * LANES : q * LANES + lanes] = 0.0
    # Four features at a time: else reading and writing the sums would take longer than the rest.
    whole = k - k % 4
    for f in range(0, whole, 4):
        one = panel[f]
        two = panel[f + 1]
        three = panel[f + 2]
        four = panel[f + 3]
        a1, a2, a3, a4 = a[f], a[f + 1], a[f + 2], a[f + 3]
        b1, b2, b3, b4 = b[f], b[f + 1], b[f + 2], b[f + 3]
        c1, c2, c3, c4 = c[f], c[f + 1], c[f + 2], c[f + 3]
        d1, d2, d3, d4 = d[f], d[f + 1], d[f + 2], d[f + 3]
        for lane in range(lanes):
            v1, v2, v3, v4 = one[lane], two[lane], three[lane], four[lane]
            total = squares[lane]
            total += (v1 - a1) * (v1 - a1)
            total += (v2 - a2) * (v2 - a2)
            total += (v3 - a3) * (v3 - a3)
            total += (v4 - a4) * (v4 - a4)
            squares[lane] = total
            total = squares[LANES + lane]
            total += (v1 - b1) * (v1 - b1)
            total += (v2 - b2) * (v2 - b2)
            total += (v3 - b3) * (v3 - b3)
            total += (v4 - b4) * (v4 - b4)
            squares[LANES + lane] = total
            total = squares[2 * LANES + lane]
            total += (v1 - c1) * (v1 - c1)
            total += (v2 - c2) * (v2 - c2)
            total += (v3 - c3) * (v3 - c3)
            total += (v4 - c4) * (v4 - c4)
            squares[2 * LANES + lane] = total
            total = squares[3 * LANES + lane]
            total += (v1 - d1) * (v1 - d1)
            total += (v2 - d2) * (v2 - d2)
            total += (v3 - d3) * (v3 - d3)
            total += (v4 - d4) * (v4 - d4)
            squares[3 * LANES + lane] = total
    for f in range(whole, k):
        one = panel[f]
        a1, b1, c1, d1 = a[f], b[f], c[f], d[f]
        for lane in range(lanes):
            value = one[lane]
            squares[lane] += (value - a1) * (value - a1)
            squares[LANES + lane] += (value - b1) * (value - b1)
            squares[2 * LANES + lane] += (value - c1) * (value - c1)
            squares[3 * LANES + lane] += (value - d1) * (value - d1)


@borrowing
def _take(
    squares: NDArray[np.float64], weight: float, form: int, method: int, sums: NDArray[np.float64]
) -> None:
    """Take the squares of a panel's points to one other into the sums of that one's cluster."""
    if method == COMPLETE:
        for lane in range(len(squares)):
            sums[lane] = max(sums[lane], squares[lane])
    elif method == SINGLE:
        for lane in range(len(squares)):
            sums[lane] = min(sums[lane], squares[lane])
    elif method == WARD:
        for lane in range(len(squares)):
            distance = of_square(squares[lane], form)
            sums[lane] += weight * (distance * distance)
    elif form == ROOT:
        for lane in range(len(squares)):
            sums[lane] += weight * np.sqrt(squares[lane])
    else:
        for lane in range(len(squares)):
            sums[lane] += weight * of_square(squares[lane], form)

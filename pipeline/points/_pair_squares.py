"""Kernel: squared distances between the members of pairs of clusters, reduced to a total a pair.

Pairs with the same first cluster that follow one another share a panel: the members of their second
clusters lie in it side by side, as many as there are, feature by feature. Totals have the bits of
``_squares.py``, whichever pairs are together.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clustergrid.pipeline._jit import borrowing, jit
from clustergrid.pipeline.hierarchy._clusters import (
    COMPLETE,
    SINGLE,
    add_pair,
    nothing_yet,
)
from clustergrid.pipeline.points._squares import (
    AT_ONCE,
    LANES,
    PAIR_EDGE,
    TOGETHER,
    fill_lanes,
    four_squares,
    join,
    of_square,
    take_lanes,
    to_distances,
)

__all__ = ["add_pairs", "join_parts_of_pairs"]

_FEW = 12
"""Pairs of points that a panel does not pay for."""


class _Panel(NamedTuple):
    """Members of second clusters, and what is added up of them.

    Parameters
    ----------
    values
        ``(k * 64,)``: the members, feature by feature, of as many lanes as there are.
    places, weights, units
        ``(64,)``: row and weight of each member, and the number of its pair in the run.
    squares
        ``(4 * 64,)``.
    left
        ``(512,)``: the rows of the members of the first cluster.
    sums
        ``(512, 64)``: of each of these, a pair a column.
    """

    values: NDArray[np.float64]
    places: NDArray[np.int64]
    weights: NDArray[np.float64]
    units: NDArray[np.int64]
    squares: NDArray[np.float64]
    left: NDArray[np.int64]
    sums: NDArray[np.float64]


@jit
def add_pairs(
    rows: NDArray[np.float64],
    places: NDArray[np.int64],
    weights: NDArray[np.float64],
    starts: NDArray[np.int64],
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    form: int,
    method: int,
    totals: NDArray[np.float64],
    start: int,
    stop: int,
) -> None:
    """Reduce the distances between the members of the pairs of clusters `start` to `stop`.

    Parameters
    ----------
    rows
        ``(n, k)``.
    places, weights, starts
        The rows of the members, cluster by cluster, ``(n,)``; the weight of each; where each
        cluster begins among them.
    first, second
        ``(p,)``: two clusters a pair.
    form, method
        As of `add_squares`.
    totals
        ``(p,)``.
    """
    panel = _Panel(
        np.empty(LANES * rows.shape[1]),
        np.empty(LANES, np.int64),
        np.empty(LANES),
        np.empty(LANES, np.int64),
        np.empty(AT_ONCE * LANES),
        np.empty(PAIR_EDGE, np.int64),
        np.empty((PAIR_EDGE, LANES)),
    )
    pair = start
    while pair < stop:
        end = _end_of_run(starts, first, second, pair, stop)
        if end == pair:
            totals[pair] = _pair_total(
                rows, places, weights, starts, first[pair], second[pair], form, method
            )
            end = pair + 1
        else:
            _add_run(
                rows, places, weights, starts, first, second, form, method, totals, pair, end, panel
            )
        pair = end


@borrowing
def _end_of_run(
    starts: NDArray[np.int64],
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    pair: int,
    stop: int,
) -> int:
    """Return where the pairs end that share a panel with one, or the pair itself."""
    n_left = starts[first[pair] + 1] - starts[first[pair]]
    if n_left > PAIR_EDGE:
        return pair
    end, n_right = pair, 0
    while end < min(stop, pair + LANES) and first[end] == first[pair]:
        more = starts[second[end] + 1] - starts[second[end]]
        if more > PAIR_EDGE:
            break
        n_right += more
        end += 1
    return end if n_left * n_right > _FEW else pair


@borrowing
def _add_run(
    rows: NDArray[np.float64],
    places: NDArray[np.int64],
    weights: NDArray[np.float64],
    starts: NDArray[np.int64],
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    form: int,
    method: int,
    totals: NDArray[np.float64],
    begin: int,
    end: int,
    panel: _Panel,
) -> None:
    """Reduce the distances of pairs `begin` to `end`, which have the same first cluster."""
    top = starts[first[begin]]
    n_left = starts[first[begin] + 1] - top
    for i in range(n_left):
        panel.left[i] = places[top + i]
        panel.sums[i, : end - begin] = nothing_yet(method)
    lane = 0
    for pair in range(begin, end):
        for member in range(starts[second[pair]], starts[second[pair] + 1]):
            panel.places[lane] = places[member]
            panel.weights[lane] = weights[member]
            panel.units[lane] = pair - begin
            lane += 1
            if lane == LANES:
                _add_panel(rows, lane, n_left, form, method, panel)
                lane = 0
    if lane > 0:
        _add_panel(rows, lane, n_left, form, method, panel)
    for pair in range(begin, end):
        total = nothing_yet(method)
        for i in range(n_left):
            total = join(method, total, weights[top + i], panel.sums[i, pair - begin])
        totals[pair] = total


@borrowing
def _add_panel(
    rows: NDArray[np.float64], n_right: int, n_left: int, form: int, method: int, panel: _Panel
) -> None:
    """Take the members in the lanes of a panel into the sums of those of the first cluster."""
    k = rows.shape[1]
    lanes = n_right + (-n_right) % TOGETHER
    values = panel.values[: k * lanes].reshape(k, lanes)
    fill_lanes(rows, panel.places[:n_right], values)
    for start in range(0, n_left, AT_ONCE):
        n_rows = min(AT_ONCE, n_left - start)
        if n_rows == AT_ONCE:
            four_squares(
                values,
                rows[panel.left[start]],
                rows[panel.left[start + 1]],
                rows[panel.left[start + 2]],
                rows[panel.left[start + 3]],
                panel.squares,
            )
        for q in range(n_rows):
            of_row = panel.squares[q * LANES : q * LANES + lanes]
            if n_rows < AT_ONCE:
                _one_square(values, rows[panel.left[start + q]], of_row)
            if method not in (COMPLETE, SINGLE):
                to_distances(of_row, form)
            take_lanes(of_row, panel.weights, panel.units, n_right, method, panel.sums[start + q])


@borrowing
def _one_square(
    values: NDArray[np.float64], row: NDArray[np.float64], squares: NDArray[np.float64]
) -> None:
    """Compute the squared distances of the points of a panel to one other, as `four_squares`."""
    k, lanes = values.shape
    squares[:] = 0.0
    whole = k - k % 4
    for f in range(0, whole, 4):
        one = values[f]
        two = values[f + 1]
        three = values[f + 2]
        four = values[f + 3]
        a, b, c, d = row[f], row[f + 1], row[f + 2], row[f + 3]
        for lane in range(lanes):
            total = squares[lane]
            total += (one[lane] - a) * (one[lane] - a)
            total += (two[lane] - b) * (two[lane] - b)
            total += (three[lane] - c) * (three[lane] - c)
            total += (four[lane] - d) * (four[lane] - d)
            squares[lane] = total
    for f in range(whole, k):
        one = values[f]
        for lane in range(lanes):
            squares[lane] += (one[lane] - row[f]) * (one[lane] - row[f])


@jit
def _pair_total(
    rows: NDArray[np.float64],
    places: NDArray[np.int64],
    weights: NDArray[np.float64],
    starts: NDArray[np.int64],
    first: int,
    second: int,
    form: int,
    method: int,
) -> float:
    """Reduce the distances between the members of two clusters; see `add_pairs`.

    Those of `PAIR_EDGE` members of either are added up first: of large clusters a sum of single
    distances would lose digits, and could not be made of pieces. Within these it is `add_squares`
    that is done, with its bits as long as the first cluster has no more members than that.
    """
    total = nothing_yet(method)
    squares = np.empty(AT_ONCE)
    for top in range(starts[first], starts[first + 1], PAIR_EDGE):
        bottom = min(top + PAIR_EDGE, starts[first + 1])
        for left in range(starts[second], starts[second + 1], PAIR_EDGE):
            right = min(left + PAIR_EDGE, starts[second + 1])
            part = nothing_yet(method)
            for i in range(top, bottom):
                row = rows[places[i]]
                more = nothing_yet(method)
                for start in range(left, right, AT_ONCE):
                    last = right - 1
                    _some_squares(
                        row,
                        rows,
                        places[start],
                        places[min(start + 1, last)],
                        places[min(start + 2, last)],
                        places[min(start + 3, last)],
                        squares,
                    )
                    for j in range(start, min(start + AT_ONCE, right)):
                        value = squares[j - start]
                        if method not in (COMPLETE, SINGLE):
                            value = of_square(value, form)
                        more = add_pair(method, more, value, weights[j])
                part = join(method, part, weights[i], more)
            total = join(method, total, 1.0, part)
    return total


@jit
def join_parts_of_pairs(
    parts: NDArray[np.float64],
    pairs: NDArray[np.int64],
    method: int,
    totals: NDArray[np.float64],
) -> None:
    """Reduce what `_pair_total` adds up first to totals.

    Parameters
    ----------
    parts, pairs
        Each part and its pair, ``(q,)``, those of a pair in the order of `_pair_total`.
    method
        How they are reduced.
    totals
        ``(p,)``.
    """
    totals[:] = nothing_yet(method)
    for part in range(len(parts)):
        pair = pairs[part]
        totals[pair] = join(method, totals[pair], 1.0, parts[part])


@jit
def _some_squares(
    row: NDArray[np.float64],
    rows: NDArray[np.float64],
    a: int,
    b: int,
    c: int,
    d: int,
    squares: NDArray[np.float64],
) -> None:
    """Compute the squared distances of a row to four others, which need not wait for each other."""
    to_a, to_b, to_c, to_d = 0.0, 0.0, 0.0, 0.0
    for f in range(rows.shape[1]):
        value = row[f]
        to_a += (rows[a, f] - value) * (rows[a, f] - value)
        to_b += (rows[b, f] - value) * (rows[b, f] - value)
        to_c += (rows[c, f] - value) * (rows[c, f] - value)
        to_d += (rows[d, f] - value) * (rows[d, f] - value)
    squares[0] = to_a
    squares[1] = to_b
    squares[2] = to_c
    squares[3] = to_d

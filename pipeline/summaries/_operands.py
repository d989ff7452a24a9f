"""Kernel: means as operands of products in single precision, which say who may be near to whom.

What products in single precision leave open is computed exactly, in double precision; so lists are
those that exact distances make, to the bit. As for points (``points/_sieve.py``), some more
features make of a product of means a bound. For clusters A and B with the means a and b, about a
centre and scaled so that ``f`` is one,

    (-2 a, 1, N_A) . (b, N_B, 1)  =  N_A + N_B - 2 a.b

is no less than ``max(T_A, T_B) (I_A + I_B)`` where neither is near to the other, with what follows
from how far, t, the list of each still reaches:

===========  =====================  ===  ====================
of           N                      I    T
===========  =====================  ===  ====================
averages     (1 - s) |b|^2 + c_B    1/2  (1+s) t
ward         (1 - s) |b|^2          1/n  (1+s) t^2 / 2
===========  =====================  ===  ====================

So one product serves the lists of both. Why that is right in single precision, with
``u = 2^-24``: rounding the k values of a and b changes ``2 a.b`` by at most
``2.01 u (|a|^2 + |b|^2)``. A sum of m = k + 2 products, in any order, is within ``1.01 m u`` times
the sum of their magnitudes (Higham 2002, section 3.1). With D for ``t``, of ward
``t^2 (1/n_A + 1/n_B) / 2``, and B no farther than t, that is at most
``2.03 (|a|^2 + |b|^2) + D``. N, I, T and what is made of them are rounded eight times.
All of that is less than

    s (|a|^2 + |b|^2) + s D,        s = (3.2 k + 24) u.

Means are scaled, so that those at the left mostly have a length of about one, and `tiny` is more
than all products that underflow. None overflows, because what is too long, as rows in which a
number stands for none, is replaced: at the left by what is near to everything; at the right, where
``|b|^2 + c_B > 2^88``, by the centre with `_BEYOND` for N, which is less than ``|a - b|^2 + c_B``
of those at the left, ``|a|^2`` being no more than ``2^80``.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clustergrid.pipeline._jit import inline, jit
from clustergrid.pipeline.summaries._means import AT_ONCE, Summaries

__all__ = [
    "EVERYTHING",
    "TOGETHER",
    "Operands",
    "fill_operands",
    "find_near",
    "guess_reach",
    "mean_of",
    "open_operands",
    "set_reach",
    "squared_lengths",
]

TOGETHER = 64
"""Products that are looked at together: tiles have room for whole multiples."""

EVERYTHING = 1e37
"""T of a list that takes everything, also from clusters of 1e9 observations."""

_MOST_LEFT, _MOST_RIGHT, _BEYOND = 2.0**80, 2.0**88, 2.0**85
"""Of squared lengths."""

_LANES = 8

_WORD = 8

_TINY = 1e-30

_LOST = 2.01
"""Shares of the norms that a product may be too low by: taken from them, and lost in it."""

_MOVES = 1e-22
"""Share of the squared ways to a mean that their roundings may add."""


class Operands(NamedTuple):
    """One side of products: p clusters, and how far their lists reach.

    Parameters
    ----------
    values
        ``(p, k + 2) float32``: the features of a product.
    reach
        ``(at least p, a multiple of 64) float32``: T of each list; zero where there is none.
    inverses
        As long, float32: I.
    """

    values: NDArray[np.float32]
    reach: NDArray[np.float32]
    inverses: NDArray[np.float32]


def open_operands(n_clusters: int, n_features: int) -> Operands:
    """Return operands that are yet to be filled, of clusters without lists."""
    padded = -(-n_clusters // TOGETHER) * TOGETHER
    return Operands(
        values=np.empty((n_clusters, n_features + 2), np.float32),
        reach=np.zeros(padded, np.float32),
        inverses=np.zeros(padded, np.float32),
    )


@jit
def _share_of_roundings(n_features: int) -> float:
    return (3.2 * n_features + 24.0) * 2.0**-24


@jit
def squared_lengths(
    summaries: Summaries,
    places: NDArray[np.int64],
    centre: NDArray[np.float64],
    squares: NDArray[np.float64],
) -> None:
    """Compute the squared lengths of the means at some places about a centre, constants included.

    There is a square for each place.
    """
    rows, offsets = summaries.rows, summaries.offsets
    k = rows.shape[1]
    for p in range(len(places)):
        i = places[p]
        total = 0.0 if summaries.is_ward else summaries.scalars[i] / summaries.factor
        for f in range(k):
            difference = np.float64(rows[i, f]) - centre[f]
            if summaries.moved[i]:
                difference += offsets[i, f]
            total += difference * difference
        squares[p] = total


@jit
def mean_of(summaries: Summaries, places: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the mean of the means at some places, ``(k,)``: near ones are short about it."""
    rows, offsets, moved = summaries.rows, summaries.offsets, summaries.moved
    k = rows.shape[1]
    centre = np.zeros(k)
    for p in range(len(places)):
        i = places[p]
        share = 1.0 / (p + 1)
        for f in range(k):
            centre[f] += share * (np.float64(rows[i, f]) - centre[f])
        if moved[i]:
            for f in range(k):
                centre[f] += share * offsets[i, f]
    return centre


@jit
def fill_operands(
    summaries: Summaries,
    places: NDArray[np.int64],
    centre: NDArray[np.float64],
    scale: float,
    is_left: bool,
    operands: Operands,
) -> None:
    """Make operands of the means of some clusters.

    Parameters
    ----------
    summaries, places
        Summaries, and where the clusters are among them.
    centre, scale
        Subtracted first; and a power of two that is multiplied with.
    is_left
        Whether they are at the left of a product.
    operands
        Of so many; how far lists reach is left as it is.
    """
    rows, offsets, moved = summaries.rows, summaries.offsets, summaries.moved
    k = rows.shape[1]
    share = _share_of_roundings(k)
    factor = np.float32(-2.0 if is_left else 1.0)
    way, sums = np.empty(k), np.empty(_LANES)
    for p in range(len(places)):
        i = places[p]
        for f in range(k):
            way[f] = (np.float64(rows[i, f]) - centre[f]) * scale
        moves = 0.0
        if moved[i]:
            moves = _sum_of_squares(way, sums)
            for f in range(k):
                offset = offsets[i, f] * scale
                way[f] += offset
                moves += offset * offset
        squares = _sum_of_squares(way, sums)
        norm = (1.0 - share) * squares - _MOVES * (squares + moves)
        inverse = 0.5
        if summaries.is_ward:
            inverse = 1.0 / summaries.sizes[i]
        else:
            norm += summaries.scalars[i] / summaries.factor * (scale * scale)
        most = _MOST_LEFT if is_left else _MOST_RIGHT
        # Infinite ones, and what is no number, are too long as well.
        is_short = norm <= most and squares <= most
        for f in range(k):
            operands.values[p, f] = factor * np.float32(way[f]) if is_short else 0.0
        if not is_short:
            norm = -EVERYTHING if is_left else _BEYOND
        operands.values[p, k] = np.float32(1.0 if is_left else norm)
        operands.values[p, k + 1] = np.float32(norm if is_left else 1.0)
        operands.inverses[p] = np.float32(inverse)


@inline
def _sum_of_squares(values: NDArray[np.float64], sums: NDArray[np.float64]) -> float:
    """Add up squares, some side by side: sums that wait for each other take the most time."""
    k = len(values)
    sums[:] = 0.0
    for first in range(0, k - _LANES + 1, _LANES):
        for lane in range(_LANES):
            sums[lane] += values[first + lane] * values[first + lane]
    total = 0.0
    for f in range(k - k % _LANES, k):
        total += values[f] * values[f]
    for lane in range(_LANES):
        total += sums[lane]
    return total


@jit
def set_reach(
    summaries: Summaries,
    scale: float,
    operands: Operands,
    distances: NDArray[np.float64],
    first: int,
) -> None:
    """Tell operands how far their lists reach: that of the first one is ``distances[first]``.

    A negative distance is that of no list at all.
    """
    above = 1.0 + _share_of_roundings(summaries.rows.shape[1])
    for p in range(len(operands.values)):
        distance = distances[first + p]
        most = 0.0
        if distance >= 0.0:
            if summaries.is_ward:
                root = distance / summaries.factor * scale
                most = 0.5 * root * root
            else:
                most = distance / summaries.factor * (scale * scale)
            # Where it is infinite, differences may make NaN of it.
            most = min(above * most + _TINY, EVERYTHING)
        operands.reach[p] = np.float32(most)


@jit
def guess_reach(
    products: NDArray[np.float32],
    summaries: Summaries,
    scale: float,
    left: Operands,
    first_list: int,
    first_place: int,
    sample: NDArray[np.int64],
    right: Operands,
    least: NDArray[np.float32],
    guesses: NDArray[np.float64],
) -> None:
    """Guess how far lists will reach: as far as the last of the least of a sample of all clusters.

    An entry takes its time to be put into a list and out again; most of those that come first
    would be.

    Parameters
    ----------
    products
        ``(q, w) float32``: with some of the sample, w being a multiple of 64.
    summaries, scale
        Of the clusters at the left, and the power of two that means are multiplied by.
    left, first_list, first_place
        Their operands, the first of them that is in the products, and its place.
    sample, right
        ``(at most w,) int64``: places, and their operands.
    least
        ``(clusters, rank) float32``: ascending, the least T so far within which clusters of the
        sample are, whatever was rounded, to which these are added; at first `EVERYTHING`.
    guesses
        ``(clusters,)``: how far that is.
    """
    found = np.empty(TOGETHER + AT_ONCE, np.int64)
    marks = np.empty(TOGETHER, np.uint8)
    rank = least.shape[1]
    k = summaries.rows.shape[1]
    # Of tight clusters this is more than how far their members are apart, and they would be at 0.
    lost = np.float32(_LOST * _share_of_roundings(k))
    for q in range(len(products)):
        p = first_list + q
        row = least[p]
        inverse = left.inverses[p]
        norm = left.values[p, k + 1]
        own = first_place + q
        for start in range(0, len(sample), TOGETHER):
            part = slice(start, start + TOGETHER)
            count = find_near(
                products[q, part],
                len(sample) - start,
                row[rank - 1],
                inverse,
                right.reach[part],
                right.inverses[part],
                start,
                0,
                marks,
                found,
            )
            for at in range(count):
                j = found[at]
                # Of those that are too long nothing is known.
                is_known = norm > -0.5 * EVERYTHING and right.values[j, k] != _BEYOND
                if is_known and sample[j] != own:
                    most_apart = products[q, j] + lost * (norm + right.values[j, k])
                    _insert(row, most_apart / (inverse + right.inverses[j]))
        most = max(np.float64(row[rank - 1]), 0.0)
        if row[rank - 1] >= np.float32(EVERYTHING):
            guesses[p] = np.inf
        elif summaries.is_ward:
            guesses[p] = summaries.factor * (np.sqrt(2.0 * most) / scale)
        else:
            guesses[p] = summaries.factor * (most / (scale * scale))


@jit
def _insert(ascending: NDArray[np.float32], value: np.float32) -> None:
    """Put a value in its place, and drop the last one."""
    place = len(ascending) - 1
    if value >= ascending[place]:
        return
    while place > 0 and ascending[place - 1] > value:
        ascending[place] = ascending[place - 1]
        place -= 1
    ascending[place] = value


@inline
def find_near(
    products: NDArray[np.float32],
    width: int,
    reach: np.float32,
    inverse: np.float32,
    reaches: NDArray[np.float32],
    inverses: NDArray[np.float32],
    first: int,
    least_place: int,
    marks: NDArray[np.uint8],
    found: NDArray[np.int64],
) -> int:
    """Find the others that may be near to a cluster, or it to them; return how many are `found`.

    Parameters
    ----------
    products, width
        ``(w,)``: of the cluster with others, w being a multiple of 64; how many they are.
    reach, inverse
        T and I of the cluster.
    reaches, inverses
        ``(w,)``: those of the others.
    first, least_place
        The place of the first of them; those at lower ones than `least_place` are not wanted.
    marks
        ``(64,)``: scratch.
    found
        ``(at least w + 3,)``: gets their places. Behind them a few more are filled with `first`,
        for those who look at four at a time.
    """
    words = marks.view(np.uint64)
    n_found = 0
    for start in range(0, len(products), TOGETHER):
        some = products[start : start + TOGETHER]
        some_reach = reaches[start : start + TOGETHER]
        some_inverses = inverses[start : start + TOGETHER]
        for j in range(TOGETHER):
            most = some_reach[j] if some_reach[j] > reach else reach
            marks[j] = some[j] < most * (inverse + some_inverses[j])
        low = words[0] | words[1] | words[2] | words[3]
        if low | words[4] | words[5] | words[6] | words[7] == 0:
            continue
        for word in range(TOGETHER // _WORD):
            if words[word] == 0:
                continue
            for j in range(word * _WORD, (word + 1) * _WORD):
                place = first + start + j
                found[n_found] = place
                n_found += (marks[j] != 0) & (place >= least_place) & (start + j < width)
    for at in range(n_found, n_found + AT_ONCE - 1):
        found[at] = first
    return n_found

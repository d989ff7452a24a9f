"""Kernel: lists of near clusters, from products of means in single precision.

What products in single precision leave open is computed exactly, in double precision; so lists are
those that exact distances make, to the bit. As for points (``points/_sieve.py``), some more
features make of a product of means a bound that is looked at by its sign. For clusters A and B with
the means a and b, about a centre and scaled so that ``f`` is one,

    (-2 a, 1, -S, -T) . (b, N, I, 1)  =  N - 2 a.b - S I - T

with what follows from how far, t, the list of A still reaches:

===========  =====================  ===  ====================  ==============================
of           N                      I    S                     T
===========  =====================  ===  ====================  ==============================
averages     (1 - s) |b|^2 + c_B    0    0                     (1+s) t - c_A - (1-s) |a|^2
ward         (1 - s) |b|^2          1/n  (1+s) t^2 / 2         S / n_A - (1-s) |a|^2
===========  =====================  ===  ====================  ==============================

If that is not negative, B is farther than t. Why that is right in single precision, with
``u = 2^-24``: rounding the k values of a and b changes ``2 a.b`` by at most
``2.01 u (|a|^2 + |b|^2)``. A sum of m = k + 3 products, in any order, is within ``1.01 m u`` times
the sum of their magnitudes (Higham 2002, section 3.1). With D for ``t``, of ward
``t^2 (1/n_A + 1/n_B) / 2``, and B no farther than t, all other terms are at most D each, so that
the sum is at most ``2.03 (|a|^2 + |b|^2) + 3 D``. Four terms are rounded once each. All of that is
less than

    s (|a|^2 + |b|^2) + s D,        s = (3.2 k + 24) u.

Means are scaled to lengths of no more than four, so nothing overflows, and `tiny` is more than all
products that underflow.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clustergrid.pipeline._jit import inline, jit
from clustergrid.pipeline.hierarchy._neighbors import Neighbors, Reach, offer
from clustergrid.pipeline.points._sieve import find_negative
from clustergrid.pipeline.summaries._means import AT_ONCE, Summaries, distance_of, squares_to_some

__all__ = [
    "Compared",
    "fill_operands",
    "guess_reach",
    "longest",
    "mean_of",
    "offer_around",
    "offer_negative",
    "which_are_short",
]

_AFTER = 3
"""Features of an operand that come after those of a mean."""

_TINY = 1e-30
_EVERYTHING = 1e30

_MOVES = 1e-22
"""Share of the squared ways to a mean that their roundings may add."""


class Compared(NamedTuple):
    """The clusters that are compared, in an order in which neighbours mostly are near.

    Parameters
    ----------
    summaries
        Of them, and maybe of others.
    slots
        ``(m,) int64``: the slot of each, by which it is listed.
    where
        ``(m,) int64``: where it is in the summaries.
    scale
        Power of two that means are multiplied by.
    """

    summaries: Summaries
    slots: NDArray[np.int64]
    where: NDArray[np.int64]
    scale: float


@jit
def _share_of_roundings(n_features: int) -> float:
    return (3.2 * n_features + 24.0) * 2.0**-24


@jit
def longest(summaries: Summaries, centre: NDArray[np.float64]) -> float:
    """Return the greatest length of a row about a centre, constants included."""
    rows, constants = summaries.rows, summaries.constants
    n, k = rows.shape
    most = 0.0
    for i in range(n):
        total = constants[i] / summaries.factor
        for f in range(k):
            difference = np.float64(rows[i, f]) - centre[f]
            total += difference * difference
        most = max(most, total)
    return float(np.sqrt(most))


@jit
def mean_of(compared: Compared, places: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the mean of the means of some clusters, ``(k,)``: near ones are short about it."""
    rows, offsets = compared.summaries.rows, compared.summaries.offsets
    k = rows.shape[1]
    centre = np.zeros(k)
    for done, place in enumerate(places):
        i = compared.where[place]
        share = 1.0 / (done + 1)
        for f in range(k):
            centre[f] += share * ((np.float64(rows[i, f]) - centre[f]) + offsets[i, f])
    return centre


@jit
def fill_operands(
    compared: Compared,
    places: NDArray[np.int64],
    centre: NDArray[np.float64],
    is_left: bool,
    operands: NDArray[np.float32],
    norms: NDArray[np.float64],
) -> None:
    """Make operands of the means of some clusters.

    Parameters
    ----------
    compared, places
        All clusters, and which.
    centre
        Subtracted first.
    is_left
        Whether they are at the left of a product, with lists that take everything.
    operands
        ``(at least len(places), k + 3)``.
    norms
        Gets ``(1 - s) |a|^2`` of each, and c.
    """
    summaries, scale = compared.summaries, compared.scale
    rows, offsets = summaries.rows, summaries.offsets
    k = rows.shape[1]
    share = _share_of_roundings(k)
    factor = np.float32(-2.0 if is_left else 1.0)
    for p in range(len(places)):
        i = compared.where[places[p]]
        squares = 0.0
        ways = 0.0
        for f in range(k):
            way = (np.float64(rows[i, f]) - centre[f]) * scale
            offset = offsets[i, f] * scale
            value = way + offset
            operands[p, f] = factor * np.float32(value)
            squares += value * value
            ways += way * way + offset * offset
        norm = (1.0 - share) * squares - _MOVES * ways
        inverse = 0.0
        if summaries.is_ward:
            inverse = 1.0 / summaries.sizes[i]
        else:
            norm += summaries.scalars[i] / summaries.factor * (scale * scale)
        norms[p] = norm
        operands[p, k] = np.float32(1.0 if is_left else norm)
        operands[p, k + 1] = np.float32(0.0 if is_left else inverse)
        operands[p, k + 2] = np.float32(-_EVERYTHING if is_left else 1.0)


@jit
def _set_reach(
    summaries: Summaries,
    scale: float,
    i: int,
    distance: float,
    norm: float,
    p: int,
    operands: NDArray[np.float32],
) -> None:
    """Put how far a list reaches into an operand at the left."""
    k = operands.shape[1] - _AFTER
    above = 1.0 + _share_of_roundings(k)
    slope = 0.0
    if summaries.is_ward:
        root = distance / summaries.factor * scale
        # Where it is infinite, products may make NaN of it.
        slope = min(above * (0.5 * root * root), _EVERYTHING)
        most = slope / summaries.sizes[i]
    else:
        most = above * (distance / summaries.factor * (scale * scale))
    operands[p, k + 1] = np.float32(-slope)
    operands[p, k + 2] = np.float32(-min(most - norm + _TINY, _EVERYTHING))


@jit
def _around(place: int, n_each_side: int, m: int) -> tuple[int, int]:
    """Return the range of places about one, which moves inwards at the ends."""
    width = min(m, 2 * n_each_side + 1)
    first = min(max(0, place - n_each_side), m - width)
    return first, first + width


@jit
def offer_around(
    compared: Compared,
    places: NDArray[np.int64],
    n_neighbors: int,
    norms: NDArray[np.float64],
    operands: NDArray[np.float32],
    lists: Neighbors,
    reach: Reach,
) -> None:
    """Offer the clusters next to each of some in order, K on either side, to its list.

    Parameters
    ----------
    compared, places
        All clusters, and whose lists these are.
    n_neighbors
        K.
    norms, operands
        As `fill_operands` made them for the left; they get to know how far lists reach.
    lists, reach
        The lists, which take everything so far, and what they take.
    """
    m = len(compared.slots)
    others = np.empty(2 * n_neighbors + AT_ONCE, np.int64)
    squares = np.empty(AT_ONCE)
    for p in range(len(places)):
        place = places[p]
        first, after = _around(place, n_neighbors, m)
        count = 0
        for other in range(first, after):
            if other != place:
                others[count] = other
                count += 1
        for at in range(count, count + AT_ONCE - 1):
            others[at] = first
        _offer_some(
            compared,
            place,
            p,
            others,
            count,
            n_neighbors,
            norms,
            operands,
            lists,
            reach,
            squares,
        )


@jit
def guess_reach(
    products: NDArray[np.float32],
    compared: Compared,
    places: NDArray[np.int64],
    first_list: int,
    sample: NDArray[np.int64],
    rank: int,
    norms: NDArray[np.float64],
    operands: NDArray[np.float32],
    reach: Reach,
) -> None:
    """Guess how far lists will reach: as far as number `rank` of a sample of all clusters.

    An entry takes its time to be put into a list and out again; most of those that come first
    would be.

    Parameters
    ----------
    products
        ``(q, w)``: of operands, but for the last two features, with the clusters of the sample.
    compared, places, first_list
        As in `offer_negative`.
    sample
        ``(w,) int64``: places.
    rank
        Counted from one.
    norms, operands, reach
        Of the lists; they get to know the guess.
    """
    summaries, scale = compared.summaries, compared.scale
    least = np.empty(rank)
    for q in range(len(products)):
        p = first_list + q
        place = places[p]
        i = compared.where[place]
        least[:] = np.inf
        for j in range(len(sample)):
            square = max(norms[p] + products[q, j], 0.0)
            if summaries.is_ward:
                inverses = 1.0 / summaries.sizes[i]
                inverses += 1.0 / summaries.sizes[compared.where[sample[j]]]
                square = 2.0 * square / inverses
            if square < least[rank - 1] and sample[j] != place:
                _insert(least, square)
        square = least[rank - 1] / (scale * scale)
        distance = summaries.factor * (np.sqrt(square) if summaries.is_ward else square)
        reach.distance[p] = distance
        _set_reach(summaries, scale, i, distance, norms[p], p, operands)


@jit
def _insert(ascending: NDArray[np.float64], value: float) -> None:
    """Put a value in its place, and drop the last one."""
    place = len(ascending) - 1
    while place > 0 and ascending[place - 1] > value:
        ascending[place] = ascending[place - 1]
        place -= 1
    ascending[place] = value


@jit
def which_are_short(
    lists: Neighbors, guesses: NDArray[np.float64], n_neighbors: int
) -> NDArray[np.bool_]:
    """Return which lists have fewer entries than K within a guess: others may be missing."""
    short = np.empty(len(guesses), np.bool_)
    for p in range(len(guesses)):
        within = 0
        for entry in range(lists.counts[p]):
            within += lists.bounds[p, entry] <= guesses[p]
        short[p] = within < n_neighbors
    return short


@jit
def offer_negative(
    signs: NDArray[np.int64],
    width: int,
    compared: Compared,
    places: NDArray[np.int64],
    first_list: int,
    first_column: int,
    n_around: int,
    n_neighbors: int,
    norms: NDArray[np.float64],
    operands: NDArray[np.float32],
    lists: Neighbors,
    reach: Reach,
) -> None:
    """Offer clusters whose product is negative to the lists, but for those next in order.

    Parameters
    ----------
    signs, width
        ``(q, w / 2)``: the products, two of them an integer, w being a multiple of 64; how many
        of them are products.
    compared, places
        All clusters, and whose lists these are.
    first_list, first_column
        The first list at the left, and the place of the first cluster at the right.
    n_around
        So many on either side of an owner were offered already.
    n_neighbors, norms, operands, lists, reach
        As in `offer_around`.
    """
    m = len(compared.slots)
    others = np.empty(2 * signs.shape[1] + AT_ONCE, np.int64)
    squares = np.empty(AT_ONCE)
    for q in range(len(signs)):
        p = first_list + q
        place = places[p]
        known = _around(place, n_around, m)
        count = find_negative(signs[q], width, first_column, known, others)
        if count > 0:
            _offer_some(
                compared,
                place,
                p,
                others,
                count,
                n_neighbors,
                norms,
                operands,
                lists,
                reach,
                squares,
            )


@inline
def _offer_some(
    compared: Compared,
    place: int,
    p: int,
    others: NDArray[np.int64],
    count: int,
    n_neighbors: int,
    norms: NDArray[np.float64],
    operands: NDArray[np.float32],
    lists: Neighbors,
    reach: Reach,
    squares: NDArray[np.float64],
) -> None:
    """Compute the distances of a cluster to some others, and offer them to its list, number p."""
    summaries = compared.summaries
    where = compared.where
    i = where[place]
    farthest = before = reach.distance[p]
    for start in range(0, count, AT_ONCE):
        squares_to_some(summaries, i, where, others, start, squares)
        for at in range(start, min(start + AT_ONCE, count)):
            other = others[at]
            distance = distance_of(summaries, i, where[other], squares[at - start])
            if distance <= farthest:
                offer(lists, reach, n_neighbors, p, compared.slots[other], distance)
                farthest = reach.distance[p]
    if farthest != before:
        _set_reach(summaries, compared.scale, i, farthest, norms[p], p, operands)

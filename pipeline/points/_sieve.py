"""Kernel: the nearest of every point, from products in single precision and few exact distances.

With two more features the product of two rows is itself a bound. For points ``a`` and ``b``, from a
common centre,

    (-2 a, 1, -T) . (b, N, 1)  =  N - 2 a.b - T

where ``N = (1 - s) |b|^2`` and ``T = (1 + s) t^2 - (1 - s) |a|^2 + tiny``, and t is how far the
list of ``a`` still reaches. If that is not negative, ``b`` is farther than t. So most of a tile is
done with when the signs of its numbers are looked at, 64 at a time, and only what has a minus is
computed exactly.

Why that is right in single precision, with ``u = 2^-24``: rounding the k values of ``a`` and ``b``
changes ``2 a.b`` by at most ``2.01 u (|a|^2 + |b|^2)``. A sum of m = k + 2 products, in any order,
is within ``1.01 m u`` times the sum of their magnitudes (Higham 2002, section 3.1, for m below
10^5), which is at most ``1.01 (|a|^2 + |b|^2) + |b|^2 + |T|`` with ``|T| <= |a|^2 + 1.01 t^2``. N
and T are each rounded once. All of that is less than

    s (|a|^2 + |b|^2) + s t^2,        s = (2.1 k + 24) u,

which is left out of N and T, with room for roundings in double precision, of the exact distances
and of their roots. The rows are scaled to lengths of at most two, so nothing overflows, and `tiny`
is more than all products that underflow.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clustergrid.pipeline._jit import jit
from clustergrid.pipeline.hierarchy._clusters import single_pair
from clustergrid.pipeline.hierarchy._neighbors import Neighbors, Reach, offer
from clustergrid.pipeline.points._squares import HALF, ROOT, of_square, some_squares

__all__ = ["fill_operands", "find_negative", "offer_negative", "share_of_roundings"]

_WORDS = 32
_FEW_WORDS = 4
_SIGNS = -0x7FFFFFFF80000000
"""The signs of both products of a word."""

_AT_ONCE = 4
_TINY = 1e-30
_EVERYTHING = 1e30


def share_of_roundings(n_features: int) -> float:
    """Return s: what roundings change is less than this share of the squares.

    Examples
    --------
    >>> share_of_roundings(34) < 1e-5
    True
    """
    return (2.1 * n_features + 24.0) * 2.0**-24


@jit
def fill_operands(
    rows: NDArray[np.float64],
    centre: NDArray[np.float64],
    scale: float,
    share: float,
    is_left: bool,
    operands: NDArray[np.float32],
    norms: NDArray[np.float64],
) -> None:
    """Make operands of some rows.

    Parameters
    ----------
    rows
        ``(r, k)`` points.
    centre, scale
        Subtracted first; and a power of two that is multiplied with.
    share
        As of `share_of_roundings`.
    is_left
        Whether they are at the left of a product, with lists that take everything.
    operands
        ``(at least r, k + 2)``.
    norms
        Gets ``(1 - share) |a|^2`` of each.
    """
    k = rows.shape[1]
    factor = np.float32(-2.0 if is_left else 1.0)
    for i in range(len(rows)):
        operand = operands[i]
        norm = 0.0
        for f in range(k):
            value = (rows[i, f] - centre[f]) * scale
            norm += value * value
            operand[f] = factor * np.float32(value)
        norm *= 1.0 - share
        norms[i] = norm
        operand[k] = np.float32(1.0 if is_left else norm)
        operand[k + 1] = np.float32(-_EVERYTHING if is_left else 1.0)


@jit
def offer_negative(
    signs: NDArray[np.int64],
    width: int,
    operands: NDArray[np.float32],
    norms: NDArray[np.float64],
    scale: float,
    share: float,
    left: NDArray[np.float64],
    right: NDArray[np.float64],
    left_points: NDArray[np.int64],
    right_points: NDArray[np.int64],
    sizes: NDArray[np.float64],
    first_list: int,
    offset: int,
    seen: int,
    form: int,
    method: int,
    n_neighbors: int,
    lists: Neighbors,
    reach: Reach,
) -> None:
    """Compute the distances of pairs whose product is negative, and offer them to the lists.

    Parameters
    ----------
    signs, width
        ``(q, w / 2)``: the products, two of them an integer, w being a multiple of 64; how many
        of them are products.
    operands, norms
        Of the rows at the left, whose thresholds are kept up to date.
    scale, share
        As of `fill_operands`.
    left, right
        The rows at either side, ``(q, k)`` and ``(at least width, k)``.
    left_points, right_points, sizes
        Which point each of them is; the size of every point.
    first_list
        The list of the first row at the left.
    offset
        Where that row would be among those at the right, were they all.
    seen
        So many rows were offered already, from that one on; 0: none but each itself.
    form, method, n_neighbors
        How distances follow from squares, and for what: ward's depend on sizes; K.
    lists, reach
        The lists of the rows at the left, and what these take.
    """
    last = operands.shape[1] - 1
    found = np.empty(2 * signs.shape[1] + _AT_ONCE, np.int64)
    squares = np.empty(_AT_ONCE)
    for q in range(len(signs)):
        owner = first_list + q
        left_out = (offset + q, offset + q + 1) if seen == 0 else (offset, offset + seen)
        n_found = find_negative(signs[q], width, 0, left_out, found)
        size = sizes[left_points[q]]
        for start in range(0, n_found, _AT_ONCE):
            some_squares(
                left[q],
                right,
                found[start],
                found[start + 1],
                found[start + 2],
                found[start + 3],
                squares,
            )
            for at in range(start, min(start + _AT_ONCE, n_found)):
                other = right_points[found[at]]
                distance = single_pair(
                    method, of_square(squares[at - start], form), size, sizes[other]
                )
                farthest = reach.distance[owner]
                if distance <= farthest:
                    offer(lists, reach, n_neighbors, owner, other, distance)
                    if reach.distance[owner] != farthest:
                        operands[owner, last] = -_threshold(
                            reach.distance[owner], form, scale, share, norms[owner]
                        )


@jit
def find_negative(
    signs: NDArray[np.int64],
    width: int,
    first: int,
    left_out: tuple[int, int],
    found: NDArray[np.int64],
) -> int:
    """Find the negative ones of a row of products; return how many were put into `found`.

    `signs` and `width` are as in `offer_negative`; places are counted from `first`, and those from
    ``left_out[0]`` to before ``left_out[1]`` are not wanted. Behind what was found a few places
    more are filled with `first`, for those who look at four at a time.
    """
    products = signs.view(np.int32)
    n_found = 0
    for word in range(0, len(signs), _WORDS):
        some = signs[word : word + _WORDS]
        together = 0
        for j in range(_WORDS):
            together |= some[j]
        if together & _SIGNS == 0:
            continue
        for few in range(word, word + _WORDS, _FEW_WORDS):
            together = 0
            for j in range(few, few + _FEW_WORDS):
                together |= signs[j]
            if together & _SIGNS == 0:
                continue
            for j in range(2 * few, min(2 * (few + _FEW_WORDS), width)):
                place = first + j
                found[n_found] = place
                n_found += (products[j] < 0) & ((place < left_out[0]) | (place >= left_out[1]))
    for at in range(n_found, n_found + _AT_ONCE - 1):
        found[at] = first
    return n_found


@jit
def _threshold(distance: float, form: int, scale: float, share: float, norm: float) -> float:
    """Return T for a list that reaches as far as a distance."""
    if form == ROOT:
        root = distance
    elif form == HALF:
        root = np.sqrt(2.0 * distance)
    else:
        root = np.sqrt(distance)
    root *= scale
    return min(_EVERYTHING, float((1.0 + share) * (root * root) - norm + _TINY))

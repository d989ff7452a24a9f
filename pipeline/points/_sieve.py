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
from clustergrid.pipeline.hierarchy._panels import squared_distance
from clustergrid.pipeline.points._squares import HALF, ROOT, of_square

__all__ = ["fill_operands", "offer_negative", "share_of_roundings"]

_TOGETHER = 64
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
    start: int,
    stop: int,
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
    rows, start, stop
        ``(n, k)`` points, and which of them.
    centre, scale
        Subtracted first; and a power of two that is multiplied with.
    share
        As of `share_of_roundings`.
    is_left
        Whether they are at the left of a product, with lists that take everything.
    operands
        ``(at least stop - start, k + 2)``.
    norms
        Gets ``(1 - share) |a|^2`` of each.
    """
    k = rows.shape[1]
    factor = np.float32(-2.0 if is_left else 1.0)
    for i in range(start, stop):
        operand = operands[i - start]
        norm = 0.0
        for f in range(k):
            value = (rows[i, f] - centre[f]) * scale
            norm += value * value
            operand[f] = factor * np.float32(value)
        norm *= 1.0 - share
        norms[i - start] = norm
        operand[k] = np.float32(1.0 if is_left else norm)
        operand[k + 1] = np.float32(-_EVERYTHING if is_left else 1.0)


@jit
def offer_negative(
    signs: NDArray[np.int32],
    operands: NDArray[np.float32],
    norms: NDArray[np.float64],
    scale: float,
    share: float,
    rows: NDArray[np.float64],
    points: NDArray[np.int64],
    sizes: NDArray[np.float64],
    first_row: int,
    first_list: int,
    first_column: int,
    form: int,
    method: int,
    n_neighbors: int,
    lists: Neighbors,
    reach: Reach,
) -> None:
    """Compute the distances of pairs whose product is negative, and offer them to the lists.

    Parameters
    ----------
    signs
        ``(q, w)``: the products, as integers.
    operands, norms
        Of the rows at the left, whose thresholds are kept up to date.
    scale, share
        As of `fill_operands`.
    rows, points, sizes
        All rows, ``(n, k)``; which point each is; the size of every point.
    first_row, first_list, first_column
        The first row at the left, its list, and the first row at the right.
    form, method, n_neighbors
        How distances follow from squares, and for what: ward's depend on sizes; K.
    lists, reach
        The lists of the rows at the left, and what these take.
    """
    n_rows, width = signs.shape
    last = operands.shape[1] - 1
    for q in range(n_rows):
        row = signs[q]
        place = first_row + q
        owner = first_list + q
        one = rows[place]
        point = points[place]
        for left in range(0, width, _TOGETHER):
            right = min(left + _TOGETHER, width)
            any_sign = np.int32(0)
            for j in range(left, right):
                # Else Numba would make it a longer integer.
                any_sign = np.int32(any_sign | row[j])
            if any_sign >= 0:
                continue
            for j in range(left, right):
                if row[j] >= 0 or first_column + j == place:
                    continue
                other = points[first_column + j]
                square = squared_distance(one, rows[first_column + j])
                distance = single_pair(method, of_square(square, form), sizes[point], sizes[other])
                farthest = reach.distance[owner]
                if distance <= farthest:
                    offer(lists, reach, n_neighbors, owner, other, distance)
                    if reach.distance[owner] != farthest:
                        operands[owner, last] = -_threshold(
                            reach.distance[owner], form, scale, share, norms[owner]
                        )


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

"""Kernel: distances of many features from products, reduced over clusters.

``|a - b|^2 = |a|^2 + |b|^2 - 2 a . b`` about a centre that is near. A square that is small beside
the two others has lost digits to the subtraction: it is computed from differences instead.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clustergrid.pipeline._jit import jit
from clustergrid.pipeline.points._squares import LANES, ROOT, of_square

__all__ = ["ProductSide", "add_products"]

_NEAR = 1.0 / 32
"""Of the sum of two squared lengths: a smaller square is computed from differences.

Roundings of the others are some 32 times those of the lengths, 1e-14 of the square.
"""


class ProductSide(NamedTuple):
    """Points at the left of products, about their mean.

    Attributes
    ----------
    rows, places
        Rows, ``(any, k)``, and which of them the points are, ``(l,)``.
    centre
        ``(k,)``.
    centred
        The points about the centre, ``(l, k)``; None: they are put there whenever they are wanted.
    lengths
        Their squared lengths, ``(l,)``.
    """

    rows: NDArray[Any]
    places: NDArray[np.int64]
    centre: NDArray[np.float64]
    centred: NDArray[np.float64] | None
    lengths: NDArray[np.float64]

    @classmethod
    def of(
        cls, rows: NDArray[Any], places: NDArray[np.int64], *, keeps: bool = True
    ) -> ProductSide:
        """Put some rows about their mean, and keep them there or not."""
        centre = rows[places].mean(axis=0, dtype=np.float64)
        centred, lengths = _about(rows, places, centre)
        return cls(rows, places, centre, centred if keeps else None, lengths)

    def squares_to(
        self, rows: NDArray[Any], places: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], int]:
        """Make the squared distances to others.

        Returns
        -------
        squares
            ``(r, l)``; those that lost digits to the subtraction are -1.
        n_near
            How many did.
        """
        centred, lengths = _about(rows, places, self.centre)
        own = self.centred
        if own is None:
            own, _ = _about(self.rows, self.places, self.centre)
        squares = np.matmul(centred, own.T)
        return squares, _make_squares(squares, self.lengths, lengths)


def _about(
    rows: NDArray[Any], places: NDArray[np.int64], centre: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    centred, lengths = np.empty((len(places), len(centre))), np.empty(len(places))
    _fill_centred(rows, places, centre, centred, lengths)
    return centred, lengths


@jit
def _fill_centred(
    rows: NDArray[Any],
    places: NDArray[np.int64],
    centre: NDArray[np.float64],
    centred: NDArray[np.float64],
    lengths: NDArray[np.float64],
) -> None:
    """Gather rows about a centre, and their squared lengths."""
    for i in range(len(places)):
        row, own = rows[places[i]], centred[i]
        total = 0.0
        for f in range(len(centre)):
            value = row[f] - centre[f]
            own[f] = value
            total += value * value
        lengths[i] = total


@jit
def _make_squares(
    products: NDArray[np.float64],
    left_lengths: NDArray[np.float64],
    right_lengths: NDArray[np.float64],
) -> int:
    """Make squared distances of products, in place; count those that lost digits, which are -1."""
    n_near = 0
    for j in range(len(right_lengths)):
        own = products[j]
        of_right = right_lengths[j]
        for i in range(len(left_lengths)):
            both = left_lengths[i] + of_right
            square = both - 2.0 * own[i]
            # Not a number, it is computed again, too.
            is_near = not square >= _NEAR * both
            own[i] = -1.0 if is_near else square
            n_near += is_near
    return n_near


@jit
def add_products(
    squares: NDArray[np.float64],
    left: NDArray[Any],
    left_places: NDArray[np.int64],
    left_weights: NDArray[np.float64],
    left_units: NDArray[np.int64],
    right: NDArray[Any],
    right_places: NDArray[np.int64],
    right_weights: NDArray[np.float64],
    right_units: NDArray[np.int64],
    form: int,
    totals: NDArray[np.float64],
) -> None:
    """Add weighted distances to totals of clusters, in the order of `add_squares`.

    Parameters
    ----------
    squares
        As `ProductSide.squares_to` makes them; those that are negative are computed here.
    left, left_places, left_weights, left_units
        Rows, ``(any, k)``; which of them are at the left, ``(l,)``; the weight of each, and the
        row of its total.
    right, right_places, right_weights, right_units
        The same at the right, ``(r,)``; columns of totals do not descend.
    form
        How distances follow from squares.
    totals
        ``(rows, columns)``.
    """
    n_left, n_right = len(left_places), len(right_places)
    for j in range(n_right):
        for i in range(n_left):
            if squares[j, i] < 0.0:
                squares[j, i] = _square(left[left_places[i]], right[right_places[j]])
    sums = np.empty((totals.shape[1], LANES))
    for first in range(0, n_left, LANES):
        n_lanes = min(LANES, n_left - first)
        sums[:] = 0.0
        for j in range(n_right):
            own = squares[j, first : first + n_lanes]
            _add_lanes(own, right_weights[j], form, sums[right_units[j]])
        for lane in range(n_lanes):
            to = totals[left_units[first + lane]]
            weight = left_weights[first + lane]
            for unit in range(len(to)):
                to[unit] += weight * sums[unit, lane]


@jit
def _add_lanes(
    squares: NDArray[np.float64], weight: float, form: int, sums: NDArray[np.float64]
) -> None:
    if form == ROOT:
        for lane in range(len(squares)):
            sums[lane] += weight * np.sqrt(squares[lane])
    else:
        for lane in range(len(squares)):
            sums[lane] += weight * of_square(squares[lane], form)


@jit
def _square(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Add squared differences in the order of features, as everybody does who compares rows."""
    total = 0.0
    for f in range(len(a)):
        difference = np.float64(a[f]) - np.float64(b[f])
        total += difference * difference
    return total

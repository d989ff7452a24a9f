"""Kernel: lists of near clusters, from products of means in single precision.

A product of float32 costs a tenth of an exact distance, and its error has a bound; whatever may be
among the K nearest after all is computed exactly, in float64. So lists are those that exact
distances make, to the bit, whatever the products are.

With ``u = 2^-24`` and means about a centre, values and the sums of ``k`` products are rounded so
that, in any order of summation (Higham 2002, section 3.1),

    | |p|^2 + |x|^2 - 2 p.x - |p - x|^2 |  <=  (k + 8) u (|p|^2 + |x|^2)

and twice eight leaves room for what is rounded when it is compared. A cluster B can be within T of
A if, of an average distance, ``|p_A - p_B|^2 <= (T - c_A - c_B) / f``, and of ward's
``|p_A - p_B|^2 <= T^2 (1 / |A| + 1 / |B|) / (2 f^2)``. Both are

    norms_B - 2 p_A.p_B - slope_A inverses_B  <=  most_A

with ``norms`` that hold ``|p|^2`` less its error, and ``c``.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clustergrid.pipeline._jit import jit
from clustergrid.pipeline.hierarchy._neighbors import Neighbors, Reach, offer
from clustergrid.pipeline.hierarchy._summaries import Summaries, summary_distance

__all__ = ["Sieve", "centre_of", "fill_sieve", "open_sieve", "scan_products"]

_U = 2.0**-24

_UNDERFLOW = 1e-30
"""More than all products that float32 cannot hold, of means within one of the centre."""

_LANES = 64

_SAMPLED = 1024
"""Rows of which the centre is the median."""

_LARGEST_EXPONENT = 500
"""Of a scale, whose square is a double."""


class Sieve(NamedTuple):
    """The means of m clusters in single precision, about a centre and scaled.

    Parameters
    ----------
    means
        ``(m, k) float32``.
    norms
        ``(m,) float32``: their squared lengths, less what all roundings of a product may add, and
        what clusters are apart within.
    inverses
        ``(m,) float32``: one over the clusters' sizes, for ward; else zero.
    scale
        Power of two that means about the centre were multiplied by.
    """

    means: NDArray[np.float32]
    norms: NDArray[np.float32]
    inverses: NDArray[np.float32]
    scale: float


def centre_of(summaries: Summaries) -> NDArray[np.float64]:
    """Return a centre, ``(k,)``, that most rows are near to: a few far ones do not move it."""
    rows = summaries.rows
    step = max(1, len(rows) // _SAMPLED)
    return np.asarray(np.median(rows[::step].astype(np.float64), axis=0))


def open_sieve(summaries: Summaries, centre: NDArray[np.float64], m: int) -> Sieve:
    """Return room for the means of `m` clusters, scaled so that float32 holds any of them."""
    k = len(centre)
    lowest, highest = summaries.rows.min(axis=0), summaries.rows.max(axis=0)
    farthest = np.maximum(highest - centre, centre - lowest).max(initial=0.0)
    exponent = 0 if farthest == 0.0 else -int(np.frexp(farthest)[1])
    return Sieve(
        means=np.empty((m, k), np.float32),
        norms=np.empty(m, np.float32),
        inverses=np.zeros(m, np.float32),
        scale=float(np.ldexp(1.0, min(exponent, _LARGEST_EXPONENT))),
    )


@jit
def fill_sieve(
    sieve: Sieve,
    summaries: Summaries,
    centre: NDArray[np.float64],
    slots: NDArray[np.int64],
    start: int,
    stop: int,
) -> None:
    """Put the clusters `start` to `stop` of a list of slots into their places."""
    k = len(centre)
    scale = sieve.scale
    scale_of_squares = scale * scale
    for place in range(start, stop):
        slot = slots[place]
        row, offset = summaries.rows[slot], summaries.offsets[slot]
        squares = 0.0
        roundings = 0.0
        for f in range(k):
            from_centre = (np.float64(row[f]) - centre[f]) * scale
            moved = offset[f] * scale
            value = from_centre + moved
            sieve.means[place, f] = np.float32(value)
            squares += value * value
            roundings += from_centre * from_centre + moved * moved
        norm = squares * (1.0 - (k + 18) * _U) - 1e-20 * roundings
        if summaries.is_ward:
            sieve.inverses[place] = np.float32(1.0 / summaries.sizes[slot])
        else:
            apart = summaries.scalars[slot] / summaries.factor * scale_of_squares
            norm += apart * (1.0 - 8.0 * _U)
        sieve.norms[place] = np.float32(norm)


@jit
def _most(sieve: Sieve, summaries: Summaries, place: int, reach: float) -> tuple[float, float]:
    """Return ``most`` and ``slope`` for the distances up to `reach` of the cluster in a place."""
    if summaries.is_ward:
        ratio = reach / summaries.factor * sieve.scale
        slope = 0.5 * ratio * ratio * (1.0 + 8.0 * _U)
        most = slope * sieve.inverses[place]
    else:
        slope = 0.0
        most = reach / summaries.factor * sieve.scale * sieve.scale * (1.0 + 8.0 * _U)
    return most - sieve.norms[place] + _UNDERFLOW, slope


@jit
def scan_products(
    products: NDArray[np.float32],
    first_row: int,
    first_column: int,
    sieve: Sieve,
    summaries: Summaries,
    places: NDArray[np.int64],
    slots: NDArray[np.int64],
    n_neighbors: int,
    lists: Neighbors,
    reach: Reach,
) -> None:
    """Take what may be near into the lists, of products with the means of consecutive clusters.

    Parameters
    ----------
    products
        ``(rows, columns)``: of the means in `places`, from number `first_row` on, with those from
        place `first_column` on.
    first_row, first_column
        As said.
    sieve, summaries
        All clusters.
    places
        The owners of the lists, as places of the sieve.
    slots
        The slot of each place.
    n_neighbors
        K.
    lists, reach
        One a row of products, and what they take; ids are places.
    """
    n_rows, width = products.shape
    norms = sieve.norms[first_column : first_column + width]
    inverses = sieve.inverses[first_column : first_column + width]
    two = np.float32(2.0)
    for r in range(n_rows):
        owner = places[first_row + r]
        most_double, slope_double = _most(sieve, summaries, owner, reach.distance[r])
        most = np.float32(most_double)
        slope = np.float32(slope_double)
        row = products[r]
        for left in range(0, width, _LANES):
            piece = row[left : left + _LANES]
            near = norms[left : left + _LANES]
            inverse = inverses[left : left + _LANES]
            within = 0
            for j in range(len(piece)):
                within += 1 if near[j] - two * piece[j] - slope * inverse[j] <= most else 0
            if within == 0:
                continue
            for j in range(len(piece)):
                if near[j] - two * piece[j] - slope * inverse[j] <= most:
                    other = first_column + left + j
                    if other == owner:
                        continue
                    before = reach.distance[r]
                    distance = summary_distance(summaries, slots[owner], slots[other])
                    if distance > before:
                        continue
                    offer(lists, reach, n_neighbors, r, other, distance)
                    if reach.distance[r] != before:
                        most_double, slope_double = _most(
                            sieve, summaries, owner, reach.distance[r]
                        )
                        most = np.float32(most_double)
                        slope = np.float32(slope_double)

"""Kernel: the nearest clusters of some clusters, from lower bounds in single precision.

With one more feature each, a product of two rows is a bound: for points ``a`` and ``b``, from a
common centre,

    (-2 a, 1, (1 - s) |a|^2) . (b, (1 - s) |b|^2, 1)  <=  |a - b|^2  + tiny

whatever single precision rounds, with ``u = 2^-24``: rounding the k values of ``a`` and ``b``
changes ``2 a.b`` by at most ``2.01 u (|a|^2 + |b|^2)``. A sum of m = k + 2 products, in any order,
is within ``1.01 m u`` times the sum of their magnitudes (Higham 2002, section 3.1, for m below
10^5), which is at most ``2.01 (|a|^2 + |b|^2)``. Both norms are rounded once. All of that is less
than

    s (|a|^2 + |b|^2),        s = (2.1 k + 24) u,

which is left out of the norms, with room for roundings in double precision. The rows are scaled to
lengths of at most two, so nothing overflows.

Distances of clusters are sums of positive terms with positive weights, or extremes: made of bounds
they are bounds, and c roundings change such a sum by less than the share ``1.01 c u``. For each
owner somewhat more than K clusters with the least bounds are kept, and compared exactly: if the
K-th distance among these is less than the greatest bound, no other cluster is as near.

Most clusters are seen to be too far without their points. A norm is convex, so a weighted mean of
the distances between the members of two clusters, and so their greatest, is no less than that
between their weighted means (Jensen's inequality), of which products are bounds, too.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clustergrid.pipeline._jit import jit
from clustergrid.pipeline.hierarchy._clusters import (
    COMPLETE,
    SINGLE,
    Clusters,
    total_distance,
)
from clustergrid.pipeline.hierarchy._neighbors import Neighbors, Reach, keep_nearest, offer
from clustergrid.pipeline.points._squares import HALF, ROOT, of_square

__all__ = [
    "add_bounds",
    "at_left",
    "bound_operands",
    "list_within",
    "offer_bounds",
    "reach_of_means",
    "share_of_roundings",
    "share_of_sums",
    "weigh_means",
]

_ROUNDED = 2.0**-50
"""Of lengths of at most two: more than a term changes a mean, and than products that underflow."""


def share_of_roundings(n_features: int) -> float:
    """Return s: what roundings change is less than this share of the squares.

    Examples
    --------
    >>> share_of_roundings(34) < 1e-5
    True
    """
    return (2.1 * n_features + 24.0) * 2.0**-24


@jit
def bound_operands(
    rows: NDArray[np.float64],
    places: NDArray[np.int64],
    centre: NDArray[np.float64],
    scale: float,
    share: float,
    operands: NDArray[np.float32],
) -> None:
    """Make operands of some rows, ``(b, (1 - s) |b|^2, 1)``.

    Parameters
    ----------
    rows, places
        ``(n, k)`` points, and which of them.
    centre, scale
        Subtracted first; and a power of two that is multiplied with.
    share
        As of `share_of_roundings`.
    operands
        ``(at least r, k + 2)``.
    """
    k = rows.shape[1]
    for i in range(len(places)):
        row = rows[places[i]]
        operand = operands[i]
        norm = 0.0
        for f in range(k):
            value = (row[f] - centre[f]) * scale
            norm += value * value
            operand[f] = np.float32(value)
        operand[k] = np.float32(norm * (1.0 - share))
        operand[k + 1] = np.float32(1.0)


def at_left(operands: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the operands of the same rows at the left of a product.

    Examples
    --------
    >>> at_left(np.array([[3.0, 9.0, 1.0]], np.float32)).tolist()
    [[-6.0, 1.0, 9.0]]
    """
    left = -2 * operands
    left[:, -2:] = operands[:, :-3:-1]
    return left


@jit
def weigh_means(
    rows: NDArray[np.float64],
    places: NDArray[np.int64],
    weights: NDArray[np.float64],
    starts: NDArray[np.int64],
    centre: NDArray[np.float64],
    scale: float,
    means: NDArray[np.float64],
) -> None:
    """Make the weighted means of clusters, from a centre, scaled.

    Parameters
    ----------
    rows, places, weights, starts
        ``(n, k)``; the rows of the members, cluster by cluster; the weight of each; where each
        cluster begins among them, and the last one ends.
    centre, scale
        As of `bound_operands`.
    means
        ``(m, k)``.
    """
    for cluster in range(len(means)):
        mean = means[cluster]
        mean[:] = 0.0
        total = 0.0
        for member in range(starts[cluster], starts[cluster + 1]):
            weight = weights[member]
            total += weight
            row = rows[places[member]]
            for f in range(len(mean)):
                mean[f] += weight * ((row[f] - centre[f]) * scale)
        for f in range(len(mean)):
            mean[f] /= total


def share_of_sums(n_members: int) -> float:
    """Return more than roundings change of both sums of a distance, of its terms and weights.

    Parameters
    ----------
    n_members
        Of two clusters, together.
    """
    return min(1.0, 1.01 * 2.0**-24 * (n_members + 16))


def reach_of_means(
    reach: NDArray[np.float64], *, scale: float, n_members: int, form: int
) -> NDArray[np.float32]:
    """Return what products of means are more than, of clusters farther away than lists reach.

    Parameters
    ----------
    reach
        ``(o,)``: distances, or lower bounds of them, which may be somewhat less than zero.
    scale
        What rows were multiplied with.
    n_members
        Of two clusters together, at most.
    form
        How distances follow from squares.

    Examples
    --------
    >>> from clustergrid.pipeline.points._squares import PLAIN
    >>> reach = np.array([9.0, np.inf, -1e-30])
    >>> far = reach_of_means(reach, scale=0.5, n_members=2, form=PLAIN)
    >>> bool(2.25 <= far[0] < 2.2501), float(far[1]), bool(0.0 <= far[2] < 1e-24)
    (True, inf, True)
    """
    with np.errstate(over="ignore"):
        lengths = np.maximum(reach, 0.0) / max(1.0 - share_of_sums(n_members), 1e-300)
        if form != ROOT:
            lengths = np.sqrt(2.0 * lengths if form == HALF else lengths)
        lengths = lengths * scale + (n_members + 16) * _ROUNDED
        return np.asarray(np.square(lengths) * (1.0 + 1e-6), np.float32)


@jit
def add_bounds(
    products: NDArray[np.float32],
    weights: NDArray[np.float64],
    units: NDArray[np.int64],
    form: int,
    method: int,
    sums: NDArray[np.float32],
) -> None:
    """Take lower bounds of the squares of some points, a row each, into the sums of clusters.

    Parameters
    ----------
    products
        ``(r, l)``.
    weights, units
        Of each of the r points: its weight, and the row of its sum.
    form, method
        How distances follow from squares, and how they are reduced.
    sums
        ``(clusters, at least l)``: zeros at first, or the greatest numbers for single.
    """
    width = products.shape[1]
    zero = np.float32(0.0)
    half = np.float32(0.5)
    for j in range(len(products)):
        row = products[j]
        own = sums[units[j]]
        weight = np.float32(weights[j])
        if method == COMPLETE:
            for lane in range(width):
                own[lane] = row[lane] if row[lane] > own[lane] else own[lane]
        elif method == SINGLE:
            for lane in range(width):
                own[lane] = row[lane] if row[lane] < own[lane] else own[lane]
        elif form == ROOT:
            for lane in range(width):
                own[lane] += weight * np.sqrt(row[lane] if row[lane] > zero else zero)
        else:
            # Of unit rows half of a square is a distance, or a little more than the 2 it is cut to.
            factor = weight * half if form == HALF else weight
            for lane in range(width):
                own[lane] += factor * (row[lane] if row[lane] > zero else zero)


@jit
def offer_bounds(
    sums: NDArray[np.float32],
    others: NDArray[np.int64],
    members: NDArray[np.int64],
    weights: NDArray[np.float64],
    owners: NDArray[np.int64],
    scale: float,
    share: float,
    clusters: Clusters,
    form: int,
    method: int,
    n_kept: int,
    lists: Neighbors,
    reach: Reach,
) -> None:
    """Offer lower bounds of the distances of owners to some clusters to lists of the least.

    Parameters
    ----------
    sums
        ``(l, c)``: what `add_bounds` made for some clusters, a point a row.
    others
        ``(c,)``: the places of these.
    members, weights, owners
        Where the points of each owner begin among the l, ``(o + 1,)``; the weight of each point;
        the places of the owners.
    scale, share
        What rows were multiplied with; more than the share that roundings change.
    clusters, form, method
        How distances are made.
    n_kept, lists, reach
        How many bounds are kept for each owner, and those so far.
    """
    # Distances that are squares are scaled twice.
    unscale = 1.0 / scale if form == ROOT else 1.0 / (scale * scale)
    # More than all products that underflow, or their root.
    slack = unscale * (1e-15 if form == ROOT else 1e-30)
    totals = np.empty(sums.shape[1], np.float32)
    for o in range(len(owners)):
        owner = owners[o]
        totals[:] = sums[members[o]]
        if method not in (COMPLETE, SINGLE):
            totals[:] = np.float32(0.0)
        for lane in range(members[o], members[o + 1]):
            own = sums[lane]
            if method == COMPLETE:
                for unit in range(len(totals)):
                    totals[unit] = own[unit] if own[unit] > totals[unit] else totals[unit]
            elif method == SINGLE:
                for unit in range(len(totals)):
                    totals[unit] = own[unit] if own[unit] < totals[unit] else totals[unit]
            else:
                weight = np.float32(weights[lane])
                for unit in range(len(totals)):
                    totals[unit] += weight * own[unit]
        for unit in range(len(totals)):
            bound = float(totals[unit])
            if method in (COMPLETE, SINGLE):
                bound = of_square(max(bound, 0.0), form)
            else:
                bound /= clusters.masses[owner] * clusters.masses[others[unit]]
            bound = bound * unscale * (1.0 - share) - slack
            if bound <= reach.distance[o] and others[unit] != owner:
                offer(lists, reach, n_kept, o, others[unit], bound)


@jit
def list_within(
    bounds: Neighbors,
    n_kept: int,
    totals: NDArray[np.float64],
    owners: NDArray[np.int64],
    clusters: Clusters,
    slots: NDArray[np.int64],
    form: int,
    method: int,
    n_neighbors: int,
    lists: Neighbors,
    is_sure: NDArray[np.bool_],
) -> None:
    """List those of the clusters with the least bounds that are nearest.

    Parameters
    ----------
    bounds, n_kept
        Lists of the clusters with the least bounds, closed, and how many are kept.
    totals
        One a bound, list after list: the distances of all members, reduced.
    owners, clusters, slots
        The places of the owners; all clusters, and their slots.
    form, method, n_neighbors
        How distances are made; K.
    lists
        Where the K nearest go, by their slots.
    is_sure
        ``(o,)``: whether there is no other that may be as near as the K-th.
    """
    ids = np.empty(n_kept, np.int32)
    distances = np.empty(n_kept)
    exact = np.ones(n_kept, np.bool_)
    pair = 0
    for o in range(len(owners)):
        count = bounds.counts[o]
        for entry in range(count):
            cluster = bounds.ids[o, entry]
            total = totals[pair]
            pair += 1
            if method in (COMPLETE, SINGLE):
                total = of_square(total, form)
            ids[entry] = slots[cluster]
            distances[entry] = total_distance(clusters, method, owners[o], cluster, total)
        kept = min(count, n_neighbors)
        if count > kept:
            keep_nearest(ids, distances, exact, count, kept)
        lists.ids[o, :kept] = ids[:kept]
        lists.bounds[o, :kept] = distances[:kept]
        lists.counts[o] = kept
        # What is not listed is no nearer than the certificate, which is infinite if nothing is not.
        is_sure[o] = distances[:kept].max() < bounds.tau[o]

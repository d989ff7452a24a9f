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
    "bound_operands",
    "list_within",
    "offer_bounds",
    "share_of_roundings",
]


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
    is_left: bool,
    operands: NDArray[np.float32],
) -> None:
    """Make operands of some rows.

    Parameters
    ----------
    rows, places
        ``(n, k)`` points, and which of them.
    centre, scale
        Subtracted first; and a power of two that is multiplied with.
    share
        As of `share_of_roundings`.
    is_left
        Whether they are at the left of a product.
    operands
        ``(at least r, k + 2)``.
    """
    k = rows.shape[1]
    factor = np.float32(-2.0 if is_left else 1.0)
    for i in range(len(places)):
        row = rows[places[i]]
        operand = operands[i]
        norm = 0.0
        for f in range(k):
            value = (row[f] - centre[f]) * scale
            norm += value * value
            operand[f] = factor * np.float32(value)
        bound = np.float32(norm * (1.0 - share))
        operand[k] = np.float32(1.0) if is_left else bound
        operand[k + 1] = bound if is_left else np.float32(1.0)


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
    first: int,
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
        ``(l, c)``: what `add_bounds` made for the clusters from `first` on, a point a row.
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
                bound /= clusters.masses[owner] * clusters.masses[first + unit]
            bound = bound * unscale * (1.0 - share) - slack
            if bound <= reach.distance[o] and first + unit != owner:
                offer(lists, reach, n_kept, o, first + unit, bound)


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
        # What has no bound here has none below the certificate, which is infinite if there is none.
        is_sure[o] = distances[:kept].max() < bounds.tau[o]

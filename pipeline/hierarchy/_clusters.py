"""Kernel: clusters as members, weights and a spread, and how distances between them combine.

With the weights ``w`` of the members, the distance between two clusters follows from those between
their members, in whichever order these were merged:

==================  ==========================================================
single, complete    least, greatest over the pairs
average, weighted   ``w_A' D w_B``
ward                ``sqrt(2 g |A| |B| / (|A| + |B|))``,
                    ``g = w_A' D^2 w_B - v_A - v_B`` (``D^2`` elementwise)
==================  ==========================================================

The spread ``v_A = 1/2 w_A' D^2 w_A`` is kept with each cluster. For `average` and `ward` the
weights kept here are numbers of observations, which are added exactly, and the division by the
clusters' sizes comes last.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clustergrid.pipeline._jit import borrowing, inline, jit
from clustergrid.pipeline.hierarchy._codes import AVERAGE, CODES, COMPLETE, SINGLE, WARD, WEIGHTED

__all__ = [
    "AVERAGE",
    "CODES",
    "COMPLETE",
    "SINGLE",
    "WARD",
    "WEIGHTED",
    "Clusters",
    "add_pair",
    "combine",
    "costs_of",
    "join",
    "labels_of",
    "nothing_yet",
    "open_clusters",
    "single_pair",
    "total_distance",
    "ward_distance",
]


class Clusters(NamedTuple):
    """Clusters of n points; each has the slot of its lowest member.

    Parameters
    ----------
    live
        ``(n,) bool``: whether there is a cluster in a slot.
    sizes
        ``(n,) float64``: observations in each; a point may stand for several identical ones.
    masses
        ``(n,) float64``: what the weights of a cluster's members add up to.
    spreads
        ``(n,) float64``: half the weighted mean of the squared distances within; ward only.
    weights
        ``(n,) float64``: of each point in its cluster.
    next_member
        ``(n,) int64``: chains a cluster's members, from its slot on; -1 after the last.
    last_member
        ``(n,) int64``: the end of each chain.
    """

    live: NDArray[np.bool_]
    sizes: NDArray[np.float64]
    masses: NDArray[np.float64]
    spreads: NDArray[np.float64]
    weights: NDArray[np.float64]
    next_member: NDArray[np.int64]
    last_member: NDArray[np.int64]


def open_clusters(sizes: NDArray[np.int64], method: str) -> Clusters:
    """Return clusters of one point each, which stand for `sizes` identical observations."""
    n = len(sizes)
    weights = np.ones(n) if method == "weighted" else sizes.astype(np.float64)
    return Clusters(
        live=np.ones(n, np.bool_),
        sizes=sizes.astype(np.float64),
        masses=weights.copy(),
        spreads=np.zeros(n),
        weights=weights,
        next_member=np.full(n, -1),
        last_member=np.arange(n),
    )


@jit
def labels_of(clusters: Clusters) -> NDArray[np.int64]:
    """Return the slot of each point's cluster, ``(n,)``."""
    n = len(clusters.live)
    labels = np.empty(n, np.int64)
    for slot in range(n):
        if clusters.live[slot]:
            member = slot
            while member >= 0:
                labels[member] = slot
                member = clusters.next_member[member]
    return labels


def costs_of(clusters: Clusters, *, by_members: bool) -> NDArray[np.int64]:
    """Return what a distance of the cluster in each slot costs, ``(n,)``: its points, or one."""
    n = len(clusters.live)
    if not by_members:
        return np.ones(n, np.int64)
    return np.bincount(labels_of(clusters), minlength=n)


@jit
def combine(
    method: int, to_a: float, to_b: float, height: float, size_a: float, size_b: float, size: float
) -> float:
    """Return the distance of a cluster of `size` to the union of two that are `height` apart.

    The Lance-Williams formulas. They grow with `to_a` and `to_b`: of lower bounds they make a
    lower bound.
    """
    if method == COMPLETE:
        return max(to_a, to_b)
    if method == SINGLE:
        return min(to_a, to_b)
    if method == AVERAGE:
        return (size_a * to_a + size_b * to_b) / (size_a + size_b)
    if method == WEIGHTED:
        return 0.5 * (to_a + to_b)
    total = size_a + size_b + size
    squared = (
        (size + size_a) / total * to_a * to_a
        + (size + size_b) / total * to_b * to_b
        - size / total * height * height
    )
    return float(np.sqrt(max(squared, 0.0)))


@borrowing
def join(clusters: Clusters, method: int, a: int, b: int, height: float) -> None:
    """Merge the cluster of slot `b` into that of slot `a`, below it, at their distance."""
    size_a = clusters.sizes[a]
    size_b = clusters.sizes[b]
    both = size_a + size_b
    if method == WARD:
        squared = height * height * both / (2.0 * size_a * size_b)
        share = size_a / both
        clusters.spreads[a] = (
            share * clusters.spreads[a]
            + (1.0 - share) * clusters.spreads[b]
            + share * (1.0 - share) * squared
        )
    if method == WEIGHTED:
        for slot in (a, b):
            member = slot
            while member >= 0:
                clusters.weights[member] *= 0.5
                member = clusters.next_member[member]
    else:
        clusters.masses[a] += clusters.masses[b]
    clusters.sizes[a] = both
    clusters.next_member[clusters.last_member[a]] = b
    clusters.last_member[a] = clusters.last_member[b]
    clusters.live[b] = False


@jit
def nothing_yet(method: int) -> float:
    """Return what a reduction over pairs of members starts from."""
    if method == SINGLE:
        return float(np.inf)
    if method == COMPLETE:
        return float(-np.inf)
    return 0.0


@jit
def add_pair(method: int, total: float, distance: float, weight: float) -> float:
    """Take the distance of one more pair of members into a reduction; `weight` is of the pair."""
    if method == COMPLETE:
        return max(total, distance)
    if method == SINGLE:
        return min(total, distance)
    if method == WARD:
        return total + weight * (distance * distance)
    return total + weight * distance


@borrowing
def total_distance(clusters: Clusters, method: int, a: int, b: int, total: float) -> float:
    """Return the distance of two clusters from the reduction over their pairs of members."""
    if method in (SINGLE, COMPLETE):
        return total
    mean = float(total / (clusters.masses[a] * clusters.masses[b]))
    if method != WARD:
        return mean
    return ward_distance(
        mean, clusters.spreads[a], clusters.spreads[b], clusters.sizes[a], clusters.sizes[b]
    )


@inline
def ward_distance(
    mean: float, spread_a: float, spread_b: float, size_a: float, size_b: float
) -> float:
    """Return ward's distance of two clusters from the mean squared one of their members."""
    squared = max(mean - spread_a - spread_b, 0.0)
    # Not `/`, whose check for zero would keep loops from being vectorized.
    share = np.divide(size_a * size_b, size_a + size_b)
    return float(np.sqrt(2.0 * squared * share))


@jit
def single_pair(method: int, distance: float, size_a: float, size_b: float) -> float:
    """Return the distance of two points that stand for so many identical observations each."""
    if method == WARD and (size_a != 1.0 or size_b != 1.0):
        return float(distance * np.sqrt(2.0 * size_a * size_b / (size_a + size_b)))
    return float(distance)

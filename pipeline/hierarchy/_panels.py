"""Kernel helper: exact nearest neighbours among points that lie in panels of 64.

A panel holds 64 points feature by feature, so that their squared distances from a query are
computed side by side, each as one sum over the features in their order: the same bits whoever
asks, and whichever of two points is the query.

Lists are of the `length` nearest, in the order of (squared distance, label). What is not listed
comes after the last entry in that order.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clustergrid.pipeline._jit import jit

__all__ = ["LANES", "fill_panels", "insert", "join_lists", "scan_panels", "squared_distance"]

LANES = 64
"""Points of a panel."""

_FEATURES_AT_ONCE = 16
"""After which a panel is left if all of it is farther than what is listed."""


@jit
def fill_panels(
    rows: NDArray[np.float64], panels: NDArray[np.float64], start: int, stop: int
) -> None:
    """Put points into panels `start` to `stop`; places without a point are at infinity."""
    n, k = rows.shape
    for p in range(start, stop):
        panel = panels[p]
        for lane in range(LANES):
            i = p * LANES + lane
            for f in range(k):
                panel[f, lane] = rows[i, f] if i < n else np.inf


@jit
def squared_distance(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Return the squared distance of two points, with the bits that panels give it."""
    total = 0.0
    for f in range(len(one)):
        difference = one[f] - other[f]
        total += difference * difference
    return total


@jit
def insert(
    ids: NDArray[np.int64],
    squared: NDArray[np.float64],
    count: int,
    labels: NDArray[np.int64],
    candidate: int,
    distance: float,
) -> int:
    """Put a candidate where it belongs in a list, if it does; return how long the list is."""
    length = len(ids)
    label = labels[candidate]
    if count == length:
        last = length - 1
        if distance > squared[last] or (distance == squared[last] and label > labels[ids[last]]):
            return count
    place = min(count, length - 1)
    while place > 0 and (
        squared[place - 1] > distance
        or (squared[place - 1] == distance and labels[ids[place - 1]] > label)
    ):
        ids[place] = ids[place - 1]
        squared[place] = squared[place - 1]
        place -= 1
    ids[place] = candidate
    squared[place] = distance
    return min(count + 1, length)


@jit
def scan_panels(
    panels: NDArray[np.float64],
    ids: NDArray[np.int64],
    labels: NDArray[np.int64],
    start: int,
    stop: int,
    queries: NDArray[np.float64],
    limits: NDArray[np.int64],
    left_out: NDArray[np.int64],
    listed: NDArray[np.int64],
    squared: NDArray[np.float64],
    counts: NDArray[np.int64],
) -> None:
    """List the nearest points of panels `start` to `stop` to some queries.

    Parameters
    ----------
    panels, ids, labels
        The points; which cluster each is, or -1; the label of every cluster.
    queries
        ``(m, k)``.
    limits
        ``(m,)``: only points at places below it.
    left_out
        ``(m, 2)``: two clusters that are not listed.
    listed, squared, counts
        ``(m, length)``, ``(m, length)``, ``(m,)``: the lists, which may hold entries already.
    """
    k = queries.shape[1]
    length = listed.shape[1]
    sums = np.empty(LANES)
    # From the last: of rows that are sorted, those before a row are the nearer the later they come.
    for p in range(stop - 1, start - 1, -1):
        panel = panels[p]
        for q in range(len(queries)):
            if limits[q] <= p * LANES:
                continue
            query = queries[q]
            farthest = squared[q, length - 1] if counts[q] == length else np.inf
            sums[:] = 0.0
            within = LANES
            for first in range(0, k, _FEATURES_AT_ONCE):
                for f in range(first, min(first + _FEATURES_AT_ONCE, k)):
                    value = query[f]
                    values = panel[f]
                    for lane in range(LANES):
                        difference = values[lane] - value
                        sums[lane] += difference * difference
                within = 0
                for lane in range(LANES):
                    within += 1 if sums[lane] <= farthest else 0
                if within == 0:
                    break
            if within == 0:
                continue
            for lane in range(min(LANES, limits[q] - p * LANES)):
                if sums[lane] <= farthest:
                    candidate = ids[p * LANES + lane]
                    if candidate < 0 or candidate == left_out[q, 0] or candidate == left_out[q, 1]:
                        continue
                    counts[q] = insert(
                        listed[q], squared[q], counts[q], labels, candidate, sums[lane]
                    )
                    if counts[q] == length:
                        farthest = squared[q, length - 1]


@jit
def join_lists(
    labels: NDArray[np.int64],
    listed: NDArray[np.int64],
    squared: NDArray[np.float64],
    counts: NDArray[np.int64],
    more: NDArray[np.int64],
    more_squared: NDArray[np.float64],
    more_counts: NDArray[np.int64],
) -> None:
    """Put the entries of some lists into others, of the same queries."""
    for q in range(len(counts)):
        for place in range(more_counts[q]):
            counts[q] = insert(
                listed[q],
                squared[q],
                counts[q],
                labels,
                more[q, place],
                more_squared[q, place],
            )

"""Kernel helper: exact nearest neighbours among points that lie in panels of 64.

A panel holds 64 points feature by feature, so that their squared distances from a query are
computed side by side, each as one sum over the features in their order: the same bits whoever
asks, and whichever of two points is the query.

Lists are of the `length` nearest, in the order of (squared distance, label). What is not listed
comes after the last entry in that order.

A centroid is kept as the sum of two doubles. Rounded to one, it would be as coarse as its
coordinates are large, and of points that are far from the origin but near to one another little
would be left of distances. Panels hold the first of the two only: they tell a few more than are
wanted of what is near, and these are compared by both. If it is not certain then that nothing else
belongs into the list, everything that may is compared by both.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clustergrid.pipeline._jit import jit

__all__ = [
    "LANES",
    "VANISHED",
    "Centroids",
    "Lists",
    "Queries",
    "fill_panels",
    "insert",
    "join_lists",
    "open_centroids",
    "scan_panels",
    "squared_distance",
    "squared_distance_within",
]

LANES = 64
"""Points of a panel."""

_FEATURES_AT_ONCE = 16
"""After which a panel is left if all of it is farther than what is listed; a multiple of four."""

_MORE = 4
"""Listed by their rows, besides what is wanted."""

VANISHED = 1e-300
"""More than all squares that are too small for a double; the largest here are 1e300."""


class Centroids(NamedTuple):
    """Points, or centroids of clusters, each in a slot.

    Parameters
    ----------
    rows, rests
        ``(slots, k)``: a coordinate is the sum of both, the first being the nearest double to it.
        Those of points are rows alone.
    blurs
        ``(slots,)``: the sum of ``|rests|``, which is no less than their length.
    panels
        ``(panels, k, 64)``: the rows; infinite where no cluster is.
    ids
        ``(slots,)``: the cluster in each slot, or -1.
    slots, labels
        ``(2 m - 1,)``: where each cluster is, or -1; its lowest row.
    """

    rows: NDArray[np.float64]
    rests: NDArray[np.float64]
    blurs: NDArray[np.float64]
    panels: NDArray[np.float64]
    ids: NDArray[np.int64]
    slots: NDArray[np.int64]
    labels: NDArray[np.int64]


class Queries(NamedTuple):
    """From where others are looked at.

    Parameters
    ----------
    rows, rests, blurs
        ``(m, k)``, ``(m, k)`` and ``(m,)``, as of `Centroids`.
    limits
        ``(m,)``: only slots below it are looked at.
    left_out
        ``(m, 2)``: two clusters that are not listed.
    """

    rows: NDArray[np.float64]
    rests: NDArray[np.float64]
    blurs: NDArray[np.float64]
    limits: NDArray[np.int64]
    left_out: NDArray[np.int64]

    @classmethod
    def empty(cls, m: int, k: int) -> Queries:
        """Return room for `m` queries."""
        return cls(
            rows=np.empty((m, k)),
            rests=np.empty((m, k)),
            blurs=np.empty(m),
            limits=np.empty(m, np.int64),
            left_out=np.empty((m, 2), np.int64),
        )

    def of(self, part: slice) -> Queries:
        """Return some of the queries."""
        return Queries(
            rows=self.rows[part],
            rests=self.rests[part],
            blurs=self.blurs[part],
            limits=self.limits[part],
            left_out=self.left_out[part],
        )


class Lists(NamedTuple):
    """The nearest of some queries.

    Parameters
    ----------
    listed, squared
        ``(m, length)``: clusters, and their squared distances.
    counts
        ``(m,)``: how many are listed.
    """

    listed: NDArray[np.int64]
    squared: NDArray[np.float64]
    counts: NDArray[np.int64]

    @classmethod
    def empty(cls, m: int, length: int) -> Lists:
        """Return `m` lists with nothing in them."""
        return cls(
            listed=np.empty((m, length), np.int64),
            squared=np.empty((m, length)),
            counts=np.zeros(m, np.int64),
        )

    def of(self, queries: slice | NDArray[np.int64]) -> Lists:
        """Return the lists of some queries."""
        return Lists(self.listed[queries], self.squared[queries], self.counts[queries])

    @property
    def reaches(self) -> NDArray[np.float64]:
        """What all others are at least away, squared: a list that is not full holds all."""
        is_full = self.counts == self.squared.shape[1]
        return np.where(is_full, self.squared[:, -1], np.inf)


def open_centroids(points: NDArray[np.float64]) -> Centroids:
    """Put every point into a slot; panels are for `fill_panels` to fill."""
    m, k = points.shape
    at_first = np.concatenate([np.arange(m), np.full(m - 1, -1)])
    return Centroids(
        rows=points,
        # The system hands out zeros, and memory when it is written to.
        rests=np.zeros((m, k)),
        blurs=np.zeros(m),
        panels=np.empty((-(-m // LANES), k, LANES)),
        ids=np.arange(m),
        slots=at_first,
        labels=at_first.copy(),
    )


@jit
def fill_panels(centroids: Centroids, start: int, stop: int) -> None:
    """Put rows into panels `start` to `stop`; places without one are at infinity."""
    rows = centroids.rows
    n, k = rows.shape
    for p in range(start, stop):
        panel = centroids.panels[p]
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
def squared_distance_within(
    one: NDArray[np.float64],
    one_rest: NDArray[np.float64],
    other: NDArray[np.float64],
    other_rest: NDArray[np.float64],
    farthest: float,
) -> float:
    """Return the squared distance of two centroids; infinity beyond `farthest`."""
    k = len(one)
    total = 0.0
    for first in range(0, k, _FEATURES_AT_ONCE):
        for f in range(first, min(first + _FEATURES_AT_ONCE, k)):
            difference = (one[f] - other[f]) + (one_rest[f] - other_rest[f])
            total += difference * difference
        if total > farthest:
            return np.inf
    return total


@jit
def insert(
    lists: Lists, q: int, labels: NDArray[np.int64], candidate: int, distance: float
) -> None:
    """Put a candidate where it belongs in the list of a query, if it does."""
    ids, squared = lists.listed[q], lists.squared[q]
    count, length = lists.counts[q], len(ids)
    label = labels[candidate]
    if count == length:
        last = length - 1
        if distance > squared[last] or (distance == squared[last] and label > labels[ids[last]]):
            return
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
    lists.counts[q] = min(count + 1, length)


@jit
def _farthest_row(lists: Lists, q: int, blur: float, k: int) -> float:
    """Return how far, squared, the row of what still enters a list may be at most.

    Rows are at most `blur` nearer to one another, or farther apart, than centroids; sums of `k`
    squares of either are rounded by a few ``k 2^-53``.
    """
    length = lists.listed.shape[1]
    if lists.counts[q] < length:
        return np.inf
    farthest = float(lists.squared[q, length - 1])
    if blur == 0.0:
        return farthest
    distance = np.sqrt(farthest) + 1.001 * blur
    return float(distance * distance * (1.0 + (k + 16) * 2.0**-50) + VANISHED)


@jit
def _add_squares(
    panel: NDArray[np.float64],
    query: NDArray[np.float64],
    start: int,
    stop: int,
    sums: NDArray[np.float64],
) -> None:
    """Add the squared differences in the features `start` to `stop`, one after another."""
    whole = start + (stop - start) // 4 * 4
    # Four at a time, so that sums stay in a register for longer.
    for f in range(start, whole, 4):
        a, b, c, d = query[f], query[f + 1], query[f + 2], query[f + 3]
        for lane in range(LANES):
            from_a = panel[f, lane] - a
            from_b = panel[f + 1, lane] - b
            from_c = panel[f + 2, lane] - c
            from_d = panel[f + 3, lane] - d
            total = sums[lane] + from_a * from_a
            total = total + from_b * from_b
            total = total + from_c * from_c
            sums[lane] = total + from_d * from_d
    for f in range(whole, stop):
        value = query[f]
        for lane in range(LANES):
            difference = panel[f, lane] - value
            sums[lane] += difference * difference


@jit
def scan_panels(
    centroids: Centroids, start: int, stop: int, queries: Queries, lists: Lists
) -> None:
    """List the nearest in panels `start` to `stop` of some queries.

    Lists may have entries before, if all are points.
    """
    k = centroids.rows.shape[1]
    m, length = lists.listed.shape
    most = length + _MORE
    blur = 0.0
    for slot in range(start * LANES, min(stop * LANES, len(centroids.rows))):
        blur = max(blur, centroids.blurs[slot])
    if blur == 0.0 and queries.blurs.max() == 0.0:
        _scan(centroids, start, stop, queries, lists, blur)
        return
    near = Lists(np.empty((m, most), np.int64), np.empty((m, most)), np.zeros(m, np.int64))
    _scan(centroids, start, stop, queries, near, 0.0)
    for q in range(m):
        for place in range(0, near.counts[q], 4):
            _insert_four(centroids, near, place, queries, q, lists)
        either = blur + queries.blurs[q]
        if near.counts[q] < most or near.squared[q, -1] > _farthest_row(lists, q, either, k):
            continue
        # Another's row is hardly farther away than those of what is listed.
        lists.counts[q] = 0
        _scan(centroids, start, stop, _query(queries, q), _list(lists, q), either)


@jit
def _insert_four(
    centroids: Centroids, near: Lists, place: int, queries: Queries, q: int, lists: Lists
) -> None:
    """Put four that are near to a query into its list, side by side."""
    last = near.counts[q] - 1
    a = centroids.slots[near.listed[q, place]]
    b = centroids.slots[near.listed[q, min(place + 1, last)]]
    c = centroids.slots[near.listed[q, min(place + 2, last)]]
    d = centroids.slots[near.listed[q, min(place + 3, last)]]
    rows, rests = centroids.rows, centroids.rests
    to_a = to_b = to_c = to_d = 0.0
    for f in range(rows.shape[1]):
        value, rest = queries.rows[q, f], queries.rests[q, f]
        from_a = (rows[a, f] - value) + (rests[a, f] - rest)
        from_b = (rows[b, f] - value) + (rests[b, f] - rest)
        from_c = (rows[c, f] - value) + (rests[c, f] - rest)
        from_d = (rows[d, f] - value) + (rests[d, f] - rest)
        to_a += from_a * from_a
        to_b += from_b * from_b
        to_c += from_c * from_c
        to_d += from_d * from_d
    squares = (to_a, to_b, to_c, to_d)
    for i in range(min(4, last + 1 - place)):
        insert(lists, q, centroids.labels, near.listed[q, place + i], squares[i])


@jit
def _query(queries: Queries, q: int) -> Queries:
    one = slice(q, q + 1)
    return Queries(
        queries.rows[one],
        queries.rests[one],
        queries.blurs[one],
        queries.limits[one],
        queries.left_out[one],
    )


@jit
def _list(lists: Lists, q: int) -> Lists:
    one = slice(q, q + 1)
    return Lists(lists.listed[one], lists.squared[one], lists.counts[one])


@jit
def _squared_of_slot(centroids: Centroids, slot: int, queries: Queries, q: int) -> float:
    return squared_distance_within(
        centroids.rows[slot], centroids.rests[slot], queries.rows[q], queries.rests[q], np.inf
    )


@jit
def _scan(
    centroids: Centroids, start: int, stop: int, queries: Queries, lists: Lists, blur: float
) -> None:
    """List the nearest by their rows; or, if these may be off by `blur`, by both doubles."""
    k = centroids.rows.shape[1]
    ids = centroids.ids
    sums = np.empty(LANES)
    # From the last: of rows that are sorted, those before a row are the nearer the later they come.
    for p in range(stop - 1, start - 1, -1):
        panel = centroids.panels[p]
        first_slot = p * LANES
        for q in range(len(queries.rows)):
            if queries.limits[q] <= first_slot:
                continue
            query = queries.rows[q]
            farthest = _farthest_row(lists, q, blur, k)
            sums[:] = 0.0
            within = LANES
            for first in range(0, k, _FEATURES_AT_ONCE):
                _add_squares(panel, query, first, min(first + _FEATURES_AT_ONCE, k), sums)
                within = 0
                for lane in range(LANES):
                    within += 1 if sums[lane] <= farthest else 0
                if within == 0:
                    break
            if within == 0:
                continue
            for lane in range(min(LANES, queries.limits[q] - first_slot)):
                if sums[lane] <= farthest:
                    candidate = ids[first_slot + lane]
                    left_out = queries.left_out[q]
                    if candidate < 0 or candidate == left_out[0] or candidate == left_out[1]:
                        continue
                    distance = sums[lane]
                    if blur > 0.0:
                        distance = _squared_of_slot(centroids, first_slot + lane, queries, q)
                    insert(lists, q, centroids.labels, candidate, distance)
                    farthest = _farthest_row(lists, q, blur, k)


@jit
def join_lists(labels: NDArray[np.int64], lists: Lists, more: Lists) -> None:
    """Put the entries of some lists into others, of the same queries."""
    for q in range(len(lists.counts)):
        for place in range(more.counts[q]):
            insert(lists, q, labels, more.listed[q, place], more.squared[q, place])

"""Kernel: means of clusters, from those that they had and the points they gained since."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clustergrid.pipeline._jit import jit
from clustergrid.pipeline.hierarchy._clusters import Clusters
from clustergrid.pipeline.summaries._means import Summaries

__all__ = ["Members", "count_gained", "list_gained", "take_members"]


@jit
def _squared_to_point(summaries: Summaries, a: int, point: NDArray[Any]) -> float:
    """Return the squared distance from the mean of cluster `a` to a point."""
    x, p = summaries.rows[a], summaries.offsets[a]
    total = 0.0
    for f in range(len(p)):
        difference = (np.float64(point[f]) - np.float64(x[f])) - p[f]
        total += difference * difference
    return total


@jit
def _move_to_point(summaries: Summaries, a: int, share: float, point: NDArray[Any]) -> None:
    """Move the mean of cluster `a` by a share of the way to a point."""
    x, p = summaries.rows[a], summaries.offsets[a]
    for f in range(len(p)):
        p[f] += share * ((np.float64(point[f]) - np.float64(x[f])) - p[f])
    summaries.moved[a] = True


class Members(NamedTuple):
    """Points that clusters have gained.

    Parameters
    ----------
    rows
        ``(p, k)``: theirs, or those of all points.
    begins, counts
        ``(clusters,) int64``: where those of each cluster begin, as they are chained, and how many
        there are. Both are empty where rows are those of all points: each is in its own place.
    constants
        ``(n,) float64``: of all points.
    """

    rows: NDArray[Any]
    begins: NDArray[np.int64]
    counts: NDArray[np.int64]
    constants: NDArray[np.float64]


@jit
def take_members(
    summaries: Summaries,
    places: NDArray[np.int64],
    slots: NDArray[np.int64],
    clusters: Clusters,
    halves: bool,
    gained: Members,
    start: int,
    stop: int,
) -> None:
    """Bring the summaries of the slots `start` to `stop`, of a list of slots, up to date.

    Members come in the order in which they are chained, one after another. A chain grows at its
    end, so those that came earlier are not taken again, and the bits are those of a mean that is
    made anew. With `halves` (of weighted linkage) their weights have become less since, all by the
    same power of two.

    Parameters
    ----------
    summaries, places
        Some, and where among them that of each slot is.
    slots, clusters, halves
        The slots; all clusters; whether linkage is weighted.
    gained
        What these have more than is in their means, or the first of it.
    """
    for position in range(start, stop):
        a, slot = places[position], slots[position]
        summaries.sizes[a] = clusters.sizes[slot]
        latest = summaries.latest[a]
        if latest == slot:
            summaries.masses[a] = clusters.weights[slot]
        member = clusters.next_member[latest]
        if member < 0:
            continue
        mass = summaries.masses[a]
        if halves:
            mass = clusters.weights[slot]
            before = slot
            while before != latest:
                before = clusters.next_member[before]
                mass += clusters.weights[before]
        scalar = summaries.scalars[a]
        row, end = -1, -1
        if len(gained.begins) > 0:
            row = gained.begins[position]
            end = row + gained.counts[position]
        while member >= 0 and (end < 0 or row < end):
            point = gained.rows[member if end < 0 else row]
            row += 1
            weight = clusters.weights[member]
            mass += weight
            # Nothing at all, where a thousand mergers have halved it.
            if weight > 0.0:
                share = weight / mass
                if not summaries.is_ward:
                    squared = _squared_to_point(summaries, a, point)
                    scalar = (
                        (1.0 - share) * scalar
                        + share * gained.constants[member]
                        + share * (1.0 - share) * (summaries.factor * squared)
                    )
                _move_to_point(summaries, a, share, point)
            latest = member
            member = clusters.next_member[member]
        summaries.scalars[a] = scalar
        summaries.masses[a] = mass
        summaries.latest[a] = latest


@jit
def count_gained(
    clusters: Clusters,
    slots: NDArray[np.int64],
    latest: NDArray[np.int64],
    counts: NDArray[np.int64],
) -> None:
    """Count the members of some clusters behind the latest one of each, ``(slots,)``."""
    for position in range(len(slots)):
        member = clusters.next_member[latest[position]]
        count = 0
        while member >= 0:
            count += 1
            member = clusters.next_member[member]
        counts[position] = count


@jit
def list_gained(
    clusters: Clusters,
    latest: NDArray[np.int64],
    begins: NDArray[np.int64],
    counts: NDArray[np.int64],
    points: NDArray[np.int64],
) -> None:
    """List the first members behind the latest one of each of some clusters, so many of each."""
    for position in range(len(latest)):
        member = latest[position]
        for at in range(begins[position], begins[position] + counts[position]):
            member = clusters.next_member[member]
            points[at] = member

"""Driver: the task that reduces distances between points to distances between clusters."""

# Why heights of average, weighted and ward depend on K and the limits in their last digits: which
# of a cluster's distances are summed up here, which come from lists by the formula of Lance and
# Williams, and which from the square, follows from these, and each way rounds otherwise (extremes
# are not rounded at all, so single and complete do not). One rule for all heights would be to sum
# each of them once more, over the members in their order, when the tree is known. But every pair
# of points is in exactly one merge: that is another pass over all n (n - 1) / 2 distances, exact
# ones, a quarter of the time of the whole tree. Means spare it (``summaries/``): there a height
# takes two means. So the limits follow from the shape where there is memory enough, and so do the
# digits.

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from clustergrid.pipeline.execution import end_if_stopped
from clustergrid.pipeline.hierarchy._clusters import COMPLETE, SINGLE, nothing_yet
from clustergrid.pipeline.hierarchy._neighbors import (
    Neighbors,
    close_lists,
    open_lists,
    open_reach,
    replace_lists,
)
from clustergrid.pipeline.points._blocks import finish_totals, offer_row
from clustergrid.pipeline.points._both_ways import put_both_ways
from clustergrid.pipeline.points.base import Points
from clustergrid.pipeline.points.held import Window
from clustergrid.pipeline.points.layout import Layout, Strip, whole_clusters

__all__ = ["Found", "Wanted", "finish_strip", "join_parts", "reduce_strip"]

Found = NDArray[np.float64] | Neighbors | None
"""Distances of a strip's owners, or totals of a part of one; or their lists; or nothing more."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Wanted:
    """What is wanted of all strips.

    Attributes
    ----------
    layout
        All clusters.
    method
        How their distances follow from those of their members.
    n_neighbors
        K, where lists are wanted; else distances are.
    square
        Where tasks that share this process's memory put distances, both ways, ``(m, m)`` by place.
    by_products
        Whether sums may be of distances from products, which differ from single ones by roundings.
    """

    layout: Layout
    method: int
    n_neighbors: int | None = None
    square: NDArray[np.float64] | None = None
    by_products: bool = False

    @property
    def sends_distances(self) -> bool:
        """Whether tasks send distances back, and not lists of few, nor nothing."""
        return self.n_neighbors is None and self.square is None


def reduce_strip(given: tuple[Points, Wanted], strip: Strip) -> tuple[Strip, Found]:
    """Reduce the distances of a strip's owners to the clusters of its groups.

    Of a part of a large cluster the totals come back, ``(1, clusters)``: `join_parts` adds them.
    """
    points, wanted = given
    if wanted.n_neighbors is not None and strip.part is None:
        return strip, _listed(points, wanted, strip, wanted.n_neighbors)
    groups = _totals_by_group(points, wanted, strip)
    if strip.part is not None:
        return strip, np.concatenate([totals for _, totals in groups], axis=1)
    return strip, _finished(points, wanted, strip, groups)


def _listed(points: Points, wanted: Wanted, strip: Strip, n_neighbors: int) -> Found:
    """List what is near to a strip's owners, by a short way where there is one."""
    found = points.list_clusters(wanted.layout, wanted.method, n_neighbors, strip.owners)
    if found is None:
        lists = open_lists(len(strip.owners), n_neighbors)
        is_unsure = np.ones(len(strip.owners), np.bool_)
    else:
        lists, is_unsure = found
    again = np.flatnonzero(is_unsure)
    counts = wanted.layout.counts[strip.owners[again]]
    for first, last in whole_clusters(counts, points.edge):
        some = replace(strip, owners=strip.owners[again[first:last]], members=slice(None))
        better = _finished(points, wanted, some, _totals_by_group(points, wanted, some))
        assert isinstance(better, Neighbors)
        replace_lists(lists, again[first:last], better)
    return lists


def finish_strip(
    points: Points, wanted: Wanted, strip: Strip, totals: NDArray[np.float64]
) -> Found:
    """Make of a large cluster's totals what `reduce_strip` makes of others'."""
    first = wanted.layout.groups[strip.first_group][0]
    return _finished(points, wanted, strip, iter([(first, totals)]))


def join_parts(parts: list[NDArray[np.float64]], method: int) -> NDArray[np.float64]:
    """Add the totals of the parts of a cluster, in their order."""
    totals = parts[0]
    for part in parts[1:]:
        if method == COMPLETE:
            totals = np.maximum(totals, part)
        elif method == SINGLE:
            totals = np.minimum(totals, part)
        else:
            totals = totals + part
    return totals


def _totals_by_group(
    points: Points, wanted: Wanted, strip: Strip
) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """Yield the first cluster of each group, and the totals of the owners with all of it.

    Of a cluster larger than an edge they are joined of those with each edge of it: that is how the
    totals of pairs of clusters are made, which may be asked for instead.
    """
    layout, edge = wanted.layout, points.edge
    members, units = layout.members(strip.owners)
    members, units = members[strip.members], units[strip.members]
    sides = []
    for start in range(0, len(members), edge):
        some = members[start : start + edge]
        left = points.left(layout.points[some], by_products=wanted.by_products)
        sides.append((left, layout.weights[some], units[start : start + edge]))
    nothing = nothing_yet.python(wanted.method)
    counts = layout.counts
    held = Window(points, layout, last=layout.starts[layout.groups[strip.last_group][1]])
    for first, last in layout.groups[strip.first_group : strip.last_group + 1]:
        totals = np.full((len(strip.owners), last - first), nothing)
        begin, end = layout.starts[first], layout.starts[last]
        of = np.repeat(np.arange(last - first), counts[first:last])
        for start in range(begin, end, edge):
            stop = min(start + edge, end)
            right = held.over(start, stop)
            part = totals if start == begin else np.full(totals.shape, nothing)
            for side in sides:
                end_if_stopped()
                points.add(
                    *side,
                    right,
                    layout.points[start:stop],
                    layout.weights[start:stop],
                    of[start - begin : stop - begin],
                    wanted.method,
                    part,
                )
            del right  # before others are read: two do not fit
            if part is not totals:
                totals = join_parts([totals, part], wanted.method)
        yield first, totals


def _finished(
    points: Points,
    wanted: Wanted,
    strip: Strip,
    groups: Iterator[tuple[int, NDArray[np.float64]]],
) -> Found:
    """Make distances of totals, and of these what is wanted."""
    layout, n_neighbors = wanted.layout, wanted.n_neighbors
    if n_neighbors is not None:
        lists = open_lists(len(strip.owners), n_neighbors)
        reach = open_reach(len(strip.owners), np.dtype(np.float64))
    distances = []
    for first, totals in groups:
        finish_totals(totals, layout.clusters, strip.owners, first, points.form, wanted.method)
        if n_neighbors is not None:
            offer_row(totals, strip.owners, first, layout.slots, n_neighbors, lists, reach)
        elif wanted.square is not None:
            put_both_ways(totals, strip.begin, first, wanted.square)
        else:
            distances.append(totals)
    if n_neighbors is not None:
        close_lists(lists, n_neighbors, len(layout) - 1, 0, len(strip.owners))
        return lists
    return np.concatenate(distances, axis=1) if distances else None

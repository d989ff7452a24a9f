"""Kernel: the members of clusters side by side, and how work on them is cut.

Clusters are cut into groups of whole ones that have no more points than an edge together, or of one
larger one; owners whose distances are wanted into strips likewise, and those of a larger one into
parts. Clusters, and the members of each, lie in an order of the points in which near ones mostly
are neighbours, so that groups are of rows that lie near one another, in memory or at rest. All of
that follows from the clusters, the order and the edge alone, so that sums over members have the
same bits wherever they are made.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from clustergrid.pipeline._jit import jit
from clustergrid.pipeline.hierarchy._clusters import Clusters, labels_of
from clustergrid.storage.grid import round_up, slabs

__all__ = ["PARTS_OF_EDGES", "Layout", "Strip", "cut_strips", "whole_clusters"]

PARTS_OF_EDGES = 4
"""Edges of the points of a part of a large cluster."""

_PANEL = 64
"""Points that are compared with another as fast as one."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Layout:
    """Members of m live clusters of n points, cluster by cluster.

    Attributes
    ----------
    edge
        Most points that are compared at once.
    slots
        ``(m,) int64``: where each cluster is, by its first member in the order of the points.
    ranks
        ``(m,) int64``: the number of each cluster when they are counted by slot.
    points, weights
        ``(n,)``: the members, each cluster's in the order of the points, and the weight of each.
    starts
        ``(m + 1,) int64``: where the members of each cluster begin.
    sizes, masses, spreads
        ``(m,) float64``, as of `Clusters`.
    groups
        Ranges of clusters.
    """

    edge: int
    slots: NDArray[np.int64]
    ranks: NDArray[np.int64]
    points: NDArray[np.int64]
    weights: NDArray[np.float64]
    starts: NDArray[np.int64]
    sizes: NDArray[np.float64]
    masses: NDArray[np.float64]
    spreads: NDArray[np.float64]
    groups: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, clusters: Clusters, edge: int, order: NDArray[np.int64] | None = None) -> Layout:
        """Lay the members of all live clusters out.

        Parameters
        ----------
        clusters, edge
            Of n points; most points that are compared at once.
        order
            ``(n,)``: the points, near ones mostly side by side; None: as they are numbered.
        """
        labels = labels_of(clusters)
        if order is None:
            order = np.arange(len(labels))
        slots = _in_order(labels, order, int(np.count_nonzero(clusters.live)))
        counts = np.bincount(labels, minlength=len(labels))[slots]
        starts = np.concatenate([[0], np.cumsum(counts)])
        points = _by_label(labels, order, slots, starts)
        return cls(
            edge=edge,
            slots=slots,
            ranks=(np.cumsum(clusters.live) - 1)[slots],
            points=points,
            weights=clusters.weights[points],
            starts=starts,
            sizes=clusters.sizes[slots],
            masses=clusters.masses[slots],
            spreads=clusters.spreads[slots],
            groups=tuple(whole_clusters(counts, edge)),
        )

    def __len__(self) -> int:
        """How many clusters there are."""
        return len(self.slots)

    @property
    def counts(self) -> NDArray[np.int64]:
        """``(m,)``: points of each cluster."""
        return np.diff(self.starts)

    def places(self, slots: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return where the clusters of some slots are among all."""
        return self.by_slot[np.searchsorted(self.slots[self.by_slot], slots)]

    @cached_property
    def by_slot(self) -> NDArray[np.int64]:
        """``(m,)``: the place of each cluster when they are counted by slot."""
        by_slot = np.empty(len(self), np.int64)
        by_slot[self.ranks] = np.arange(len(self))
        return by_slot

    @cached_property
    def clusters(self) -> Clusters:
        """The clusters side by side, without their members, as formulas want them."""
        nobody = np.empty(0, np.int64)
        return Clusters(
            live=np.ones(len(self), np.bool_),
            sizes=self.sizes,
            masses=self.masses,
            spreads=self.spreads,
            weights=np.empty(0),
            next_member=nobody,
            last_member=nobody,
        )

    def members(self, owners: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the places of the members of some clusters, and whose each is."""
        counts = self.counts[owners]
        of = np.repeat(np.arange(len(owners)), counts)
        before = np.cumsum(counts) - counts
        return np.arange(len(of)) + (self.starts[owners] - before)[of], of

    def members_in_turn(
        self, owners: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the places of the members of some clusters, and where those of each begin."""
        members, _ = self.members(owners)
        return members, np.concatenate([[0], np.cumsum(self.counts[owners])])

    def members_of_pairs(
        self, first: NDArray[np.int64], second: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the places of the members of pairs of clusters, each of one with all of the other.

        Examples
        --------
        >>> from clustergrid.pipeline.hierarchy._clusters import join, open_clusters
        >>> clusters = open_clusters(np.ones(4, np.int64), "complete")
        >>> join(clusters, 1, 0, 3, 1.0)
        >>> layout = Layout.of(clusters, 2)
        >>> layout.points.tolist(), layout.members_of_pairs(np.array([0]), np.array([2]))
        ([0, 3, 1, 2], (array([0, 1]), array([3, 3])))
        """
        counts = self.counts
        widths = counts[second]
        n_pairs = counts[first] * widths
        of = np.repeat(np.arange(len(first)), n_pairs)
        number = np.arange(len(of)) - (np.cumsum(n_pairs) - n_pairs)[of]
        left = self.starts[first][of] + number // widths[of]
        return left, self.starts[second][of] + number % widths[of]

    def points_between(self, first: int, last: int) -> int:
        """Count the points of some groups, the last one included."""
        return int(self.starts[self.groups[last][1]] - self.starts[self.groups[first][0]])


@dataclass(frozen=True, slots=True, kw_only=True)
class Strip:
    """Some clusters whose distances are wanted, or a part of one.

    Attributes
    ----------
    owners
        Which, by their places among all clusters.
    begin
        Where they begin among all owners.
    first_group, last_group
        Their distances to the clusters of these groups and of those between.
    part, n_parts
        Number of the part, of so many, of one owner; None: whole clusters.
    members
        Which of the owners' members, counted through.
    work
        Pairs of points.
    """

    owners: NDArray[np.int64]
    begin: int
    first_group: int
    last_group: int
    part: int | None
    n_parts: int
    members: slice
    work: int


@jit
def _in_order(
    labels: NDArray[np.int64], order: NDArray[np.int64], n_labels: int
) -> NDArray[np.int64]:
    """Return all labels, each where its first point is in the order of the points."""
    is_seen = np.zeros(len(labels), np.bool_)
    found = np.empty(n_labels, np.int64)
    n_found = 0
    for place in range(len(order)):
        label = labels[order[place]]
        if not is_seen[label]:
            is_seen[label] = True
            found[n_found] = label
            n_found += 1
    return found


@jit
def _by_label(
    labels: NDArray[np.int64],
    order: NDArray[np.int64],
    slots: NDArray[np.int64],
    starts: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Sort points by their labels, in the order of `slots`, and those of one label in `order`."""
    n = len(labels)
    places = np.empty(n, np.int64)
    # A loop: an assignment of one array to some of another compiles for two seconds.
    for rank in range(len(slots)):
        places[slots[rank]] = starts[rank]
    points = np.empty(n, np.int64)
    for place in range(n):
        point = order[place]
        label = labels[point]
        points[places[label]] = point
        places[label] += 1
    return points


def cut_strips(
    layout: Layout,
    owners: NDArray[np.int64] | None = None,
    *,
    n_wanted: int = 1,
    across: bool = False,
    most_points: int | None = None,
    most_distances: int | None = None,
) -> list[Strip]:
    """Cut owners into strips, those with the most work first.

    Parameters
    ----------
    layout
        All clusters.
    owners
        Places of clusters whose distances to all are wanted. None: of all, each to those of its
        group and after it.
    n_wanted
        How many strips are wanted at least, where there is work for as many.
    across
        Whether few owners may be in several strips, each with some of the groups.
    most_points
        Of several owners in a strip, none of which has more than an edge; None: an edge.
    most_distances
        Of owners to clusters, in a strip of more than one group that is no part of a cluster; None:
        however many.

    Examples
    --------
    >>> from clustergrid.pipeline.hierarchy._clusters import open_clusters
    >>> layout = Layout.of(open_clusters(np.ones(5, np.int64), "average"), 2)
    >>> [(s.begin, s.owners.tolist(), s.work) for s in cut_strips(layout)]
    [(0, [0, 1], 10), (2, [2, 3], 6), (4, [4], 1)]
    """
    strips: list[Strip] = []
    of_all = owners is None
    if owners is None:
        owners = np.arange(len(layout))
    counts = layout.counts[owners]
    ranges = layout.groups
    if not of_all:
        fair = round_up(-(-int(counts.sum()) // n_wanted), _PANEL)
        most = min(fair, most_points or layout.edge)
        # One that is larger than an edge is by itself.
        ranges = tuple(whole_clusters(np.where(counts > layout.edge, most + 1, counts), most))
    n_groups = len(layout.groups)
    groups_each = n_groups
    if across and not of_all:
        groups_each = -(-n_groups // -(-n_wanted // len(ranges)))
    for number, (begin, end) in enumerate(ranges):
        n_points = int(counts[begin:end].sum())
        is_large = end - begin == 1 and n_points > layout.edge
        cuts = list(slabs(n_points, layout.edge * PARTS_OF_EDGES))
        first = number if of_all else 0
        if is_large:
            some_groups = [(first, n_groups)]
        else:
            columns = None if most_distances is None else most_distances // (end - begin)
            some_groups = _runs_of_groups(layout, first, groups_each, columns)
        for first, last in some_groups:
            strips += [
                Strip(
                    owners=owners[begin:end],
                    begin=begin,
                    first_group=first,
                    last_group=last - 1,
                    part=part if is_large else None,
                    n_parts=len(cuts),
                    members=members,
                    work=(members.stop - members.start) * layout.points_between(first, last - 1),
                )
                for part, members in enumerate(cuts)
            ]
    return sorted(strips, key=lambda strip: -strip.work)


def _runs_of_groups(
    layout: Layout, first: int, groups_each: int, most_clusters: int | None
) -> list[tuple[int, int]]:
    """Cut the groups from `first` on into runs: of so many groups and clusters, or of one group."""
    runs = []
    ends = np.array([last for _, last in layout.groups])
    while first < len(ends):
        last = min(first + groups_each, len(ends))
        if most_clusters is not None:
            most = layout.groups[first][0] + most_clusters
            last = min(last, max(first + 1, int(np.searchsorted(ends, most, side="right"))))
        runs.append((first, last))
        first = last
    return runs


def whole_clusters(counts: NDArray[np.int64], most: int) -> list[tuple[int, int]]:
    """Cut clusters into ranges of no more than `most` points, or of one cluster."""
    ends = np.cumsum(counts)
    ranges = []
    start = 0
    while start < len(counts):
        before = ends[start] - counts[start]
        stop = max(start + 1, int(np.searchsorted(ends, before + most, side="right")))
        ranges.append((start, stop))
        start = stop
    return ranges

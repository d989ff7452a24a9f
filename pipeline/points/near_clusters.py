"""Driver: the nearest clusters of some clusters, of which most are seen to be too far.

::

    means of owners x means of all ──▶ near ones first ──────▶ clusters that may be near
                                                                            │
    points of owners x points of these ──▶ bounds of their distances ──▶ a few more than K
                                                                            │
                                        distances of their points, exact ──▶ K, or nobody knows

Bounds are of single precision (``_bounds.py``). What they leave out is farther than what is listed,
so lists have the same bits whatever is left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clustergrid.pipeline.execution import end_if_stopped
from clustergrid.pipeline.hierarchy._clusters import SINGLE, WARD
from clustergrid.pipeline.hierarchy._neighbors import (
    Neighbors,
    Reach,
    close_lists,
    open_lists,
    open_reach,
)
from clustergrid.pipeline.points._bounds import (
    add_bounds,
    at_left,
    bound_operands,
    list_within,
    offer_bounds,
    reach_of_means,
    share_of_roundings,
    share_of_sums,
    weigh_means,
)
from clustergrid.pipeline.points._near_order import order_in_groups
from clustergrid.pipeline.points.base import Points
from clustergrid.pipeline.points.held import Window
from clustergrid.pipeline.points.layout import Layout, whole_clusters
from clustergrid.pipeline.points.pairs import Pairs, one_after_another
from clustergrid.pipeline.points.prepared import MadeOnce
from clustergrid.pipeline.row_tree_plan import SKETCHED
from clustergrid.storage.grid import slabs

__all__ = ["NearClusters"]

_TOGETHER = 256
"""Points at the right that bounds are made of together."""

_MEANS, _MEAN_VALUES = 2048, 2**20
"""Clusters whose means are compared together; and values of those that are made together."""

_FEWEST_MEMBERS = 1.25
"""Points of a cluster, on average, from which on means are few beside points."""

_FIRST_LOOK = 128
"""The nearest clusters, before it is known how far lists reach; then twice as many, and so on."""

_LEAF = 64
"""Owners that are near one another: fewer than a strip has."""

_APART = 16
"""Sums beyond those of a row: at a distance of some power of two, columns would be in one another's
way in the cache."""

_MORE = 16
"""So many more clusters than K are compared exactly, or a quarter of K."""


class _Kept(NamedTuple):
    """Operands of all members, in the order of the layout, and of the means of all clusters."""

    points: NDArray[np.float32]
    means: NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, eq=False)
class NearClusters:
    """Clusters of points with Euclidean distances, among which near ones are looked for.

    Attributes
    ----------
    points
        Which hold rows.
    pairs
        The layout of the clusters, the rows, and which is that of each point.
    method
        How distances of clusters follow from those of points.
    centre, scale
        What is subtracted from rows, and multiplied with, so that they have a length of about one.
    made
        Where all operands are kept, in every process, until there are other clusters.
    """

    points: Points
    pairs: Pairs
    method: int
    centre: NDArray[np.float64]
    scale: float
    made: MadeOnce

    @property
    def _layout(self) -> Layout:
        return self.pairs.layout

    @cached_property
    def _share(self) -> float:
        return share_of_roundings(self._n_features)

    @property
    def _n_features(self) -> int:
        return self.pairs.reader.shape[1]

    @property
    def has_means(self) -> bool:
        """Whether means tell which clusters are too far: those of rows at rest are not at hand."""
        is_few = _FEWEST_MEMBERS * len(self._layout) <= len(self._layout.points)
        return self.pairs.reader.in_memory and is_few and self.method not in (SINGLE, WARD)

    def list(
        self, owners: NDArray[np.int64], n_neighbors: int
    ) -> tuple[Neighbors, NDArray[np.bool_]]:
        """List the K nearest clusters of some owners.

        Parameters
        ----------
        owners
            ``(o,)``: places in the layout.
        n_neighbors
            K.

        Returns
        -------
        tuple
            The lists, and which of them nobody should rely on, ``(o,)``.
        """
        layout, form = self._layout, self.pairs.form
        n_kept = n_neighbors + max(_MORE, n_neighbors // 4)
        bounds = self._least_bounds(owners, n_kept)
        n_bounds = bounds.counts
        is_bound = np.arange(bounds.ids.shape[1]) < n_bounds[:, None]
        totals = np.empty(int(n_bounds.sum()))
        listed = (np.repeat(owners, n_bounds), bounds.ids[is_bound].astype(np.int64))
        for _ in self.pairs.reduce(*listed, self.method, totals, one_after_another):
            end_if_stopped()
        lists = open_lists(len(owners), n_neighbors)
        is_sure = np.empty(len(owners), np.bool_)
        list_within(
            bounds,
            n_kept,
            totals,
            owners,
            layout.clusters,
            layout.slots,
            form,
            self.method,
            n_neighbors,
            lists,
            is_sure,
        )
        close_lists(lists, n_neighbors, len(layout) - 1, 0, len(owners))
        return lists, ~is_sure

    def _least_bounds(self, owners: NDArray[np.int64], n_kept: int) -> Neighbors:
        """List the clusters with the least bounds of their distances."""
        layout, form, method, scale = self._layout, self.pairs.form, self.method, self.scale
        members, starts = layout.members_in_turn(owners)
        n_left, edge = len(members), self.points.edge
        left = at_left(self._operands(members))
        bounds = open_lists(len(owners), n_kept)
        reach = open_reach(len(owners), np.dtype(np.float64))
        products = np.empty((_TOGETHER, n_left), np.float32)
        of_clusters = np.empty((edge, n_left + _APART), np.float32)
        of_points = np.empty(edge * n_left, np.float32)
        counts = layout.counts
        longest = int(counts[owners].max())
        window = Window(self.points, layout, last=self.points.n)
        for others in self._candidates(owners, reach):
            end_if_stopped()
            sums = of_clusters[: len(others)]
            sums[:] = 3e38 if method == SINGLE else 0.0
            right, units = layout.members(others)
            for some in slabs(len(right), _TOGETHER):
                part = right[some]
                operands = self._operands(part, window)
                of_part = products[: len(part)]
                np.matmul(operands, left.T, out=of_part)
                add_bounds(of_part, layout.weights[part], units[some], form, method, sums)
            turned = of_points[: n_left * len(sums)].reshape(n_left, len(sums))
            turned[:] = sums[:, :n_left].T
            offer_bounds(
                turned,
                others,
                starts,
                layout.weights[members],
                owners,
                scale,
                share_of_sums(longest + int(counts[others].max())),
                layout.clusters,
                form,
                method,
                n_kept,
                bounds,
                reach,
            )
        close_lists(bounds, n_kept, len(layout) - 1, 0, len(owners))
        return bounds

    def _operands(
        self, members: NDArray[np.int64], window: Window | None = None
    ) -> NDArray[np.float32]:
        """Make operands of some members, or of a range of them that a window holds."""
        if self.has_means:
            return self._kept.points[members]
        if window is None:
            held = self.points.hold(self._layout.points[members])
        else:
            held = window.over(int(members[0]), int(members[-1]) + 1)
        where = held.where(self.pairs.places[self._layout.points[members]])
        operands = np.empty((len(where), self._n_features + 2), np.float32)
        bound_operands(held.rows, where, self.centre, self.scale, self._share, operands)
        return operands

    def _candidates(self, owners: NDArray[np.int64], reach: Reach) -> Iterator[NDArray[np.int64]]:
        """Yield clusters that may be nearer than lists reach by then, edge by edge of points."""
        layout = self._layout
        if not self.has_means:
            for first, last in layout.groups:
                yield np.arange(first, last)
            return
        means = self._kept.means
        left = at_left(means[owners])
        least = self._least_products(left, means)
        order = np.argsort(least, kind="stable")
        counts = layout.counts
        longest = int(counts[owners].max())
        start, n_looked_at = 0, _FIRST_LOOK
        while start < len(order):
            end_if_stopped()
            others = order[start : start + n_looked_at]
            start, n_looked_at = start + n_looked_at, min(2 * n_looked_at, _MEANS)
            n_members = longest + int(counts[others].max())
            far = reach_of_means(
                reach.distance, scale=self.scale, n_members=n_members, form=self.pairs.form
            )
            others = others[least[others] <= far.max()]
            if len(others) == 0:
                continue
            others = others[(left @ means[others].T <= far[:, None]).any(axis=0)]
            for first, last in whole_clusters(counts[others], self.points.edge):
                yield others[first:last]

    def _least_products(
        self, left: NDArray[np.float32], right: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Return the least product of any owner with each cluster."""
        least = np.empty(len(right), np.float32)
        for some in slabs(len(right), _MEANS):
            end_if_stopped()
            np.matmul(left, right[some].T).min(axis=0, out=least[some])
        return least

    def side_by_side(self, owners: NDArray[np.int64]) -> NDArray[np.int64]:
        """Order owners so that near ones are mostly neighbours, ``(o,)``.

        That is of the driver, which keeps no operands: the widest features of the means will do.
        """
        if not self.has_means:
            return np.argsort(owners)
        sketches = np.empty((len(owners), min(SKETCHED, self._n_features)), np.float32)
        widest = None
        for some in slabs(len(owners), self._made_together):
            end_if_stopped()
            means = self._means_of(owners[some])
            if widest is None:
                widest = np.argsort(-means.std(axis=0), kind="stable")[: sketches.shape[1]]
            sketches[some] = means[:, widest]
        return order_in_groups(sketches, _LEAF)

    @property
    def _made_together(self) -> int:
        return max(64, min(_MEANS, _MEAN_VALUES // max(1, self._n_features)))

    def _means_of(self, clusters: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the means of some clusters, from the centre, scaled."""
        layout, reader = self._layout, self.pairs.reader
        members, starts = layout.members_in_turn(clusters)
        places = self.pairs.places[layout.points[members]]
        rows, weights = reader.block(0, reader.shape[0]), layout.weights[members]
        means = np.empty((len(clusters), self._n_features))
        weigh_means(rows, places, weights, starts, self.centre, self.scale, means)
        return means

    @property
    def _kept(self) -> _Kept:
        kept: _Kept = self.made.get(self._operands_of_all, of=self._layout)
        return kept

    def _operands_of_all(self) -> _Kept:
        layout, reader, k, share = self._layout, self.pairs.reader, self._n_features, self._share
        rows, places = reader.block(0, reader.shape[0]), self.pairs.places[layout.points]
        points = np.empty((len(places), k + 2), np.float32)
        bound_operands(rows, places, self.centre, self.scale, share, points)
        means = np.empty((len(layout), k + 2), np.float32)
        for some in slabs(len(means), self._made_together):
            values = self._means_of(np.arange(some.start, some.stop))
            everything = np.arange(len(values))
            bound_operands(values, everything, np.zeros(k), 1.0, share, means[some])
        return _Kept(points, means)

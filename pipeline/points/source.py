"""Driver: rows of a matrix as a source of cluster distances, in tasks on any executor.

::

    points ──strips of rows x all rows──▶ lists of the K nearest          `nearest_points`
    members of owners x all members ──▶ totals ──▶ distances ──▶ lists    `nearest_clusters`
                                                          └────▶ rows     `rows`, `square`

Nothing of the size of n^2 is made but the square that was asked for. The members of a strip of
owners are compared with the members of one group of clusters after the other; what is added up
depends on neither strips nor tasks (``layout.py``).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from clustergrid.pipeline.execution import Executor, available_cores
from clustergrid.pipeline.hierarchy._clusters import CODES, Clusters
from clustergrid.pipeline.hierarchy._neighbors import Neighbors, open_lists
from clustergrid.pipeline.points._blocks import finish_pairs
from clustergrid.pipeline.points._both_ways import put_both_ways
from clustergrid.pipeline.points.base import Pause, Points
from clustergrid.pipeline.points.layout import Layout, Strip, cut_strips
from clustergrid.pipeline.points.reduction import (
    Found,
    Wanted,
    finish_strip,
    join_parts,
    reduce_strip,
)
from clustergrid.pipeline.points.square_order import reorder_square

__all__ = ["PointSource"]

_STRIPS_A_THREAD = 4

_MOST_DISTANCES = 2**20
"""That a task sends back, 8 MB, which it holds twice while it puts them together."""

_MEANS = ("average", "weighted")
"""Methods whose distances are means, in which the roundings of single ones do not matter."""


class PointSource:
    """Cluster distances computed from rows whenever they are wanted; see `DistanceSource`.

    Parameters
    ----------
    points
        `EuclideanPoints` or `MetricPoints`.
    executor
        Where tasks run. What they make has the same bits on any, and for any number of threads.
    """

    def __init__(self, points: Points, *, executor: Executor) -> None:
        self.n = points.n
        self._points = points
        self._executor = executor
        # Once: a worker that has the points reads their values once.
        self._shared = executor.share(points)
        self._known: tuple[Clusters, int, Layout] | None = None

    def nearest_points(
        self, clusters: Clusters, method: str, n_neighbors: int, pause: Pause
    ) -> Neighbors:
        """List the K nearest of every point by (distance, id), in one pass over all pairs."""
        return self._points.nearest(
            self._shared, clusters, method, n_neighbors, self._executor, pause
        )

    def close(self) -> None:
        """Remove rows that were put at rest."""
        self._points.close()

    def _layout(self, clusters: Clusters) -> Layout:
        """Lay clusters out, which rounds ask about several times before they merge some."""
        n_live = int(np.count_nonzero(clusters.live))
        known = self._known
        # Clusters are only ever joined.
        if known is None or known[0] is not clusters or known[1] != n_live:
            layout = Layout.of(clusters, self._points.edge, self._points.order)
            self._known = known = (clusters, n_live, layout)
        return known[2]

    def nearest_clusters(
        self,
        clusters: Clusters,
        method: str,
        n_neighbors: int,
        owners: NDArray[np.int64],
        pause: Pause,
    ) -> Neighbors:
        """List the K nearest clusters of some clusters, one owner a row."""
        layout = self._layout(clusters)
        lists = open_lists(len(owners), n_neighbors)
        places = layout.places(owners)
        order = self._points.side_by_side(layout, CODES[method], places)

        def take(strip: Strip, found: Found) -> None:
            assert isinstance(found, Neighbors)
            put = order[strip.begin : strip.begin + len(strip.owners)]
            lists.ids[put] = found.ids
            lists.bounds[put] = found.bounds
            lists.exact[put] = found.exact
            lists.counts[put] = found.counts
            lists.tau[put] = found.tau

        wanted = Wanted(layout=layout, method=CODES[method], n_neighbors=n_neighbors)
        self._reduce(wanted, places[order], take, pause)
        return lists

    def rows(
        self, clusters: Clusters, method: str, owners: NDArray[np.int64], pause: Pause
    ) -> NDArray[np.float64]:
        """Compute the distances of some clusters to all, ``(len(owners), m)``."""
        layout = self._layout(clusters)
        places = layout.places(owners)
        rows = np.empty((len(owners), len(layout)))

        def take(strip: Strip, found: Found) -> None:
            columns = slice(layout.groups[strip.first_group][0], layout.groups[strip.last_group][1])
            rows[strip.begin : strip.begin + len(strip.owners), columns] = found

        self._reduce(Wanted(layout=layout, method=CODES[method]), places, take, pause)
        rows[np.arange(len(owners)), places] = np.inf
        for row in rows:  # one by one: a copy of all of them is in no plan
            row[:] = row[layout.by_slot]
        return rows

    def square(self, clusters: Clusters, method: str, pause: Pause) -> NDArray[np.float64]:
        """Make the symmetric distances of the live clusters; each pair of points is seen once."""
        layout = self._layout(clusters)
        square = np.empty((len(layout), len(layout)))
        in_place = square if self._executor.in_process else None

        def take(strip: Strip, found: Found) -> None:
            if found is not None:
                assert not isinstance(found, Neighbors)
                put_both_ways(found, strip.begin, layout.groups[strip.first_group][0], square)

        wanted = Wanted(
            layout=layout,
            method=CODES[method],
            square=in_place,
            by_products=method in _MEANS,
        )
        self._reduce(wanted, None, take, pause)
        threads = available_cores()
        reorder_square(square, layout.ranks, threads=threads, pause=partial(pause, 1.0))
        return square

    def distances(
        self,
        clusters: Clusters,
        method: str,
        first: NDArray[np.int64],
        second: NDArray[np.int64],
        pause: Pause,
    ) -> NDArray[np.float64]:
        """Compute the distances of pairs of clusters, one a pair."""
        if len(first) == 0:
            return np.empty(0)
        layout = self._layout(clusters)
        one, other = layout.places(first), layout.places(second)
        # Rows of near pairs lie near one another.
        order = np.lexsort((other, one))
        one, other = one[order], other[order]
        code = CODES[method]
        totals = self._points.pair_totals(
            self._shared, layout, code, one, other, self._executor, pause
        )
        finish_pairs(totals, layout.clusters, one, other, self._points.form, code)
        distances = np.empty_like(totals)
        distances[order] = totals
        return distances

    def _reduce(
        self,
        wanted: Wanted,
        owners: NDArray[np.int64] | None,
        take: Callable[[Strip, Found], None],
        pause: Pause,
    ) -> None:
        """Hand out strips of owners, and take what comes back, large clusters in one piece."""
        strips = cut_strips(
            wanted.layout,
            owners,
            n_wanted=_STRIPS_A_THREAD * self._executor.threads,
            across=wanted.n_neighbors is None,
            most_points=(
                None
                if wanted.n_neighbors is None
                else self._points.listed(wanted.layout, wanted.method)
            ),
            most_distances=_MOST_DISTANCES if wanted.sends_distances else None,
        )
        total = sum(strip.work for strip in strips)
        parts: dict[int, dict[int, NDArray[np.float64]]] = {}
        done = 0
        given = (self._shared, self._executor.share(wanted))
        for strip, found in self._executor.map(
            reduce_strip, given, strips, name="cluster-distances"
        ):
            if strip.part is not None:
                assert isinstance(found, np.ndarray)
                of_owner = parts.setdefault(strip.begin, {})
                of_owner[strip.part] = found
                if len(of_owner) == strip.n_parts:
                    in_order = [of_owner[part] for part in range(strip.n_parts)]
                    totals = join_parts(in_order, wanted.method)
                    take(strip, finish_strip(self._points, wanted, strip, totals))
                    del parts[strip.begin]
            else:
                take(strip, found)
            done += strip.work
            pause(done / max(1, total))

"""Driver: cluster distances from summaries, a mean and a scalar a cluster, with no pairs of points.

Lists are tasks on an executor (``lists.py``). Single distances, rows and the square are computed in
threads of this process, from sums of squared differences. Where means are at rest (``means.py``)
all of them take some at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from clustergrid.pipeline.execution import Executor, available_cores
from clustergrid.pipeline.hierarchy._clusters import Clusters
from clustergrid.pipeline.hierarchy._neighbors import Neighbors, open_lists
from clustergrid.pipeline.hierarchy.methods import Merges
from clustergrid.pipeline.summaries._means import Side, fill_rows, fill_square, pair_distances
from clustergrid.pipeline.summaries._trace import Traced, open_waiting, steps_of, trace_steps
from clustergrid.pipeline.summaries.compared import Compared, packed
from clustergrid.pipeline.summaries.lists import near_lists
from clustergrid.pipeline.summaries.means import Means, MeansAtRest, MeansInMemory, over_means
from clustergrid.pipeline.summaries.rows import RestingRows, SummaryRows
from clustergrid.storage.grid import slabs

__all__ = ["SummarySource"]

_PREPARED = 16
"""Comparisons that take as long as reading a cluster for them."""


class SummarySource:
    """Cluster distances from means; see `DistanceSource`.

    Parameters
    ----------
    points
        Rows whose squared distances are those wanted, with their constants and factor. Where they
        are at rest, the caller closes the source. Distances have the same bits.
    executor
        Where lists are made.
    is_ward
        Whether distances are ward's: the method of every call has to be ward then, and average or
        weighted otherwise.

    Examples
    --------
    >>> from clustergrid.pipeline.execution import SerialExecutor
    >>> rows = SummaryRows(rows=np.eye(3), constants=np.zeros(3), factor=1.0)
    >>> SummarySource(rows, executor=SerialExecutor(), is_ward=False).n
    3
    """

    def __init__(
        self, points: SummaryRows | RestingRows, *, executor: Executor, is_ward: bool
    ) -> None:
        self._executor = executor
        self._is_ward = is_ward
        self._threads = threads = executor.threads if executor.in_process else available_cores()
        self._means: Means = (
            MeansInMemory(points, is_ward=is_ward, threads=threads)
            if isinstance(points, SummaryRows)
            else MeansAtRest(points, is_ward=is_ward, threads=threads)
        )
        self._points = points
        self.n = self._means.n

    def close(self) -> None:
        """Remove what is at rest."""
        self._means.close()

    def nearest_points(
        self, clusters: Clusters, method: str, n_neighbors: int, pause: Callable[[float], None]
    ) -> Neighbors:
        """List the K nearest of every point."""
        order = self._means.order
        compared = self._means.compared(clusters, _halves(method), order, partial(pause, 0.0))
        # Rows that lie together are read faster, and there are no means yet beside them.
        return self._lists(packed(compared), order, n_neighbors, pause)

    def nearest_clusters(
        self,
        clusters: Clusters,
        method: str,
        n_neighbors: int,
        owners: NDArray[np.int64],
        pause: Callable[[float], None],
    ) -> Neighbors:
        """List the K nearest clusters of some clusters, one owner a row."""
        if len(owners) == 0:
            return open_lists(0, n_neighbors)
        numbers = np.full(self.n, -1)
        numbers[owners] = np.arange(len(owners))
        order = self._means.order
        slots = order[clusters.live[order]]
        is_owner = numbers[slots] >= 0
        slots = np.concatenate([slots[is_owner], slots[~is_owner]])
        compared = self._means.compared(clusters, _halves(method), slots, partial(pause, 0.0))
        if not self._executor.in_process:
            compared = packed(compared)
        return self._lists(compared, numbers[slots[: len(owners)]], n_neighbors, pause)

    def _lists(
        self,
        compared: Compared,
        rows: NDArray[np.int64],
        n_neighbors: int,
        pause: Callable[[float], None],
    ) -> Neighbors:
        return near_lists(
            compared,
            rows,
            n_neighbors,
            executor=self._executor,
            threads=self._threads,
            pause=pause,
        )

    def distances(
        self,
        clusters: Clusters,
        method: str,
        first: NDArray[np.int64],
        second: NDArray[np.int64],
        pause: Callable[[float], None],
    ) -> NDArray[np.float64]:
        """Compute the distances of pairs of clusters, one a pair."""
        told, means = partial(pause, 0.0), self._means
        halves = _halves(method)
        means.settle(clusters, halves, told)
        distances = np.empty(len(first))
        # Those of a pair mostly are near one another.
        order = means.near(first)
        for some in slabs(len(first), max(1, means.window // 2)):
            pairs = order[some]
            slots, at = np.unique(
                np.concatenate([first[pairs], second[pairs]]), return_inverse=True
            )
            held, places = means.held(clusters, halves, slots, told)
            one, other = places[at].reshape(2, -1)
            found = np.empty(len(pairs))
            self._over(len(pairs), partial(pair_distances, held, one, other, found), told)
            distances[pairs] = found
        return distances

    def rows(
        self,
        clusters: Clusters,
        method: str,
        owners: NDArray[np.int64],
        pause: Callable[[float], None],
    ) -> NDArray[np.float64]:
        """Compute the distances of some clusters to all, ``(len(owners), m)``."""
        told, means = partial(pause, 0.0), self._means
        halves = _halves(method)
        means.settle(clusters, halves, told)
        slots = np.flatnonzero(clusters.live)
        distances = np.empty((len(owners), len(slots)))
        for ones in self._sides(clusters, halves, owners, 0, told):
            for others in self._sides(clusters, halves, slots, 0, told):
                # To put clusters side by side takes as long as to compare them with some.
                self._over(
                    len(others.places),
                    partial(fill_rows, ones, others, distances),
                    told,
                    each=_PREPARED + len(ones.places),
                )
        return distances

    def square(
        self, clusters: Clusters, method: str, pause: Callable[[float], None]
    ) -> NDArray[np.float64]:
        """Make the ``(m, m)`` distances between all clusters."""
        told, halves = partial(pause, 0.0), _halves(method)
        self._means.settle(clusters, halves, told)
        slots = np.flatnonzero(clusters.live)
        m, done = len(slots), 0
        square = np.empty((m, m))
        np.fill_diagonal(square, 0.0)
        for ones in self._sides(clusters, halves, slots, 0, told):
            behind, done = 0, done + len(ones.places)
            for others in chain([ones], self._sides(clusters, halves, slots, done, told)):
                self._over(
                    len(ones.places),
                    partial(fill_square, ones, others, behind, square),
                    partial(pause, done / m),
                    each=len(others.places),
                )
                behind += len(others.places)
        return square

    def _sides(
        self,
        clusters: Clusters,
        halves: bool,
        slots: NDArray[np.int64],
        first: int,
        pause: Callable[[], None],
    ) -> Iterator[Side]:
        """Hold some clusters of a row or column each, from the first on, near ones together."""
        order = self._means.near(slots)
        for some in slabs(len(order) - first, self._means.window):
            numbers = order[first:][some]
            held, places = self._means.held(clusters, halves, slots[numbers], pause)
            yield Side(held, places, slots[numbers], numbers)

    def trace(
        self,
        method: str,
        sizes: NDArray[np.int64],
        first: NDArray[np.int64],
        second: NDArray[np.int64],
    ) -> Merges:
        """Compute a tree's heights again; the source is of no use for anything else afterwards.

        They are in the unit of the matrix, which other distances of the source are not, and depend
        on the tree alone, and not on when distances were computed, nor how.

        Parameters
        ----------
        method
            The linkage method.
        sizes
            ``(n,)``: identical observations that each point stands for.
        first, second
            ``(n - 1,) int64``: the merges, a point of either cluster, each behind those below it.

        Returns
        -------
        Merges
            The same, by height, then by size, then by lowest point: one order for one tree.
        """
        points, n = self._points, self.n
        traced = Traced(
            heights=np.empty(n - 1),
            lowest=np.empty(n - 1, np.int64),
            united=np.empty(n - 1, np.int64),
        )
        steps = steps_of(first, second)
        k = self._means.n_features
        waiting = open_waiting(n, k, factor=points.factor, is_ward=self._is_ward)
        n_waiting = n_taken = begin = 0
        # Where each point is among the steps.
        places = np.flatnonzero(steps < n)
        for rows in self._means.points(steps[places]):
            n_taken += len(rows)
            end = int(places[n_taken]) if n_taken < n else len(steps)
            n_waiting = trace_steps(
                steps[begin:end],
                rows,
                points.constants,
                sizes,
                _halves(method),
                waiting,
                n_waiting,
                traced,
            )
            begin = end
        heights = traced.heights * points.unit
        order = np.lexsort((traced.lowest, traced.united, heights))
        return Merges(first=first[order], second=second[order], height=heights[order])

    def _over(
        self,
        count: int,
        kernel: Callable[[int, int], None],
        pause: Callable[[], None],
        *,
        each: int = 1,
    ) -> None:
        """Call a kernel for ranges of `count`, so many means each."""
        over_means(
            count,
            self._means.n_features,
            lambda part: kernel(part.start, part.stop),
            threads=self._threads,
            pause=pause,
            each=each,
        )


def _halves(method: str) -> bool:
    """Whether either part of a union counts for a half."""
    return method == "weighted"

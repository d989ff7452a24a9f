"""Driver: cluster distances from summaries, a mean and a scalar a cluster, with no pairs of points.

Lists are tasks on an executor (``lists.py``). Single distances, rows and the square are computed in
threads of this process, from sums of squared differences.

Beside the points the source keeps the means that it was asked for, in each slot, with the number
of members that they are of: a memory, and no state, since a mean is the same to the bit whenever it
is made.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clustergrid.pipeline.execution import Executor, available_cores
from clustergrid.pipeline.hierarchy._clusters import Clusters
from clustergrid.pipeline.hierarchy._neighbors import Neighbors, open_lists
from clustergrid.pipeline.hierarchy._threads import in_threads
from clustergrid.pipeline.hierarchy.methods import Merges
from clustergrid.pipeline.points._near_order import near_order
from clustergrid.pipeline.summaries._means import (
    fill_rows,
    fill_square,
    open_summaries,
    pair_distances,
    some_summaries,
    take_members,
    trace_heights,
)
from clustergrid.pipeline.summaries.lists import OWNERS, Compared, largest_scale, near_lists
from clustergrid.pipeline.summaries.rows import SummaryRows
from clustergrid.storage.grid import slabs

__all__ = ["SummarySource"]

_VALUES_A_PIECE = 2**24
"""Means' values that are compared exactly between two pauses."""

_PREPARED = 16
"""Comparisons that take as long as reading a cluster for them."""

_SAMPLED = 4096
"""Rows that tell how far most of all are apart."""


class SummarySource:
    """Cluster distances from means; see `DistanceSource`.

    Parameters
    ----------
    points
        Rows whose squared distances are those wanted, with their constants and factor.
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

    def __init__(self, points: SummaryRows, *, executor: Executor, is_ward: bool) -> None:
        self.n = len(points.rows)
        self._unit = points.unit
        self._executor = executor
        self._threads = executor.threads if executor.in_process else available_cores()
        self._summaries = open_summaries(
            points.rows, points.constants, factor=points.factor, is_ward=is_ward
        )
        self._order = near_order(points.rows, OWNERS)
        sample = self._order[:: -(-self.n // _SAMPLED)]
        self._scale = largest_scale(some_summaries(self._summaries, sample))

    def nearest_points(
        self, clusters: Clusters, method: str, n_neighbors: int, pause: Callable[[float], None]
    ) -> Neighbors:
        """List the K nearest of every point."""
        compared = self._compared(clusters, method, self._order, partial(pause, 0.0))
        # Rows that lie together are read faster, and there are no means yet beside them.
        return self._lists(_packed(compared), self._order, n_neighbors, pause)

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
        slots = self._order[clusters.live[self._order]]
        is_owner = numbers[slots] >= 0
        slots = np.concatenate([slots[is_owner], slots[~is_owner]])
        compared = self._compared(clusters, method, slots, partial(pause, 0.0))
        if not self._executor.in_process:
            compared = _packed(compared)
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

    def _compared(
        self,
        clusters: Clusters,
        method: str,
        slots: NDArray[np.int64],
        pause: Callable[[], None],
    ) -> Compared:
        """Put what is known of some clusters in an order."""
        self._take(clusters, method, slots, pause)
        return Compared(
            summaries=self._summaries, slots=slots, where=slots, largest_scale=self._scale
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
        told = partial(pause, 0.0)
        self._take(clusters, method, np.unique(np.concatenate([first, second])), told)
        distances = np.empty(len(first))
        self._over(
            len(first),
            lambda part: pair_distances(
                self._summaries, first, second, distances, part.start, part.stop
            ),
            told,
        )
        return distances

    def rows(
        self,
        clusters: Clusters,
        method: str,
        owners: NDArray[np.int64],
        pause: Callable[[float], None],
    ) -> NDArray[np.float64]:
        """Compute the distances of some clusters to all, ``(len(owners), m)``."""
        slots = np.flatnonzero(clusters.live)
        told = partial(pause, 0.0)
        self._take(clusters, method, slots, told)
        distances = np.empty((len(owners), len(slots)))
        self._over(
            len(slots),
            lambda part: fill_rows(
                self._summaries, owners, slots, distances, part.start, part.stop
            ),
            told,
            # To put clusters side by side takes as long as to compare them with some.
            each=_PREPARED + len(owners),
        )
        return distances

    def square(
        self, clusters: Clusters, method: str, pause: Callable[[float], None]
    ) -> NDArray[np.float64]:
        """Make the ``(m, m)`` distances between all clusters."""
        slots = np.flatnonzero(clusters.live)
        self._take(clusters, method, slots, partial(pause, 0.0))
        square = np.empty((len(slots), len(slots)))
        self._over(
            len(slots),
            lambda part: fill_square(self._summaries, slots, square, part.start, part.stop),
            partial(pause, 1.0),
            each=len(slots),
        )
        return square

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
        summaries = self._summaries
        summaries.offsets[summaries.moved] = 0.0
        summaries.moved[:] = False
        summaries.scalars[:] = summaries.constants
        summaries.sizes[:] = sizes
        heights = np.empty(self.n - 1)
        lowest = np.empty(self.n - 1, np.int64)
        united = np.empty(self.n - 1, np.int64)
        trace_heights(summaries, method == "weighted", first, second, heights, lowest, united)
        heights *= self._unit
        order = np.lexsort((lowest, united, heights))
        return Merges(first=first[order], second=second[order], height=heights[order])

    def _take(
        self,
        clusters: Clusters,
        method: str,
        slots: NDArray[np.int64],
        pause: Callable[[], None],
    ) -> None:
        """Bring what is known of some clusters up to date."""
        halves = method == "weighted"
        self._over(
            len(slots),
            lambda part: take_members(
                self._summaries, clusters, halves, slots, part.start, part.stop
            ),
            pause,
        )

    def _over(
        self,
        count: int,
        function: Callable[[slice], Any],
        pause: Callable[[], None],
        *,
        each: int = 1,
    ) -> None:
        """Call a kernel for ranges of `count`, so many means each, in threads where it pays."""
        k = max(1, self._summaries.rows.shape[1])
        parts = list(slabs(count, max(1, _VALUES_A_PIECE // (k * each))))
        threads = 1 if len(parts) == 1 else self._threads
        in_threads(function, parts, threads=threads, pause=pause)


def _packed(compared: Compared) -> Compared:
    """Hold nothing but what is compared, in its order; to be read, or sent to other processes."""
    assert compared.where is not None
    where, known = compared.where, compared.summaries
    if not known.moved.any():
        # All offsets are zero, in any order, and nobody has touched their memory.
        offsets = known.offsets[: len(where)]
        packed = some_summaries(known._replace(offsets=known.offsets[:, :0]), where)
        return replace(compared, summaries=packed._replace(offsets=offsets), where=None)
    return replace(compared, summaries=some_summaries(known, where), where=None)

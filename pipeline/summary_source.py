"""Driver: cluster distances from summaries, a mean and a scalar a cluster, with no pairs of points.

Lists are tasks on an executor, some owners each, compared with all clusters by products in single
precision (``hierarchy/_summary_lists.py``). Single distances, rows and the square are computed in
threads of this process, from the sums of squared differences themselves.

Beside the points the source keeps the means that it was asked for, in each slot, with the number
of members that they are of: a memory, and no state, since a mean is the same to the bit whenever it
is made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clustergrid.pipeline.execution import Executor, available_cores, end_if_stopped
from clustergrid.pipeline.hierarchy._clusters import Clusters
from clustergrid.pipeline.hierarchy._neighbors import (
    Neighbors,
    close_lists,
    open_lists,
    open_reach,
)
from clustergrid.pipeline.hierarchy._summaries import (
    Summaries,
    fill_rows,
    fill_square,
    open_summaries,
    pair_distances,
    take_members,
    trace_heights,
)
from clustergrid.pipeline.hierarchy._summary_lists import (
    Sieve,
    centre_of,
    fill_sieve,
    open_sieve,
    scan_products,
)
from clustergrid.pipeline.hierarchy._threads import in_threads
from clustergrid.pipeline.hierarchy.methods import Merges
from clustergrid.pipeline.summary_rows import SummaryRows
from clustergrid.storage.grid import slabs

__all__ = ["SummarySource"]

_OWNERS = 256
"""Rows of a product: with the columns below, half a megabyte, which stays in the cache."""

_COLUMNS = 512

_VALUES_A_TASK = 2**32
"""Means' values that a task compares: some tenths of a second."""

_VALUES_A_PIECE = 2**24
"""The same of a piece of exact distances."""


@dataclass(frozen=True)
class _Scan:
    """What every task is given: all clusters, and whose lists are wanted.

    Attributes
    ----------
    summaries, sieve, slots
        The slot of each of m clusters, in what it is known of them.
    owners
        ``(owners,)`` int64: places of the sieve.
    n_neighbors
        K.
    """

    summaries: Summaries
    sieve: Sieve
    slots: NDArray[np.int64]
    owners: NDArray[np.int64]
    n_neighbors: int

    def packed(self) -> _Scan:
        """Hold nothing but live clusters, for the way to other processes."""
        known, slots = self.summaries, self.slots
        summaries = known._replace(
            rows=known.rows[slots],
            constants=known.constants[slots],
            offsets=known.offsets[slots],
            moved=known.moved[slots],
            scalars=known.scalars[slots],
            sizes=known.sizes[slots],
            masses=known.masses[slots],
            latest=known.latest[slots],
        )
        return replace(self, summaries=summaries, slots=np.arange(len(self.slots)))


def _lists_of(scan: _Scan, part: slice) -> tuple[slice, Neighbors]:
    """List what is nearest to some owners, of all clusters; ids are places."""
    places = scan.owners[part]
    m = len(scan.slots)
    lists = open_lists(len(places), scan.n_neighbors)
    products = np.empty((_OWNERS, _COLUMNS), np.float32)
    for strip in slabs(len(places), _OWNERS):
        owners = places[strip]
        means = scan.sieve.means[owners]
        own = Neighbors(
            ids=lists.ids[strip],
            bounds=lists.bounds[strip],
            exact=lists.exact[strip],
            counts=lists.counts[strip],
            tau=lists.tau[strip],
        )
        reach = open_reach(len(owners), np.dtype(np.float64))
        # Rows next to one another are often near: the first lists then take less of what follows.
        for columns in _nearest_first(m, int(owners[0])):
            end_if_stopped()
            out = products[: len(owners), : columns.stop - columns.start]
            np.matmul(means, scan.sieve.means[columns].T, out=out)
            scan_products(
                out,
                0,
                columns.start,
                scan.sieve,
                scan.summaries,
                owners,
                scan.slots,
                scan.n_neighbors,
                own,
                reach,
            )
    close_lists(lists, scan.n_neighbors, m - 1, 0, len(places))
    return part, lists


def _nearest_first(m: int, place: int) -> Iterator[slice]:
    """Yield the blocks of m columns from that of a place on, and then those before it."""
    blocks = list(slabs(m, _COLUMNS))
    first = place // _COLUMNS
    yield from blocks[first:]
    yield from reversed(blocks[:first])


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
        self._centre = centre_of(self._summaries)

    def nearest_points(
        self, clusters: Clusters, method: str, n_neighbors: int, pause: Callable[[float], None]
    ) -> Neighbors:
        """List the K nearest of every point."""
        return self.nearest_clusters(clusters, method, n_neighbors, np.arange(self.n), pause)

    def nearest_clusters(
        self,
        clusters: Clusters,
        method: str,
        n_neighbors: int,
        owners: NDArray[np.int64],
        pause: Callable[[float], None],
    ) -> Neighbors:
        """List the K nearest clusters of some clusters, one owner a row."""
        slots = np.flatnonzero(clusters.live)
        self._take(clusters, method, slots, partial(pause, 0.0))
        scan = _Scan(
            summaries=self._summaries,
            sieve=self._sieve(slots, partial(pause, 0.0)),
            slots=slots,
            owners=np.searchsorted(slots, owners),
            n_neighbors=n_neighbors,
        )
        if not self._executor.in_process:
            scan = scan.packed()
        lists = open_lists(len(owners), n_neighbors)
        length = min(n_neighbors, len(slots) - 1)
        done = 0
        for part, found in self._executor.map(
            _lists_of, self._executor.share(scan), self._parts(len(owners), len(slots)), name="near"
        ):
            lists.ids[part, :length] = slots[found.ids[:, :length]]
            lists.bounds[part, :length] = found.bounds[:, :length]
            lists.exact[part, :length] = True
            lists.counts[part] = found.counts
            lists.tau[part] = found.tau
            done += part.stop - part.start
            pause(done / len(owners))
        return lists

    def _parts(self, n_owners: int, m: int) -> Iterator[slice]:
        k = self._summaries.rows.shape[1]
        most = max(1, _VALUES_A_TASK // (max(1, k) * m * _OWNERS)) * _OWNERS
        return slabs(n_owners, most)

    def _sieve(self, slots: NDArray[np.int64], pause: Callable[[], None]) -> Sieve:
        sieve = open_sieve(self._summaries, self._centre, len(slots))
        self._over(
            len(slots),
            lambda part: fill_sieve(
                sieve, self._summaries, self._centre, slots, part.start, part.stop
            ),
            pause,
        )
        return sieve

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
            each=max(1, len(owners)),
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

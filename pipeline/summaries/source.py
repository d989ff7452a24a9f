"""Driver: cluster distances from summaries, a mean and a scalar a cluster, with no pairs of points.

Lists (``lists.py``), rows and the square are tasks on an executor, each of ranges of clusters whose
means it has or reads (``means.py``); small ones in threads of this process, which is sooner. Single
distances are computed here, in threads, from means that lie near one another. All are sums of
squared differences, with the same bits wherever they are made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clustergrid.pipeline.execution import (
    Executor,
    SerialExecutor,
    ThreadsExecutor,
    available_cores,
    end_if_stopped,
)
from clustergrid.pipeline.hierarchy._clusters import Clusters
from clustergrid.pipeline.hierarchy._neighbors import Neighbors, open_lists
from clustergrid.pipeline.hierarchy.methods import Merges
from clustergrid.pipeline.points._both_ways import put_both_ways
from clustergrid.pipeline.points.square_order import reorder_square
from clustergrid.pipeline.summaries._means import (
    Side,
    Summaries,
    fill_rows,
    pair_distances,
    some_summaries,
)
from clustergrid.pipeline.summaries._trace import Traced, open_waiting, steps_of, trace_steps
from clustergrid.pipeline.summaries.compared import Asked, Compared, packed
from clustergrid.pipeline.summaries.lists import Lists, near_lists
from clustergrid.pipeline.summaries.means import Means, MeansAtRest, MeansInMemory, over_means
from clustergrid.pipeline.summaries.plan import (
    SENT_DISTANCES,
    ListPass,
    square_columns,
    square_ranges_a_task,
)
from clustergrid.pipeline.summaries.rows import RestingRows, SummaryRows
from clustergrid.storage.grid import slabs

__all__ = ["SummarySource"]

_LEAST_IN_THREADS, _LEAST_SENT = 2**25, 2**28
"""Differences of values, fewer of which are computed in this thread before others have begun, and
in threads of this process before workers are told of the clusters."""


class SummarySource:
    """Cluster distances from means; see `DistanceSource`.

    Parameters
    ----------
    points
        Rows whose squared distances are those wanted, with their constants and factor. Where they
        are at rest, the caller closes the source. Distances have the same bits.
    executor
        Where lists, rows and the square are made.
    is_ward
        Whether distances are ward's: the method of every call has to be ward then, and average or
        weighted otherwise.
    most_rows
        Clusters that a task holds at either side at most; None: as many as is quick.

    Examples
    --------
    >>> from clustergrid.pipeline.execution import SerialExecutor
    >>> rows = SummaryRows(rows=np.eye(3), constants=np.zeros(3), factor=1.0)
    >>> SummarySource(rows, executor=SerialExecutor(), is_ward=False).n
    3
    """

    def __init__(
        self,
        points: SummaryRows | RestingRows,
        *,
        executor: Executor,
        is_ward: bool,
        most_rows: int | None = None,
    ) -> None:
        self._executor = executor
        self._is_ward = is_ward
        self._most_rows = most_rows
        self._threads = threads = executor.threads if executor.in_process else available_cores()
        self._means: Means = (
            MeansInMemory(points, is_ward=is_ward, threads=threads)
            if isinstance(points, SummaryRows)
            else MeansAtRest(points, is_ward=is_ward, threads=threads)
        )
        self._points = points
        self.n = self._means.n
        self._number = 0
        self._sent: tuple[int, Any] | None = None

    def close(self) -> None:
        """Remove what is at rest."""
        self._sent = None
        self._means.close()

    def _ask(self, clusters: Clusters, method: str) -> Asked:
        self._number += 1
        return Asked(clusters=clusters, halves=_halves(method), number=self._number)

    def _sent_means(self, executor: Executor) -> Any:
        """Return the means as tasks get them, which are sent once."""
        if executor.in_process:
            return self._means
        version = self._means.version
        if self._sent is None or self._sent[0] != version:
            self._sent = (version, executor.share(self._means))
        return self._sent[1]

    def _where(self, n_pairs: int) -> Executor:
        """Return where so many distances are computed soonest; means at rest are for workers."""
        n_values = n_pairs * self._means.n_features
        if n_values < _LEAST_IN_THREADS:
            return _ThisThread()
        is_near = isinstance(self._means, MeansInMemory) and n_values < _LEAST_SENT
        if self._executor.in_process or not is_near:
            return self._executor
        return ThreadsExecutor(self._threads)

    def nearest_points(
        self, clusters: Clusters, method: str, n_neighbors: int, pause: Callable[[float], None]
    ) -> Neighbors:
        """List the K nearest of every point."""
        order, asked = self._means.order, self._ask(clusters, method)
        compared = self._means.compared(asked, order, partial(pause, 0.0))
        if self._executor.in_process:
            # Rows that lie together are read faster, and there are no means yet beside them.
            compared = packed(compared)
        return self._lists(asked, compared, order, n_neighbors, pause)

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
        order, asked = self._means.order, self._ask(clusters, method)
        slots = order[clusters.live[order]]
        is_owner = numbers[slots] >= 0
        slots = np.concatenate([slots[is_owner], slots[~is_owner]])
        compared = self._means.compared(asked, slots, partial(pause, 0.0))
        return self._lists(asked, compared, numbers[slots[: len(owners)]], n_neighbors, pause)

    def _lists(
        self,
        asked: Asked,
        compared: Compared,
        rows: NDArray[np.int64],
        n_neighbors: int,
        pause: Callable[[float], None],
    ) -> Neighbors:
        how = Lists(
            n_neighbors=n_neighbors,
            most_rows=self._most_rows,
            executor=self._executor,
            send=partial(self._send, asked),
            threads=self._threads,
            pause=pause,
        )
        return near_lists(compared, rows, how)

    def _send(self, asked: Asked, compared: Compared) -> Any:
        """Prepare clusters for tasks: of those in memory workers have the points already."""
        executor = self._executor
        if executor.in_process or compared.at_rest is not None:
            return executor.share(compared)
        return self._sent_means(executor), executor.share((asked.sent, compared.slots))

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
        asked = self._ask(clusters, method)
        means.freshen(asked, np.unique(np.concatenate([first, second])), told)
        distances = np.empty(len(first))
        # Those of a pair mostly are near one another.
        order = means.near(first)
        for some in slabs(len(first), max(1, means.window // 2)):
            pairs = order[some]
            slots, at = np.unique(
                np.concatenate([first[pairs], second[pairs]]), return_inverse=True
            )
            held, places = means.held(asked, slots, told)
            one, other = places[at].reshape(2, -1)
            found = np.empty(len(pairs))
            over_means(
                len(pairs),
                means.n_features,
                partial(_pairs_in, held, one, other, found),
                threads=self._threads,
                pause=told,
            )
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
        told, means, asked = partial(pause, 0.0), self._means, self._ask(clusters, method)
        means.settle(asked, told)
        slots = np.flatnonzero(clusters.live)
        order = means.near(slots)
        executor = self._where(len(owners) * len(slots))
        cut = self._cut(len(slots), executor)
        distances = np.empty((len(owners), len(slots)))
        sends = not executor.in_process
        wanted = executor.share(self._wanted(asked, slots, order, sends))
        shared_means = self._sent_means(executor)
        for own in slabs(len(owners), cut.rows):
            ones = _Ones(None, owners[own])
            if len(ones.slots) <= means.window:
                # What each task would read, is read here.
                held, places = means.held(asked, ones.slots, told)
                ones = _Ones(some_summaries(held, places), ones.slots)
            in_place = None if sends else distances[own]
            given = (shared_means, wanted, executor.share(ones), in_place)
            columns = min(cut.rows, SENT_DISTANCES // len(ones.slots) or 1) if sends else cut.rows
            parts = list(slabs(len(slots), columns))
            for part, found in executor.map(_rows_in, given, parts, name="cluster-rows"):
                if found is not None:
                    distances[own, order[part]] = found
                told()
        return distances

    @staticmethod
    def _wanted(
        asked: Asked, slots: NDArray[np.int64], order: NDArray[np.int64], sends: bool
    ) -> _Wanted:
        return _Wanted(asked=asked.sent if sends else asked, slots=slots[order], numbers=order)

    def square(
        self, clusters: Clusters, method: str, pause: Callable[[float], None]
    ) -> NDArray[np.float64]:
        """Make the ``(m, m)`` distances between all clusters."""
        means, asked = self._means, self._ask(clusters, method)
        means.settle(asked, partial(pause, 0.0))
        slots = np.flatnonzero(clusters.live)
        m = len(slots)
        order = means.near(slots)
        executor = self._where(m * m // 2)
        square = np.empty((m, m))
        sends = not executor.in_process
        wanted = executor.share(self._wanted(asked, slots, order, sends))
        given = (self._sent_means(executor), wanted, None if sends else square)
        items = _tiles(m, self._cut(m, executor).rows, sends=sends)
        done, total = 0, sum(item.work for item in items)
        for item, found in executor.map(_square_in, given, items, name="cluster-square"):
            for others, tile in zip(item.others if sends else [], found, strict=True):
                put_both_ways(tile, item.rows.start, others.start, square)
            done += item.work
            pause(done / max(1, total))
        reorder_square(square, order, threads=self._threads, pause=partial(pause, 1.0))
        return square

    def _cut(self, m: int, executor: Executor) -> ListPass:
        """Cut so many clusters as a list pass does."""
        return ListPass(
            n_owners=m,
            n_features=self._means.n_features,
            threads=executor.threads,
            most_rows=self._most_rows,
        )

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


class _ThisThread(SerialExecutor):
    """A plain loop, which does not ask for one thread of BLAS first: nothing is multiplied here."""

    def map(
        self,
        function: Callable[[Any, Any], Any],
        shared: Any,
        items: Iterable[Any],
        *,
        name: str,
    ) -> Iterator[Any]:
        """Call the function for one item after another."""
        del name
        return (function(shared, item) for item in items)


class _Wanted(NamedTuple):
    """What tasks are asked about: clusters by their slots, near ones side by side.

    Parameters
    ----------
    asked
        All clusters.
    slots
        ``(m,) int64``: those that live.
    numbers
        ``(m,) int64``: the row and column of each.
    """

    asked: Asked
    slots: NDArray[np.int64]
    numbers: NDArray[np.int64]


class _Ones(NamedTuple):
    """Clusters whose rows of distances are wanted, and their slots; None: tasks read them."""

    summaries: Summaries | None
    slots: NDArray[np.int64]


class _Tiles(NamedTuple):
    """A range of clusters, and those that it is compared with: itself, or others behind it."""

    rows: slice
    others: list[slice]

    @property
    def work(self) -> int:
        """How many distances there are."""
        n_others = sum(part.stop - part.start for part in self.others)
        return int(self.rows.stop - self.rows.start) * int(n_others)


def _tiles(m: int, rows: int, *, sends: bool) -> list[_Tiles]:
    """Cut the half of a square from the diagonal on into tasks."""
    columns = square_columns(rows, sends=sends)
    a_task = square_ranges_a_task(m, rows, sends=sends)
    items = []
    for some in slabs(m, rows):
        others = [
            slice(some.start + part.start, some.start + part.stop)
            for part in slabs(m - some.start, columns)
        ]
        items += [_Tiles(some, others[part]) for part in slabs(len(others), a_task)]
    return items


def _side(means: Means, wanted: _Wanted, part: slice, numbers: NDArray[np.int64]) -> Side:
    slots = wanted.slots[part]
    held, places = means.held_in_task(wanted.asked, slots)
    return Side(held, places, slots, numbers)


def _pairs_in(
    held: Summaries,
    one: NDArray[np.int64],
    other: NDArray[np.int64],
    distances: NDArray[np.float64],
    part: slice,
) -> None:
    pair_distances(held, one, other, distances, part.start, part.stop)


def _rows_in(given: Any, part: slice) -> tuple[slice, NDArray[np.float64] | None]:
    """Compute the distances of some clusters to a range of them, in place if that is here."""
    means, wanted, ones, distances = given
    places = every = np.arange(len(ones.slots))
    held = ones.summaries
    if held is None:
        held, places = means.held_in_task(wanted.asked, ones.slots)
    found = None
    numbers = wanted.numbers[part]
    if distances is None:
        numbers = np.arange(part.stop - part.start)
        found = distances = np.empty((len(every), len(numbers)))
    others = _side(means, wanted, part, numbers)
    owners = Side(held, places, ones.slots, every)
    fill_rows(owners, others, distances, 0, len(others.places))
    return part, found


def _square_in(given: Any, item: _Tiles) -> tuple[_Tiles, list[NDArray[np.float64]]]:
    """Compute tiles of a square; they come back where they cannot be put in their place here."""
    means, wanted, square = given
    rows = item.rows
    ones = _side(means, wanted, rows, np.arange(rows.stop - rows.start))
    found = []
    for part in item.others:
        end_if_stopped()
        others = _side(means, wanted, part, np.arange(part.stop - part.start))
        tile = np.empty((len(ones.places), len(others.places)))
        fill_rows(ones, others, tile, 0, len(others.places))
        if square is None:
            found.append(tile)
        else:
            put_both_ways(tile, rows.start, part.start, square)
    return item, found


def _halves(method: str) -> bool:
    """Whether either part of a union counts for a half."""
    return method == "weighted"

"""Driver: cluster distances from summaries, a mean and a scalar a cluster, with no pairs of points.

Lists are tasks on an executor, some owners each, compared with all clusters by products in single
precision (``_lists.py``). Clusters lie in the order of a k-d tree's leaves, so that near ones are
mostly neighbours: lists begin with those next to their owner, and go on from the nearest range to
the farthest, so that the signs of products soon say that what is left is too far away. Single
distances, rows and the square are computed in threads of this process, from sums of squared
differences.

Beside the points the source keeps the means that it was asked for, in each slot, with the number
of members that they are of: a memory, and no state, since a mean is the same to the bit whenever it
is made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from math import ceil, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clustergrid.pipeline.execution import Executor, available_cores, end_if_stopped
from clustergrid.pipeline.hierarchy._clusters import Clusters
from clustergrid.pipeline.hierarchy._neighbors import (
    Neighbors,
    Reach,
    close_lists,
    open_lists,
    open_reach,
    replace_lists,
)
from clustergrid.pipeline.hierarchy._threads import in_threads
from clustergrid.pipeline.hierarchy.methods import Merges
from clustergrid.pipeline.points._near_order import near_order
from clustergrid.pipeline.summaries._lists import (
    Compared,
    fill_operands,
    guess_reach,
    longest,
    mean_of,
    offer_around,
    offer_negative,
    which_are_short,
)
from clustergrid.pipeline.summaries._means import (
    fill_rows,
    fill_square,
    open_summaries,
    pair_distances,
    take_members,
    trace_heights,
)
from clustergrid.pipeline.summaries.rows import SummaryRows
from clustergrid.storage.grid import round_up, slabs

__all__ = ["SummarySource"]

_OWNERS = 256
"""Rows of a product."""

_COLUMNS = 512
"""Of a product: with its operands it stays in a second-level cache."""

_SIGNS_AT_ONCE = 64
"""Products that are looked at together."""

_OWNERS_A_TASK = 2048
"""At most: they are about one centre."""

_BLOCK_VALUES = 2**17
"""Of means that become operands together."""

_SAMPLED = 16
"""A guess takes one of so many clusters."""

_GUESSED_FROM = 20
"""Clusters, in units of K, from which on lists begin with a guess."""

_VALUES_A_PIECE = 2**24
"""Means' values that are compared exactly between two pauses."""

_LARGEST_EXPONENT = 400
"""Of a scale, whose square is a double."""


@dataclass(frozen=True)
class _Wanted:
    """What every task is given: all clusters, and the places of those whose lists are wanted."""

    compared: Compared
    owners: NDArray[np.int64]
    n_neighbors: int


class _Lists:
    """Lists of some clusters, to which others are offered.

    Where there are many others, lists begin with a guess of how far they will reach; where not,
    with the clusters next to their owner.
    """

    def __init__(
        self, wanted: _Wanted, places: NDArray[np.int64], *, may_guess: bool = True
    ) -> None:
        self._compared, self._places = wanted.compared, places
        self._n_neighbors = wanted.n_neighbors
        self._width = wanted.compared.summaries.rows.shape[1] + 3
        n = len(places)
        self._centre = mean_of(self._compared, places)
        self._left = np.empty((n, self._width), np.float32)
        self._norms = np.empty(n)
        fill_operands(self._compared, places, self._centre, True, self._left, self._norms)
        self._lists = open_lists(n, self._n_neighbors)
        self._reach: Reach = open_reach(n, np.dtype(np.float64))
        self._scratch = np.empty(_OWNERS * _COLUMNS, np.float32)
        self._n_around = 0
        self._guesses: NDArray[np.float64] | None = None
        if may_guess and len(self._compared.slots) >= _GUESSED_FROM * self._n_neighbors:
            self._guess()
            self._guesses = self._reach.distance.copy()
        else:
            self._n_around = self._n_neighbors
            offer_around(
                self._compared,
                places,
                self._n_neighbors,
                self._norms,
                self._left,
                self._lists,
                self._reach,
            )

    def _guess(self) -> None:
        """Guess so generously that few lists have to be made again."""
        sample = np.arange(0, len(self._compared.slots), _SAMPLED)
        # So many of the K nearest are in the sample, on average; three deviations more hardly ever.
        expected = self._n_neighbors / _SAMPLED
        rank = ceil(expected + 3 * sqrt(expected) + 2)
        right = np.empty((len(sample), self._width), np.float32)
        norms = np.empty(len(sample))
        fill_operands(self._compared, sample, self._centre, False, right, norms)
        means = slice(0, self._width - 2)
        for rows in slabs(len(self._places), _OWNERS):
            guess_reach(
                self._left[rows, means] @ right[:, means].T,
                self._compared,
                self._places,
                rows.start,
                sample,
                rank,
                self._norms,
                self._left,
                self._reach,
            )

    def near_to_far(self) -> list[slice]:
        """Return ranges of all clusters, those about the nearest first."""
        m = len(self._compared.slots)
        room = _BLOCK_VALUES // self._width
        step = _COLUMNS if room >= _COLUMNS else _SIGNS_AT_ONCE
        width = max(step, room // step * step)
        blocks = list(slabs(m, width))
        # A few of each say where it is.
        middles = np.stack(
            [
                mean_of(self._compared, np.arange(block.start, block.stop, -(-width // 16)))
                for block in blocks
            ]
        )
        order = np.argsort(np.square(middles - self._centre).sum(axis=1), kind="stable")
        return [blocks[i] for i in order.tolist()]

    def offer(self, others: slice) -> None:
        """Offer a range of clusters to all lists."""
        places = np.arange(others.start, others.stop)
        right = np.empty((len(places), self._width), np.float32)
        fill_operands(self._compared, places, self._centre, False, right, np.empty(len(places)))
        for columns in slabs(len(places), _COLUMNS):
            width = columns.stop - columns.start
            padded = round_up(width, _SIGNS_AT_ONCE)
            for rows in slabs(len(self._places), _OWNERS):
                height = rows.stop - rows.start
                products = self._scratch[: height * padded].reshape(height, padded)
                np.matmul(self._left[rows], right[columns].T, out=products[:, :width])
                offer_negative(
                    products.view(np.int64),
                    width,
                    self._compared,
                    self._places,
                    rows.start,
                    others.start + columns.start,
                    self._n_around,
                    self._n_neighbors,
                    self._norms,
                    self._left,
                    self._lists,
                    self._reach,
                )

    def short(self) -> NDArray[np.intp]:
        """Return the lists that a guess was too low for."""
        if self._guesses is None:
            return np.empty(0, np.intp)
        return np.flatnonzero(which_are_short(self._lists, self._guesses, self._n_neighbors))

    def replace(self, numbers: NDArray[np.intp], others: _Lists) -> None:
        """Put others in the place of some lists."""
        replace_lists(self._lists, numbers, others._lists)

    def closed(self) -> Neighbors:
        """Return the lists of the K nearest, with room for no more."""
        lists, length = self._lists, self._n_neighbors
        close_lists(lists, length, len(self._compared.slots) - 1, 0, len(lists.counts))
        return lists._replace(
            ids=lists.ids[:, :length].copy(),
            bounds=lists.bounds[:, :length].copy(),
            exact=lists.exact[:, :0],
        )


def _lists_of(wanted: _Wanted, part: slice) -> tuple[slice, Neighbors]:
    """List what is nearest to some owners, of all clusters."""
    places = wanted.owners[part]
    lists = _listed(wanted, places)
    short = lists.short()
    if len(short):
        lists.replace(short, _listed(wanted, places[short], may_guess=False))
    return part, lists.closed()


def _listed(wanted: _Wanted, places: NDArray[np.int64], *, may_guess: bool = True) -> _Lists:
    lists = _Lists(wanted, places, may_guess=may_guess)
    for others in lists.near_to_far():
        end_if_stopped()
        lists.offer(others)
    return lists


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
        self._order = near_order(points.rows, _OWNERS)
        centre = points.rows.mean(axis=0, dtype=np.float64)
        exponent = -int(np.frexp(longest(self._summaries, centre))[1])
        limited = min(max(exponent, -_LARGEST_EXPONENT), _LARGEST_EXPONENT)
        self._scale = float(np.ldexp(1.0, limited))

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
        if len(owners) == 0:
            return open_lists(0, n_neighbors)
        compared = self._compared(clusters, method, partial(pause, 0.0))
        place_of = np.empty(self.n, np.int64)
        place_of[compared.slots] = np.arange(len(compared.slots))
        places = place_of[owners]
        order = np.argsort(places)
        if not self._executor.in_process:
            compared = _packed(compared)
        wanted = _Wanted(compared=compared, owners=places[order], n_neighbors=n_neighbors)
        lists = open_lists(len(owners), n_neighbors)
        length = min(n_neighbors, len(compared.slots) - 1)
        done = 0
        for part, found in self._executor.map(
            _lists_of, self._executor.share(wanted), self._parts(len(owners)), name="near-clusters"
        ):
            to = order[part]
            lists.ids[to, :length] = found.ids[:, :length]
            lists.bounds[to, :length] = found.bounds[:, :length]
            lists.exact[to, :length] = True
            lists.counts[to] = found.counts
            lists.tau[to] = found.tau
            done += len(to)
            pause(done / len(owners))
        return lists

    def _compared(self, clusters: Clusters, method: str, pause: Callable[[], None]) -> Compared:
        """Put what is known of all live clusters in the order of their first members."""
        slots = self._order[clusters.live[self._order]]
        self._take(clusters, method, slots, pause)
        return Compared(summaries=self._summaries, slots=slots, where=slots, scale=self._scale)

    def _parts(self, n_owners: int) -> Iterator[slice]:
        """Cut owners into tasks, some for each thread."""
        fair = round_up(-(-n_owners // (4 * self._executor.threads)), _OWNERS)
        return slabs(n_owners, min(_OWNERS_A_TASK, fair))

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


def _packed(compared: Compared) -> Compared:
    """Hold nothing but what is compared, for the way to other processes."""
    known, slots = compared.summaries, compared.slots
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
    return compared._replace(summaries=summaries, where=np.arange(len(slots)))

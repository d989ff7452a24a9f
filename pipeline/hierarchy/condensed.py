"""Kernel: a condensed distance matrix in memory as a source of cluster distances.

The vector is read, and neither copied nor changed. Threads work on disjoint lists and rows, and
what they make does not depend on how many they are.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from math import ceil, isqrt, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clustergrid.pipeline.hierarchy._clusters import CODES, Clusters
from clustergrid.pipeline.hierarchy._condensed import (
    cluster_distances,
    cluster_rows,
    cut_pairs,
    finish_distances,
    guess_reach,
    nearest_clusters,
    offer_rectangle,
    offer_weighed,
)
from clustergrid.pipeline.hierarchy._contraction import (
    Reduction,
    finish_row,
    finish_square,
    gather_row,
    open_reduction,
    reduce_rows,
    sum_after,
    sum_all,
)
from clustergrid.pipeline.hierarchy._neighbors import (
    Neighbors,
    Reach,
    close_lists,
    open_lists,
    open_reach,
    replace_lists,
)
from clustergrid.pipeline.hierarchy._regions import nearest_of_rows
from clustergrid.pipeline.hierarchy._square import n_observations
from clustergrid.pipeline.hierarchy._sums import BLOCK, points_of
from clustergrid.pipeline.hierarchy._threads import in_threads
from clustergrid.storage.errors import DataTypeError, DataValueError

__all__ = ["CondensedSource"]

# Distances read by one piece of work: some hundredths of a second.
_PIECE = 25_000_000
# A distance that is looked up alone misses the cache.
_LOOKUP = 8
# Of the rows of a cluster that are added up by columns: a few cache lines of each.
_FEWEST_COLUMNS = 64
# Points, in units of K, from which on lists start with a guess from one in so many points.
_GUESSED_FROM = 20
_SAMPLED = 20


class CondensedSource:
    """Cluster distances from SciPy's condensed vector; see `DistanceSource`.

    Parameters
    ----------
    condensed
        ``(n (n - 1) / 2,) float32 or float64``, contiguous, finite.
    threads
        How many threads read it.

    Raises
    ------
    DataTypeError
        If it is neither float32 nor float64.
    DataValueError
        If it is not contiguous, or no number of observations has that many distances.

    Examples
    --------
    >>> CondensedSource(np.array([1.0, 2.0, 3.0])).n
    3
    """

    def __init__(self, condensed: NDArray[Any], *, threads: int = 1) -> None:
        if condensed.dtype not in (np.dtype(np.float32), np.dtype(np.float64)):
            raise DataTypeError(f"float32 or float64 distances are needed, got {condensed.dtype}")
        self.n = n_observations(condensed)
        if not condensed.flags.c_contiguous:
            raise DataValueError(
                "the condensed distance matrix must be contiguous, so that it need not be copied, "
                f"got strides {condensed.strides}"
            )
        self._condensed = condensed
        self._threads = threads

    def nearest_points(
        self, clusters: Clusters, method: str, n_neighbors: int, pause: Callable[[float], None]
    ) -> Neighbors:
        """List the K nearest of every point, in one pass over the distances."""
        n = self.n
        lists = open_lists(n, n_neighbors)
        weighs = method == "ward" and clusters.sizes.max() > 1
        reach = open_reach(n, np.dtype(np.float64) if weighs else self._condensed.dtype)
        guesses = n >= _GUESSED_FROM * n_neighbors
        if guesses:
            self._guess(clusters, method, n_neighbors, reach, pause)
        offer = offer_weighed if weighs else offer_rectangle
        rounds = _tournament(_groups(n, self._threads))
        for done, matches in enumerate(rounds):
            # Two rectangles of one round share no row and no column, and so no list.
            finite = in_threads(
                lambda match: offer(
                    self._condensed, *match, clusters.sizes, n_neighbors, lists, reach
                ),
                matches,
                threads=self._threads,
                pause=partial(pause, done / len(rounds)),
            )
            if not all(finite):
                raise DataValueError(
                    "The condensed distance matrix must contain only finite values."
                )
        if guesses:
            self._list_again(clusters, method, n_neighbors, lists, pause)
        close_lists(lists, n_neighbors, n - 1, 0, n)
        return lists

    def _guess(
        self,
        clusters: Clusters,
        method: str,
        n_neighbors: int,
        reach: Reach,
        pause: Callable[[float], None],
    ) -> None:
        """Guess how far lists will reach, so generously that few have to be made again."""
        n = self.n
        n_sampled = n // _SAMPLED
        # So many of the K nearest are in the sample, on average; three deviations more hardly ever.
        expected = n_neighbors * n_sampled / n
        rank = min(n_sampled, ceil(expected + 3 * sqrt(expected) + 2))
        sample = np.sort(np.random.default_rng(0).choice(n, n_sampled, replace=False))
        in_threads(
            lambda piece: guess_reach(
                self._condensed,
                clusters.sizes,
                CODES[method],
                sample,
                rank,
                reach.distance,
                *piece,
            ),
            _cut(np.full(n, n_sampled), _PIECE // _LOOKUP),
            threads=self._threads,
            pause=partial(pause, 0.0),
        )

    def _list_again(
        self,
        clusters: Clusters,
        method: str,
        n_neighbors: int,
        lists: Neighbors,
        pause: Callable[[float], None],
    ) -> None:
        """Make the lists again that a guess left too short; not all at once, which takes memory."""
        low = np.flatnonzero(lists.counts < n_neighbors)
        most = max(1, self.n // 2)
        for start in range(0, len(low), most):
            owners = low[start : start + most]
            found = self.nearest_clusters(
                clusters, method, n_neighbors, owners, lambda share: pause(1.0)
            )
            replace_lists(lists, owners, found)

    def nearest_clusters(
        self,
        clusters: Clusters,
        method: str,
        n_neighbors: int,
        owners: NDArray[np.int64],
        pause: Callable[[float], None],
    ) -> Neighbors:
        """List the K nearest clusters of some clusters, one owner a row."""
        lists = open_lists(len(owners), n_neighbors)
        reduction = open_reduction(self._condensed, clusters, method)

        def make(places: NDArray[np.int64], begin: int, end: int) -> None:
            nearest_clusters(reduction, n_neighbors, owners, places, lists, begin, end)

        def take(place: int, row: NDArray[np.float64]) -> None:
            owner = owners[place : place + 1]
            nearest_of_rows(row[None], owner, reduction.slots, n_neighbors, lists, place, 0, 1)

        self._make_rows(reduction, owners, make, take, pause)
        return lists

    def distances(
        self,
        clusters: Clusters,
        method: str,
        first: NDArray[np.int64],
        second: NDArray[np.int64],
        pause: Callable[[float], None],
    ) -> NDArray[np.float64]:
        """Compute the distances of pairs of clusters, one a pair."""
        reduction = open_reduction(self._condensed, clusters, method)
        n_points = np.diff(reduction.members.starts)
        blocks = cut_pairs(first, second, n_points)
        totals = np.empty(len(blocks.pairs))
        n_rows = np.minimum(n_points[blocks.rows] - blocks.begins, BLOCK)
        pieces = _cut(n_rows * n_points[blocks.columns], _PIECE // _LOOKUP)
        in_threads(
            lambda piece: cluster_distances(reduction, blocks, totals, *piece),
            pieces,
            threads=self._threads,
            pause=_counting(pause, len(pieces)),
        )
        return finish_distances(reduction, first, second, blocks, totals)

    def rows(
        self,
        clusters: Clusters,
        method: str,
        owners: NDArray[np.int64],
        pause: Callable[[float], None],
    ) -> NDArray[np.float64]:
        """Compute the distances of some clusters to all live ones, one owner a row."""
        reduction = open_reduction(self._condensed, clusters, method)
        rows = np.empty((len(owners), len(reduction.slots)))

        def make(places: NDArray[np.int64], begin: int, end: int) -> None:
            cluster_rows(reduction, owners, places, rows, begin, end)

        def take(place: int, row: NDArray[np.float64]) -> None:
            rows[place] = row

        self._make_rows(reduction, owners, make, take, pause)
        return rows

    def _make_rows(
        self,
        reduction: Reduction,
        owners: NDArray[np.int64],
        make: Callable[[NDArray[np.int64], int, int], None],
        take: Callable[[int, NDArray[np.float64]], None],
        pause: Callable[[float], None],
    ) -> None:
        """Have a piece of the owners with few points made at a time; take the others' rows."""
        most = _PIECE // _LOOKUP
        work = np.diff(reduction.members.starts)[owners] * self.n
        few, many = np.flatnonzero(work <= most), np.flatnonzero(work > most)
        pieces = _cut(work[few], most)
        by_columns = [self._columns(0, int(work[place]) // self.n, most) for place in many]
        tell = _counting(pause, len(pieces) + sum(map(len, by_columns)))
        for place, columns in zip(many, by_columns, strict=True):
            owner = int(owners[place])
            sums, some = self._add_up(sum_all, reduction, owner, columns, tell)
            row = np.empty(len(reduction.slots))
            finish_row(reduction, owner, sums, row, some)
            take(int(place), row)
        in_threads(lambda piece: make(few, *piece), pieces, threads=self._threads, pause=tell)

    def _columns(self, first: int, n_points: int, most: int) -> list[tuple[int, int]]:
        """Cut the columns from `first` on, of so many rows, into pieces of some work."""
        width = max(_FEWEST_COLUMNS, most // n_points)
        return [(left, min(left + width, self.n)) for left in range(first, self.n, width)]

    def _add_up(
        self,
        kernel: Callable[..., None],
        reduction: Reduction,
        owner: int,
        columns: list[tuple[int, int]],
        pause: Callable[[], None],
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Add up the distances of a cluster's members to points, some columns of them at a time.

        Returns the sums and scratch, ``(n,)`` each.
        """
        points = points_of(reduction.members, owner)
        given = (self._condensed, self.n, points, reduction.clusters.weights, reduction.method)
        sums, some = np.empty(self.n), np.empty(self.n)
        in_threads(
            lambda piece: kernel(*given, *piece, sums, some),
            columns,
            threads=self._threads,
            pause=pause,
        )
        return sums, some

    def square(
        self, clusters: Clusters, method: str, pause: Callable[[float], None]
    ) -> NDArray[np.float64]:
        """Make the ``(m, m)`` distances between all clusters, in one pass over the distances."""
        reduction = open_reduction(self._condensed, clusters, method)
        slots, positions = reduction.slots, reduction.positions
        square = np.empty((len(slots), len(slots)))
        # The first point's row is the longest.
        rows_left = np.arange(self.n, 0, -1)
        work = np.bincount(positions, weights=rows_left).astype(np.int64) + len(slots)
        few, many = np.flatnonzero(work <= _PIECE), np.flatnonzero(work > _PIECE)
        pieces = _cut(work[few], _PIECE // 2)
        n_points = np.diff(reduction.members.starts)[slots]
        firsts = [int(slots[row]) + 1 for row in many]
        by_columns = [
            self._columns(first, int(n_points[row]), _PIECE)
            for row, first in zip(many, firsts, strict=True)
        ]
        tell = _counting(pause, len(pieces) + sum(map(len, by_columns)))
        for row, first, columns in zip(many, firsts, by_columns, strict=True):
            sums, some = self._add_up(sum_after, reduction, int(slots[row]), columns, tell)
            where, weights = positions[first:], clusters.weights[first:]
            gather_row(
                reduction.method, sums[first:], where, weights, reduction.panel, square[row], some
            )
        in_threads(
            lambda piece: reduce_rows(reduction, few, square, *piece),
            pieces,
            threads=self._threads,
            pause=tell,
        )
        pieces = _cut(np.arange(len(slots), 0, -1), _PIECE // 2)
        in_threads(
            lambda piece: finish_square(clusters, reduction.method, slots, square, *piece),
            pieces,
            threads=self._threads,
            pause=partial(pause, 1.0),
        )
        return square


def _groups(n: int, threads: int) -> list[tuple[int, int]]:
    """Cut n rows into an even number of ranges, of which half can be matched at a time."""
    wanted = max(2 * threads, -(-n // isqrt(_PIECE)))
    bounds = np.linspace(0, n, wanted + wanted % 2 + 1).astype(int).tolist()
    return list(pairwise(bounds))


def _tournament(
    groups: list[tuple[int, int]],
) -> list[list[tuple[tuple[int, int], tuple[int, int]]]]:
    """Match every group with every other, in rounds in which each plays once; first with itself.

    The circle method: the first group stays, the others move on by one after each round.
    """
    rounds = [[(group, group) for group in groups]]
    circle = groups[1:]
    for _ in circle:
        players = [groups[0], *circle]
        pairs = zip(players[: len(players) // 2], reversed(players), strict=False)
        rounds.append([(min(pair), max(pair)) for pair in pairs])
        circle = [*circle[1:], circle[0]]
    return rounds


def _cut(work: NDArray[np.int64], most: int) -> list[tuple[int, int]]:
    """Cut a range of tasks into pieces that begin within `most` units of work of each other."""
    if len(work) == 0:
        return []
    part = (np.cumsum(work) - work) // most
    starts = np.flatnonzero(np.diff(part, prepend=-1))
    stops = np.append(starts[1:], len(work))
    return list(zip(starts.tolist(), stops.tolist(), strict=True))


def _counting(pause: Callable[[float], None], total: int) -> Callable[[], None]:
    """Return a call for the end of each piece, which says what share of all is done."""
    done = iter(range(1, total + 1))
    return lambda: pause(next(done) / total)

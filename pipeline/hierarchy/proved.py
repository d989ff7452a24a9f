"""Kernel: rounds of merges that lists of near clusters prove; see ``docs/method.md``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue

import numpy as np
from numpy.typing import NDArray

from clustergrid.pipeline.hierarchy._certificates import (
    commit,
    find_nearest,
    match,
    open_round,
    settle,
)
from clustergrid.pipeline.hierarchy._clusters import CODES, Clusters, costs_of, open_clusters
from clustergrid.pipeline.hierarchy._neighbors import (
    Neighbors,
    first_lists,
    least_listed,
    open_lists,
    replace_lists,
)
from clustergrid.pipeline.hierarchy._threads import in_threads
from clustergrid.pipeline.hierarchy._unions import Scratch, open_scratch, rewrite_lists, unite_lists
from clustergrid.pipeline.hierarchy.limits import LISTED_BYTES, MOST_SCRATCHES, Limits
from clustergrid.pipeline.hierarchy.methods import Merges
from clustergrid.pipeline.hierarchy.reached import Report
from clustergrid.pipeline.hierarchy.source import DistanceSource
from clustergrid.storage.errors import DataValueError

__all__ = ["NegativeDistanceError", "Proved", "ProvedRounds"]

# Of the live clusters: rounds that merge less are left to an engine that needs none.
_POOR_ROUND = 0.005
# Relative. The distance of two clusters is computed in more than one way.
_ROUNDING = 1e-12
_EXACT_METHODS = ("single", "complete")
_SLOTS_A_PIECE = 2048
# Lists that one thread looks at between two pauses.
_LISTS_A_PIECE = 65_536
# Pairs, for each point, that may be asked for at once: memory.
_PAIRS_A_POINT = 4


class NegativeDistanceError(DataValueError):
    """A distance is negative, and the method goes by squares."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proved:
    """What rounds leave behind.

    Attributes
    ----------
    clusters
        What is left, and what it is made of.
    merges
        Of points, a round an element.
    rescans
        How many there were.
    distances_asked
        Single pairs of clusters that the source was asked for.
    """

    clusters: Clusters
    merges: list[Merges]
    rescans: int
    distances_asked: int


class ProvedRounds:
    """The clusters of one tree, their lists, and the merges so far.

    Parameters
    ----------
    source, method, limits, report
        As `cluster_certified` has them.
    sizes
        ``(n,) int64``: how many identical observations each point stands for.

    Attributes
    ----------
    n_live
        How many clusters are left.

    Raises
    ------
    NegativeDistanceError
        If the method is ward, and a distance is.
    """

    def __init__(
        self,
        source: DistanceSource,
        method: str,
        limits: Limits,
        sizes: NDArray[np.int64],
        report: Report,
    ) -> None:
        self._source = source
        self._method = method
        self._limits = limits
        self._report = report
        self._n_neighbors = min(limits.n_neighbors, source.n - 1)
        self._tolerance = 0.0 if method in _EXACT_METHODS else _ROUNDING
        self._clusters = open_clusters(sizes, method)
        self._round = open_round(source.n)
        self._merges: list[Merges] = []
        self.n_live = source.n
        self._n_rescans = 0
        self._n_listed_again = 0
        self._n_asked = 0
        # Distances and entries looked at since the last pass.
        self._spent = 0
        self._pass = source.n * (source.n - 1) // 2
        report("lists", 0.0)
        self._lists = source.nearest_points(
            self._clusters, method, self._n_neighbors, partial(report, "lists")
        )
        report.distances += self._pass
        if method == "ward":
            _refuse_negative(self._lists)
        self._scratch: SimpleQueue[Scratch] = SimpleQueue()
        self._scratch_threads = min(limits.threads, MOST_SCRATCHES)
        for _ in range(self._scratch_threads):
            self._scratch.put(open_scratch(self._lists))

    def finish(self) -> Proved:
        """Let go of the lists: their memory is for what comes next."""
        del self._lists, self._scratch
        return Proved(
            clusters=self._clusters,
            merges=self._merges,
            rescans=self._n_rescans,
            distances_asked=self._n_asked,
        )

    def merge_while_rich(self) -> str:
        """Merge round by round; return why that ended, in words that follow "because"."""
        # At most half of the clusters are united in a round. Rescans need the memory.
        united = open_lists(self.n_live // 2, self._n_neighbors)
        self._spent = 0
        while self.n_live > 1:
            if not self._settle_nearest():
                return "single distances would cost more than a pass over all of them"
            first, second = self._match()
            if len(first) == 0:
                return "no two clusters are proved to be nearest to one another"
            n_before = self.n_live
            self._merge(first, second, first_lists(united, len(first)))
            self._spent += n_before * self._n_neighbors
            if self._is_poor(len(first), n_before):
                return f"a round merged {len(first):,} pairs of {n_before:,} clusters"
        return "the tree is done"

    def _is_poor(self, n_merged: int, n_before: int) -> bool:
        if n_merged >= _POOR_ROUND * n_before:
            return False
        if n_before <= self._limits.most_clusters or self._spent > self._pass:
            return True
        # The chain reads a row of distances a merge, a round all lists.
        return n_merged * self._source.n < n_before * self._n_neighbors

    def _settle_nearest(self) -> bool:
        """Look up all nearest neighbours; False where that takes too many single distances.

        Where none is asked for, clusters that need one stay without a proof.
        """
        rounds, clusters, report = self._round, self._clusters, self._report
        n = self._source.n
        n_points: NDArray[np.int64] | None = None
        most_each = 1
        while True:
            owners = np.flatnonzero(rounds.changed & clusters.live)
            wanted = self._look_up(owners, most_each)
            n_wanted = len(wanted)
            if n_wanted == 0 or self._limits.listing_bytes is not None:
                break
            # Few need more than one distance; those that do are not kept asking for long.
            n_each = max(1, _PAIRS_A_POINT * n // n_wanted)
            most_each = min(2 * most_each, 2 * self._n_neighbors, n_each)
            # Both clusters may have asked.
            pairs = np.unique(wanted[:, 0] * n + wanted[:, 1])
            first, second = pairs // n, pairs % n
            if n_points is None:
                n_points = costs_of(clusters, by_members=self._limits.by_members)
            n_distances = int((n_points[first] * n_points[second]).sum())
            self._spent += n_distances
            if self._spent > self._pass:
                return False
            self._n_asked += len(first)
            distances = self._source.distances(
                # The share is of these distances, and of rounds there is none.
                *(clusters, self._method, first, second),
                lambda _share: self._tell_rounds(),
            )
            report.distances += n_distances
            settle(self._lists, first, second, distances)
        least = float(rounds.least[clusters.live].min())
        report.height = max(report.height, least)
        return True

    def _look_up(self, owners: NDArray[np.int64], most_each: int) -> NDArray[np.int64]:
        """Look up the nearest neighbours of some clusters; return the pairs that this takes."""
        room = np.empty((len(owners) * most_each, 2), np.int64)
        pieces = _ranges(len(owners), _SLOTS_A_PIECE)
        counts = in_threads(
            lambda piece: find_nearest(
                self._lists, self._round, owners, most_each, room, piece.start, piece.stop
            ),
            pieces,
            threads=self._limits.threads,
            pause=self._tell_rounds,
        )
        begins = (piece.start * most_each for piece in pieces)
        wanted = [room[begin : begin + n] for begin, n in zip(begins, counts, strict=True)]
        return np.concatenate(wanted) if wanted else room

    def _match(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        proved = np.flatnonzero(self._clusters.live & np.isfinite(self._round.distance))
        order = proved[np.argsort(self._round.distance[proved], kind="stable")]
        pairs = np.empty((2, len(order)), np.int64)
        n_pairs = 0
        for piece in _ranges(len(order), _LISTS_A_PIECE):
            n_pairs += match(
                self._lists,
                self._round,
                order[piece],
                self._tolerance,
                pairs[0, n_pairs:],
                pairs[1, n_pairs:],
            )
            self._tell_rounds()
        return pairs[0, :n_pairs], pairs[1, :n_pairs]

    def _merge(
        self, first: NDArray[np.int64], second: NDArray[np.int64], united: Neighbors
    ) -> None:
        lists, clusters, rounds = self._lists, self._clusters, self._round
        code = CODES[self._method]

        def unite(piece: slice) -> None:
            scratch = self._scratch.get()
            begin, end = piece.start, piece.stop
            unite_lists(lists, united, clusters, rounds, code, first, scratch, begin, end)
            self._scratch.put(scratch)

        def rewrite(piece: slice) -> None:
            scratch = self._scratch.get()
            rewrite_lists(lists, clusters, rounds, code, scratch, piece.start, piece.stop)
            self._scratch.put(scratch)

        def put(piece: slice) -> None:
            begin, end = piece.start, piece.stop
            commit(lists, united, clusters, rounds, code, first, second, begin, end)

        pairs = _ranges(len(first), _SLOTS_A_PIECE)
        self._in_threads(unite, pairs)
        # Only now: the lists of the unions are made from those of all others as they were.
        self._in_threads(rewrite, _ranges(self._source.n, _SLOTS_A_PIECE))
        self._merges.append(
            Merges(first=first.copy(), second=second.copy(), height=rounds.height[first])
        )
        self._in_threads(put, pairs)
        self.n_live -= len(first)
        self._report.clusters_left = self.n_live
        self._tell_rounds()

    def _in_threads(self, function: Callable[[slice], None], pieces: list[slice]) -> None:
        """Change lists, on as many threads as there are scratches."""
        threads = self._scratch_threads
        in_threads(function, pieces, threads=threads, pause=self._tell_rounds)

    def _tell_rounds(self) -> None:
        self._report("rounds", 0.0)

    @property
    def listed_again(self) -> float:
        """How many lists of points rescans have made, a point."""
        return self._n_listed_again / self._source.n

    def rescan(self) -> bool:
        """List anew what is near to the clusters that have no proof; False if there are none.

        Where one pass lists only some, these are the lowest in the tree: others wait for them.
        """
        blocking = np.flatnonzero(self._clusters.live & ~np.isfinite(self._round.distance))
        if self._limits.listing_bytes is not None:
            most = max(1, self._limits.listing_bytes // (LISTED_BYTES * self.n_live))
            order = np.argsort(self._round.least[blocking], kind="stable")
            blocking = np.sort(blocking[order[:most]])
        by_members = self._limits.by_members
        n_points = costs_of(self._clusters, by_members=by_members)
        n_others = (self._source.n if by_members else self.n_live) - 1
        # New lists are beside the old ones, in the memory for those of unions.
        pieces = _ranges(len(blocking), max(1, self._source.n // 2))
        for done, piece in enumerate(pieces):
            owners = blocking[piece]
            found = self._source.nearest_clusters(
                self._clusters,
                self._method,
                self._n_neighbors,
                owners,
                partial(self._tell_rescan, done, len(pieces)),
            )
            replace_lists(self._lists, owners, found)
            n_listed = int(n_points[owners].sum())
            self._n_listed_again += n_listed
            self._report.distances += n_listed * n_others
        self._round.changed[blocking] = True
        self._n_rescans += len(blocking) > 0
        return len(blocking) > 0

    def _tell_rescan(self, done: int, total: int, share: float) -> None:
        self._report("rescan", (done + share) / total)


def _refuse_negative(lists: Neighbors) -> None:
    """Refuse distances whose squares, by which ward goes, are in another order."""
    # Were one negative, the list of either point would have it.
    least, one, other = least_listed(lists)
    if least < 0:
        raise NegativeDistanceError(
            f"ward linkage takes Euclidean distances, and {least:g}, between points {one} and "
            f"{other}, is negative: set to 0 what rounding made negative, or use engine='square', "
            "which makes of them what SciPy makes"
        )


def _ranges(n: int, most: int) -> list[slice]:
    return [slice(begin, min(begin + most, n)) for begin in range(0, n, most)]

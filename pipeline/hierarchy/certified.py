"""Kernel: rounds of proved merges over a source of cluster distances, then one contraction.

::

    source ──one pass──▶ lists of the K nearest ──rounds──▶ clusters left ──one pass──▶ square
      ▲                        ▲           │                                             │
      └── distances of pairs ──┘           └── rescans of what blocks the others    cluster_square
          that lists leave open

The source may be anything that gives lists of near clusters, the distances of pairs, and the square
of what is left: `CondensedSource` is a vector in memory. The driver keeps O(n K), and never asks
for more than a pass's worth of single distances. Why a merge is right that rests on a list of a few
near clusters is in ``docs/method.md``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import isqrt
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from clustergrid.pipeline.hierarchy._certificates import (
    commit,
    find_nearest,
    match,
    open_round,
    settle,
)
from clustergrid.pipeline.hierarchy._clusters import CODES, Clusters, labels_of, open_clusters
from clustergrid.pipeline.hierarchy._neighbors import open_lists, replace_lists
from clustergrid.pipeline.hierarchy._threads import in_threads
from clustergrid.pipeline.hierarchy._unions import rewrite_lists, unite_lists
from clustergrid.pipeline.hierarchy.engine import cluster_square
from clustergrid.pipeline.hierarchy.methods import REDUCIBLE_METHODS, Merges, Start, check_method
from clustergrid.pipeline.hierarchy.source import DistanceSource
from clustergrid.storage.errors import DataValueError

__all__ = [
    "Certified",
    "Limits",
    "Reached",
    "cluster_certified",
    "merge_certified",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What rounds may use.

    Parameters
    ----------
    most_clusters
        How many clusters may be left for the square of their distances.
    n_neighbors
        K, how many near clusters are listed. More leave fewer clusters and take more memory,
        26 K bytes a point (and up to half as much again while lists are united).
    threads
        How many threads work on the lists.

    Raises
    ------
    ValueError
        If one of them is below one.
    """

    most_clusters: int
    n_neighbors: int = 64
    threads: int = 1

    def __post_init__(self) -> None:
        for name in ("most_clusters", "n_neighbors", "threads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")

    @classmethod
    def within(
        cls, memory_bytes: int, *, n: int, n_neighbors: int = 64, threads: int = 1
    ) -> Limits:
        """Return the limits for n points and so much memory, beside the source and the process.

        Examples
        --------
        >>> Limits.within(400_000_000, n=10_000).most_clusters
        6681
        """
        lists_bytes = n * n_neighbors * _LIST_BYTES
        # The square, and a twentieth for the vectors of the engine that works on it.
        entries = max(1, memory_bytes - lists_bytes) * 20 // (21 * 8)
        return cls(most_clusters=max(1, isqrt(entries)), n_neighbors=n_neighbors, threads=threads)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """How far rounds have come.

    Attributes
    ----------
    phase
        ``"lists"``, ``"rounds"``, ``"rescan"``, ``"contraction"`` or ``"square"``.
    share
        Of the phase, between 0 and 1; that of rounds is not known, and 0.
    clusters_left
        Clusters not merged yet.
    height
        Whatever is lower in the tree is done; in the square, where merges are in no order, the
        greatest height so far.
    """

    phase: str
    share: float
    clusters_left: int
    height: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Certified:
    """What rounds leave behind.

    Attributes
    ----------
    start
        The clusters left and the merges made, for `cluster_square`.
    clusters
        The same clusters as the source wants them.
    reason
        Why the rounds ended, in words that follow "because".
    fits
        Whether no more clusters are left than the limit.
    rounds, rescans
        How many of each there were.
    distances_asked
        Single pairs of clusters that the source was asked for.
    """

    start: Start
    clusters: Clusters
    reason: str
    fits: bool
    rounds: int
    rescans: int
    distances_asked: int


Progress: TypeAlias = Callable[[Reached], None]

# Of the live clusters: rounds that merge less are left to the square's engine, which needs none.
_POOR_ROUND = 0.005
# Of the live clusters: a rescan that does not lead to as many merges is the last.
_POOR_RESCAN = 0.05
# Relative. The distance of two clusters is computed in more than one way.
_ROUNDING = 1e-12
_EXACT_METHODS = ("single", "complete")
_SLOTS_A_PIECE = 2048
# Room for two entries, and half as much for the lists of unions.
_LIST_BYTES = 39


def cluster_certified(
    source: DistanceSource,
    method: str,
    *,
    limits: Limits,
    start: Start | None = None,
    progress: Progress | None = None,
) -> Merges | None:
    """Merge all points of a source: by rounds on lists, then on the square of what they leave.

    Parameters
    ----------
    source
        Distances between its points, and between clusters of them.
    method
        Single, complete, average, weighted or ward.
    limits
        How many clusters may be left for the square; the lists' length; threads.
    start
        What the points are, where each stands for identical observations; by default one.
    progress
        Called between bounded pieces of the work. What it raises ends it, as Ctrl-C does.

    Returns
    -------
    Merges or None
        The merges of all observations, for `linkage_matrix`. None where rounds left more clusters
        than the limit: `merge_certified` tells how many, and why.

    Raises
    ------
    DataValueError
        If the method is another one, or a distance is not finite.
    """
    report = _Report(progress)
    left = _merge_by_rounds(source, method, limits, start, report)
    n_left = len(left.start.sizes)
    if not left.fits:
        return None
    if n_left == 1:
        return left.start.merges
    square = source.square(
        left.clusters, method, partial(report, "contraction", clusters_left=n_left)
    )
    merges = cluster_square(
        square,
        method,
        start=left.start,
        threads=limits.threads,
        progress=report.tell_square,
    )
    return left.start.expand(merges)


def merge_certified(
    source: DistanceSource,
    method: str,
    *,
    limits: Limits,
    start: Start | None = None,
    progress: Progress | None = None,
) -> Certified:
    """Merge what lists of near clusters prove, until that is poor work.

    Rounds go on as long as they merge 0.5 % of the clusters. Where more than `most_clusters` are
    left then, those that block others are rescanned, as long as that leads to the merge of 5 % of
    the clusters; and single merges are made while they cost less than a pass over the distances.

    The parameters and errors are those of `cluster_certified`. The merges, and what is left, are
    the same to the bit for any number of threads and any order in which the source works.
    """
    return _merge_by_rounds(source, method, limits, start, _Report(progress))


def _merge_by_rounds(
    source: DistanceSource, method: str, limits: Limits, start: Start | None, report: _Report
) -> Certified:
    if check_method(method) not in REDUCIBLE_METHODS:
        raise DataValueError(
            f"rounds take a method that never brings clusters nearer, got {method!r}: use one of "
            f"{', '.join(REDUCIBLE_METHODS)}, or cluster the square"
        )
    if start is None:
        start = Start.observations(source.n)
    if len(start.sizes) != source.n:
        raise DataValueError(f"a source of {source.n} points got {len(start.sizes)} sizes")
    if source.n == 1:
        return Certified(
            start=start,
            clusters=open_clusters(start.sizes, method),
            reason="there is one point",
            fits=True,
            rounds=0,
            rescans=0,
            distances_asked=0,
        )
    return _Driver(source, method, limits, start, report).run()


class _Report:
    """Tells how far the work has come; remembers what the next call does not say."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self.clusters_left = 0
        self.height = 0.0

    def __call__(self, phase: str, share: float, *, clusters_left: int | None = None) -> None:
        if clusters_left is not None:
            self.clusters_left = clusters_left
        if self._progress is not None:
            self._progress(
                Reached(
                    phase=phase,
                    share=share,
                    clusters_left=self.clusters_left,
                    height=self.height,
                )
            )

    def tell_square(self, done: int, total: int, height: float) -> None:
        """Tell of the square's engine, whose clusters end in one."""
        self.height = max(self.height, height)
        self("square", done / total, clusters_left=total + 1 - done)


class _Driver:
    """The rounds of one tree."""

    def __init__(
        self, source: DistanceSource, method: str, limits: Limits, start: Start, report: _Report
    ) -> None:
        self._source = source
        self._method = method
        self._limits = limits
        self._start = start
        self._report = report
        self._n_neighbors = min(limits.n_neighbors, source.n - 1)
        self._tolerance = 0.0 if method in _EXACT_METHODS else _ROUNDING
        self._clusters = open_clusters(start.sizes, method)
        self._round = open_round(source.n)
        self._merges: list[Merges] = []
        self._n_live = source.n
        self._n_rounds = 0
        self._n_rescans = 0
        self._n_asked = 0
        # Distances and entries looked at since the last pass.
        self._spent = 0
        self._pass = source.n * (source.n - 1) // 2

    def run(self) -> Certified:
        """List, merge, rescan, until there is no more to gain."""
        report = self._report
        report("lists", 0.0, clusters_left=self._n_live)
        self._lists = self._source.nearest_points(
            self._clusters, self._method, self._n_neighbors, partial(report, "lists")
        )
        reason = self._merge_while_rich()
        n_before = self._n_live
        while self._n_live > self._limits.most_clusters and self._rescan():
            reason = self._merge_while_rich()
            if self._n_live > (1 - _POOR_RESCAN) * n_before:
                reason = (
                    f"a rescan led from {n_before:,} to {self._n_live:,} clusters only, and "
                    f"{reason}"
                )
                break
            n_before = self._n_live
        slots = np.flatnonzero(self._clusters.live)
        return Certified(
            start=Start(
                sizes=self._clusters.sizes[slots].astype(np.int64),
                rows=self._start.rows[slots],
                merges=self._all_merges(),
            ),
            clusters=self._clusters,
            reason=reason,
            fits=self._n_live <= self._limits.most_clusters,
            rounds=self._n_rounds,
            rescans=self._n_rescans,
            distances_asked=self._n_asked,
        )

    def _merge_while_rich(self) -> str:
        """Merge round by round; return why that ended."""
        self._spent = 0
        while self._n_live > 1:
            if not self._settle_nearest():
                return "single distances would cost more than a pass over all of them"
            first, second = self._match()
            if len(first) == 0:
                return "no two clusters are proved to be nearest to one another"
            n_before = self._n_live
            self._merge(first, second)
            self._spent += n_before * self._n_neighbors
            if len(first) < _POOR_ROUND * n_before and (
                n_before <= self._limits.most_clusters or self._spent > self._pass
            ):
                return f"a round merged {len(first):,} pairs of {n_before:,} clusters"
        return "the tree is done"

    def _settle_nearest(self) -> bool:
        """Look up all nearest neighbours; False where that takes too many single distances."""
        rounds, clusters = self._round, self._clusters
        n = self._source.n
        n_points: NDArray[np.int64] | None = None
        most_each = 1
        while True:
            owners = np.flatnonzero(rounds.changed & clusters.live)
            wanted = np.empty((len(owners) * most_each, 2), np.int64)
            n_wanted = find_nearest(self._lists, rounds, owners, most_each, wanted)
            # Few need more than one distance; those that do are not kept asking for long.
            most_each = min(2 * most_each, 2 * self._n_neighbors)
            if n_wanted == 0:
                break
            # Both clusters may have asked.
            pairs = np.unique(wanted[:n_wanted, 0] * n + wanted[:n_wanted, 1])
            first, second = pairs // n, pairs % n
            if n_points is None:
                n_points = np.bincount(labels_of(clusters), minlength=n)
            self._spent += int((n_points[first] * n_points[second]).sum())
            if self._spent > self._pass:
                return False
            self._n_asked += len(first)
            distances = self._source.distances(
                # The share is of these distances, and of rounds there is none.
                *(clusters, self._method, first, second),
                lambda _share: self._report("rounds", 0.0),
            )
            settle(self._lists, first, second, distances)
        least = float(rounds.least[clusters.live].min())
        self._report.height = max(self._report.height, least)
        return True

    def _match(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        proved = np.flatnonzero(self._clusters.live & np.isfinite(self._round.distance))
        order = proved[np.argsort(self._round.distance[proved], kind="stable")]
        pairs = np.empty((2, len(order)), np.int64)
        n_pairs = match(self._lists, self._round, order, self._tolerance, pairs[0], pairs[1])
        return pairs[0, :n_pairs], pairs[1, :n_pairs]

    def _merge(self, first: NDArray[np.int64], second: NDArray[np.int64]) -> None:
        lists, clusters, rounds = self._lists, self._clusters, self._round
        code = CODES[self._method]
        united = open_lists(len(first), self._n_neighbors)
        pause = partial(self._report, "rounds", 0.0)
        in_threads(
            lambda piece: unite_lists(
                lists, united, clusters, rounds, code, first, piece.start, piece.stop
            ),
            _ranges(len(first)),
            threads=self._limits.threads,
            pause=pause,
        )
        # Only now: the lists of the unions are made from those of all others as they were.
        in_threads(
            lambda piece: rewrite_lists(lists, clusters, rounds, code, piece.start, piece.stop),
            _ranges(self._source.n),
            threads=self._limits.threads,
            pause=pause,
        )
        self._merges.append(
            Merges(
                first=self._start.rows[first],
                second=self._start.rows[second],
                height=rounds.height[first],
            )
        )
        commit(lists, united, clusters, rounds, code, first, second)
        self._n_live -= len(first)
        self._n_rounds += 1
        self._report("rounds", 0.0, clusters_left=self._n_live)

    def _rescan(self) -> bool:
        """List anew what is near to the clusters that have no proof; False if there are none."""
        blocking = np.flatnonzero(self._clusters.live & ~np.isfinite(self._round.distance))
        if len(blocking) == 0:
            return False
        found = self._source.nearest_clusters(
            self._clusters,
            self._method,
            self._n_neighbors,
            blocking,
            partial(self._report, "rescan"),
        )
        replace_lists(self._lists, blocking, found)
        self._round.changed[blocking] = True
        self._n_rescans += 1
        return True

    def _all_merges(self) -> Merges:
        parts = [self._start.merges, *self._merges]
        return Merges(
            first=np.concatenate([part.first for part in parts]),
            second=np.concatenate([part.second for part in parts]),
            height=np.concatenate([part.height for part in parts]),
        )


def _ranges(n: int) -> list[slice]:
    return [slice(begin, min(begin + _SLOTS_A_PIECE, n)) for begin in range(0, n, _SLOTS_A_PIECE)]

"""Kernel: a tree from a source of cluster distances, with neither all of them nor their square.

::

    source ──one pass──▶ lists of the K nearest ──rounds──▶ clusters left ──one pass──▶ square
     ▲  ▲                        ▲           │                 │      ▲                  │
     │  └── distances of pairs ──┘           │                 ▼      │             cluster_square
     │      that lists leave open            └── rescans of    too many
     │                                           what blocks    │     ▲
     └── rows of distances, a batch at a time ──────────────── chain ─┘

The source may be anything that gives lists of near clusters, the distances of pairs, rows of
distances, and the square of what is left: `CondensedSource` is a vector in memory. Why a merge is
right that rests on a list of a few near clusters is in ``docs/method.md``.

It always ends. Rounds go on while they merge enough for what they cost, up to a pass's worth of
work; a rescan has to lead to the merge of a twentieth of the clusters, or is the last, and all of
them together read a few lists a point; and of the steps of the chain each makes it longer, or
merges.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from clustergrid.pipeline.hierarchy._clusters import Clusters, open_clusters
from clustergrid.pipeline.hierarchy.chained import merge_by_chain
from clustergrid.pipeline.hierarchy.engine import cluster_square
from clustergrid.pipeline.hierarchy.limits import Limits
from clustergrid.pipeline.hierarchy.methods import REDUCIBLE_METHODS, Merges, Start, check_method
from clustergrid.pipeline.hierarchy.proved import ProvedRounds
from clustergrid.pipeline.hierarchy.reached import Progress, Reached, Report
from clustergrid.pipeline.hierarchy.recorded import RecordedSource
from clustergrid.pipeline.hierarchy.source import DistanceSource
from clustergrid.storage.errors import DataValueError

__all__ = [
    "Certified",
    "Limits",
    "Reached",
    "cluster_certified",
    "merge_certified",
]

# Of the live clusters: a rescan that does not lead to as many merges is the last.
_POOR_RESCAN = 0.05
# Of the live clusters, where a rescan is a pass whatever it lists, as is a batch of the chain.
_POOR_PASS = 0.005
# Lists of points that all rescans may make, for each point. Late ones, of large clusters, make
# nearly all of them again, and the chain does with three or so.
_MOST_LISTED = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Certified:
    """What rounds, and the chain after them, leave behind.

    Attributes
    ----------
    start
        The clusters left and the merges made, for `cluster_square`.
    clusters
        The same clusters as the source wants them.
    reason
        Why the rounds ended, in words that follow "because".
    rounds, rescans
        How many of each there were.
    distances_asked
        Single pairs of clusters that the source was asked for.
    chained, rows_fetched
        Merges of the chain, and rows of distances that it asked the source for.
    passes
        Distances between points that all of it took, in units of all there are. The square of what
        is left takes one pass more.
    """

    start: Start
    clusters: Clusters
    reason: str
    rounds: int
    rescans: int
    distances_asked: int
    chained: int
    rows_fetched: int
    passes: float


def cluster_certified(
    source: DistanceSource,
    method: str,
    *,
    limits: Limits,
    start: Start | None = None,
    progress: Progress | None = None,
) -> Merges:
    """Merge all points of a source: by rounds on lists, a chain, and the square of what they leave.

    Parameters
    ----------
    source
        Distances between its points, and between clusters of them.
    method
        Single, complete, average, weighted or ward.
    limits
        How many clusters may be left for the square; the lists' length; memory for rows; threads.
    start
        What the points are, where each stands for identical observations; by default one.
    progress
        Called between bounded pieces of the work. What it raises ends it, as Ctrl-C does.

    Returns
    -------
    Merges
        Those of all observations, for `linkage_matrix`.

    Raises
    ------
    DataValueError
        If the method is another one, or a distance is not finite, or, of ward, negative
        (`NegativeDistanceError`).
    MemoryLimitError
        If a chain is needed, and there is no room for a few rows.
    """
    report = Report(progress, source.n)
    left = _merge_to_limit(source, method, limits, start, report)
    if len(left.start.sizes) == 1:
        return left.start.merges
    report.distances += source.n * (source.n - 1) // 2
    report("contraction", 0.0)
    square = source.square(left.clusters, method, partial(report, "contraction"))
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
    """Merge until the square of what is left is no larger than the limit, or merges grow poor.

    Rounds go on as long as they merge 0.5 % of the clusters. Where more than `most_clusters` are
    left then, those that block others are rescanned, as long as that leads to the merge of 5 % of
    the clusters and has not read more than four lists of every point. What is still too much the
    nearest-neighbour chain merges.

    The parameters and errors are those of `cluster_certified`. The merges, and what is left, are
    the same to the bit for any number of threads and any order in which the source works.
    """
    return _merge_to_limit(source, method, limits, start, Report(progress, source.n))


def _merge_to_limit(
    source: DistanceSource, method: str, limits: Limits, start: Start | None, report: Report
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
            rounds=0,
            rescans=0,
            distances_asked=0,
            chained=0,
            rows_fetched=0,
            passes=0.0,
        )
    rounds = ProvedRounds(source, method, limits, start.sizes, report)
    reason = report.why = _merge_by_rounds(rounds, limits, report)
    proved = rounds.finish()
    chained = merge_by_chain(
        source,
        proved.clusters,
        method,
        limits=limits,
        report=report,
        records=source.chain if isinstance(source, RecordedSource) else None,
    )
    if len(chained.merges.height):
        report.why = "the chain has left as many as fit"
    slots = np.flatnonzero(proved.clusters.live)
    return Certified(
        start=Start(
            sizes=proved.clusters.sizes[slots].astype(np.int64),
            rows=start.rows[slots],
            merges=start.expand(Merges.joined([*proved.merges, chained.merges])),
        ),
        clusters=proved.clusters,
        reason=reason,
        rounds=len(proved.merges),
        rescans=proved.rescans,
        distances_asked=proved.distances_asked,
        chained=len(chained.merges.height),
        rows_fetched=chained.rows_fetched,
        passes=report.passes,
    )


def _merge_by_rounds(rounds: ProvedRounds, limits: Limits, report: Report) -> str:
    """Merge and rescan until there is no more to gain; return why."""
    reason = report.why = rounds.merge_while_rich()
    n_before = rounds.n_live
    reads_singly = limits.listing_bytes is None
    poor = _POOR_RESCAN if reads_singly else _POOR_PASS
    few = min(limits.most_clusters, limits.few_clusters or limits.most_clusters)
    while rounds.n_live > few and rounds.rescan():
        reason = report.why = rounds.merge_while_rich()
        if rounds.n_live > (1 - poor) * n_before:
            return (
                f"a rescan led from {n_before:,} to {rounds.n_live:,} clusters only, and {reason}"
            )
        if reads_singly and rounds.listed_again > _MOST_LISTED:
            return f"rescans have read as much as {_MOST_LISTED} lists of every point"
        n_before = rounds.n_live
    return reason

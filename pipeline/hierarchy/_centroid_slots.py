"""Kernel helper: the clusters of centroid and median linkage, and which of them merges next.

Slots play a tournament, so that the next merge is known at once, and a cluster that changes plays
a dozen matches again. Panels are those of ``_panels.py``.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clustergrid.pipeline._jit import jit
from clustergrid.pipeline.hierarchy._panels import LANES, Centroids, Lists

__all__ = [
    "AHEAD",
    "AHEAD_KEPT",
    "LIST_LENGTH",
    "MERGED",
    "NONE",
    "READ",
    "Clusters",
    "next_entry",
    "open_clusters",
    "pack",
    "play",
]

LIST_LENGTH = 32
"""Nearest neighbours that a cluster knows."""

AHEAD_KEPT = 512
"""Passes made ahead that are remembered."""

NONE = -1

# Places in `Clusters.counters`.
MERGED, READ, AHEAD = 0, 1, 2


class Clusters(NamedTuple):
    """What is known of the clusters, each in a slot; a merge frees one of two.

    A cluster's id counts from the points, ``m`` of them, through the merges, as SciPy's.

    Parameters
    ----------
    is_median
        Whether either part of a union counts for a half, whatever its size.
    scale
        What coordinates were multiplied by, and heights are divided by.
    centroids
        Where they are.
    weights
        ``(slots,)``: observations in each.
    lists, first
        Its nearest, and ``(slots,)``: the first of them that may be live.
    reaches
        ``(slots,)`` squared: others than the listed are not nearer.
    since
        ``(slots,)``: how many merges were done when it knew of all clusters; -1 where it knows
        of those with lower ids only.
    least, one, other
        ``(slots,)``: the squared distance of the next merge of the slot and its two labels, the
        lower first; or a bound of it, and -1 twice.
    winners
        ``(2 * power of two,)``: a tournament of slots; the first to merge is at 1.
    ahead
        ``(slots,)``: the pass that was made for the next merge of the slot, or -1.
    marks
        ``(2 m - 1,)``: the last merge that looked at a cluster.
    ahead_pair, ahead_lists, ahead_since
        Passes made ahead: for which two clusters, and what was found when.
    counters
        Merges done, and entries read since somebody set it to 0; passes made ahead.
    """

    is_median: bool
    scale: float
    centroids: Centroids
    weights: NDArray[np.float64]
    lists: Lists
    first: NDArray[np.int64]
    reaches: NDArray[np.float64]
    since: NDArray[np.int64]
    least: NDArray[np.float64]
    one: NDArray[np.int64]
    other: NDArray[np.int64]
    winners: NDArray[np.int64]
    ahead: NDArray[np.int64]
    marks: NDArray[np.int64]
    ahead_pair: NDArray[np.int64]
    ahead_lists: Lists
    ahead_since: NDArray[np.int64]
    counters: NDArray[np.int64]

    @property
    def n_merged(self) -> int:
        """Merges that are done."""
        return int(self.counters[MERGED])


def open_clusters(
    centroids: Centroids,
    weights: NDArray[np.float64],
    lists: Lists,
    *,
    is_median: bool,
    scale: float,
) -> Clusters:
    """Make a cluster of every point, whose lists are of points before it."""
    m, length = lists.listed.shape
    clusters = Clusters(
        is_median=is_median,
        scale=scale,
        centroids=centroids,
        weights=weights,
        lists=lists,
        first=np.zeros(m, np.int64),
        reaches=lists.reaches,
        since=np.full(m, -1),
        least=np.empty(m),
        one=np.empty(m, np.int64),
        other=np.empty(m, np.int64),
        winners=np.empty(2 * _power_of_two(m), np.int64),
        ahead=np.full(m, -1),
        marks=np.full(2 * m - 1, -1),
        ahead_pair=np.full((AHEAD_KEPT, 2), -1),
        ahead_lists=Lists.empty(AHEAD_KEPT, length),
        ahead_since=np.empty(AHEAD_KEPT, np.int64),
        counters=np.zeros(3, np.int64),
    )
    _start(clusters)
    return clusters


def pack(clusters: Clusters) -> Clusters:
    """Move the live clusters together, in their order; panels are for `fill_panels` to fill."""
    centroids = clusters.centroids
    live = np.flatnonzero(centroids.ids >= 0)
    ids = centroids.ids[live]
    centroids.slots[ids] = np.arange(len(live))
    packed = clusters._replace(
        centroids=centroids._replace(
            rows=centroids.rows[live],
            rests=centroids.rests[live],
            blurs=centroids.blurs[live],
            panels=centroids.panels[: -(-len(live) // LANES)],
            ids=ids,
        ),
        lists=clusters.lists.of(live),
        **{
            name: getattr(clusters, name)[live]
            for name in ("weights", "first", "reaches", "since", "least", "one", "other", "ahead")
        },
        winners=np.empty(2 * _power_of_two(len(live)), np.int64),
    )
    _play_all(packed)
    return packed


def _power_of_two(at_least: int) -> int:
    return 1 << max(0, (at_least - 1).bit_length())


@jit
def _is_before(clusters: Clusters, s: int, t: int) -> bool:
    """Whether slot `s` merges before slot `t`; a bound comes before a distance."""
    if clusters.least[s] != clusters.least[t]:
        return bool(clusters.least[s] < clusters.least[t])
    if clusters.one[s] != clusters.one[t]:
        return bool(clusters.one[s] < clusters.one[t])
    return bool(clusters.other[s] < clusters.other[t])


@jit
def _play_all(clusters: Clusters) -> None:
    """Play the tournament."""
    winners = clusters.winners
    half = len(winners) // 2
    n = len(clusters.weights)
    for s in range(half):
        winners[half + s] = s if s < n else -1
    for node in range(half - 1, 0, -1):
        s, t = winners[2 * node], winners[2 * node + 1]
        winners[node] = s if t < 0 or (s >= 0 and not _is_before(clusters, t, s)) else t


@jit
def play(clusters: Clusters, s: int) -> None:
    """Play the matches of one slot again."""
    winners = clusters.winners
    node = (len(winners) // 2 + s) // 2
    while node > 0:
        a, b = winners[2 * node], winners[2 * node + 1]
        winners[node] = a if b < 0 or (a >= 0 and not _is_before(clusters, b, a)) else b
        node //= 2


@jit
def next_entry(clusters: Clusters, s: int) -> None:
    """Find the first live entry of a slot's list, or what is known without one."""
    lists = clusters.lists
    slots, labels = clusters.centroids.slots, clusters.centroids.labels
    place = clusters.first[s]
    count = lists.counts[s]
    while place < count and slots[lists.listed[s, place]] < 0:
        place += 1
    clusters.first[s] = place
    clusters.ahead[s] = NONE
    if place < count:
        mine = labels[clusters.centroids.ids[s]]
        others = labels[lists.listed[s, place]]
        clusters.least[s] = lists.squared[s, place]
        clusters.one[s] = min(mine, others)
        clusters.other[s] = max(mine, others)
    else:
        clusters.least[s] = clusters.reaches[s]
        clusters.one[s] = NONE
        clusters.other[s] = NONE


@jit
def _start(clusters: Clusters) -> None:
    for s in range(len(clusters.weights)):
        next_entry(clusters, s)
    _play_all(clusters)

"""Kernel helper: the clusters of centroid and median linkage, and which of them merges next.

Slots play a tournament, so that the next merge is known at once, and a cluster that changes plays
a dozen matches again. Panels are those of ``_panels.py``.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clustergrid.pipeline._jit import jit
from clustergrid.pipeline.hierarchy._panels import LANES

__all__ = [
    "AHEAD",
    "AHEAD_KEPT",
    "HITS",
    "LIST_LENGTH",
    "MERGED",
    "NONE",
    "READ",
    "Clusters",
    "next_entry",
    "open_clusters",
    "pack",
    "play",
    "reaches_of",
]

LIST_LENGTH = 32
"""Nearest neighbours that a cluster knows."""

AHEAD_KEPT = 512
"""Passes made ahead that are remembered."""

NONE = -1

# Places in `Clusters.counters`.
MERGED, READ, AHEAD, HITS = 0, 1, 2, 3


class Clusters(NamedTuple):
    """What is known of the clusters, each in a slot; a merge frees one of two.

    A cluster's id counts from the points, ``m`` of them, through the merges, as SciPy's.

    Parameters
    ----------
    rows
        ``(slots, k)`` centroids.
    panels
        ``(panels, k, 64)``: the same, as passes want them; infinite where no cluster is.
    ids, weights
        ``(slots,)``: the cluster in each slot, or -1; its observations.
    listed, squared, counts, first
        ``(slots, length)``, twice, and ``(slots,)``, twice: ids and squared distances of its
        nearest, how many, and the first that may be live.
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
    slots, labels
        ``(2 m - 1,)``: where each cluster is, or -1; its lowest row.
    marks
        ``(2 m - 1,)``: the last merge that looked at a cluster.
    ahead_pair, ahead_listed, ahead_squared, ahead_counts, ahead_since
        Passes made ahead: for which two clusters, and what was found when.
    counters
        Merges done, and entries read since somebody set it to 0; passes made ahead, and used.
    """

    rows: NDArray[np.float64]
    panels: NDArray[np.float64]
    ids: NDArray[np.int64]
    weights: NDArray[np.float64]
    listed: NDArray[np.int64]
    squared: NDArray[np.float64]
    counts: NDArray[np.int64]
    first: NDArray[np.int64]
    reaches: NDArray[np.float64]
    since: NDArray[np.int64]
    least: NDArray[np.float64]
    one: NDArray[np.int64]
    other: NDArray[np.int64]
    winners: NDArray[np.int64]
    ahead: NDArray[np.int64]
    slots: NDArray[np.int64]
    labels: NDArray[np.int64]
    marks: NDArray[np.int64]
    ahead_pair: NDArray[np.int64]
    ahead_listed: NDArray[np.int64]
    ahead_squared: NDArray[np.float64]
    ahead_counts: NDArray[np.int64]
    ahead_since: NDArray[np.int64]
    counters: NDArray[np.int64]

    @property
    def n_merged(self) -> int:
        """Merges that are done."""
        return int(self.counters[MERGED])


def open_clusters(
    points: NDArray[np.float64],
    panels: NDArray[np.float64],
    weights: NDArray[np.float64],
    listed: NDArray[np.int64],
    squared: NDArray[np.float64],
    counts: NDArray[np.int64],
) -> Clusters:
    """Make a cluster of every point, whose lists are of points before it."""
    m = len(points)
    clusters = Clusters(
        rows=points,
        panels=panels,
        ids=np.arange(m),
        weights=weights,
        listed=listed,
        squared=squared,
        counts=counts,
        first=np.zeros(m, np.int64),
        reaches=reaches_of(squared, counts),
        since=np.full(m, -1),
        least=np.empty(m),
        one=np.empty(m, np.int64),
        other=np.empty(m, np.int64),
        winners=np.empty(2 * _power_of_two(m), np.int64),
        ahead=np.full(m, -1),
        slots=np.concatenate([np.arange(m), np.full(m - 1, -1)]),
        labels=np.concatenate([np.arange(m), np.full(m - 1, -1)]),
        marks=np.full(2 * m - 1, -1),
        ahead_pair=np.full((AHEAD_KEPT, 2), -1),
        ahead_listed=np.empty((AHEAD_KEPT, listed.shape[1]), np.int64),
        ahead_squared=np.empty((AHEAD_KEPT, listed.shape[1])),
        ahead_counts=np.empty(AHEAD_KEPT, np.int64),
        ahead_since=np.empty(AHEAD_KEPT, np.int64),
        counters=np.zeros(4, np.int64),
    )
    _start(clusters)
    return clusters


def pack(clusters: Clusters) -> Clusters:
    """Move the live clusters together, in their order."""
    live = np.flatnonzero(clusters.ids >= 0)
    n_panels = -(-len(live) // LANES)
    ids = clusters.ids[live]
    clusters.slots[ids] = np.arange(len(live))
    # Panels are filled by the caller, who has threads.
    packed = clusters._replace(
        rows=clusters.rows[live],
        panels=clusters.panels[:n_panels],
        ids=ids,
        **{
            name: getattr(clusters, name)[live]
            for name in (
                "weights",
                "listed",
                "squared",
                "counts",
                "first",
                "reaches",
                "since",
                "least",
                "one",
                "other",
                "ahead",
            )
        },
        winners=np.empty(2 * _power_of_two(len(live)), np.int64),
    )
    _play_all(packed)
    return packed


def _power_of_two(at_least: int) -> int:
    return 1 << max(0, (at_least - 1).bit_length())


def reaches_of(squared: NDArray[np.float64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return what a full list reaches: its last entry; one that is not full holds all."""
    is_full = counts == squared.shape[1]
    reaches: NDArray[np.float64] = np.where(is_full, squared[:, -1], np.inf)
    return reaches


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
    n = len(clusters.ids)
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
    place = clusters.first[s]
    count = clusters.counts[s]
    while place < count and clusters.slots[clusters.listed[s, place]] < 0:
        place += 1
    clusters.first[s] = place
    clusters.ahead[s] = NONE
    if place < count:
        mine = clusters.labels[clusters.ids[s]]
        others = clusters.labels[clusters.listed[s, place]]
        clusters.least[s] = clusters.squared[s, place]
        clusters.one[s] = min(mine, others)
        clusters.other[s] = max(mine, others)
    else:
        clusters.least[s] = clusters.reaches[s]
        clusters.one[s] = NONE
        clusters.other[s] = NONE


@jit
def _start(clusters: Clusters) -> None:
    for s in range(len(clusters.ids)):
        next_entry(clusters, s)
    _play_all(clusters)

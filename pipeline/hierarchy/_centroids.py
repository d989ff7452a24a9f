"""Kernel: merges of centroid and median linkage, from lists of each cluster's nearest neighbours.

Every pair of clusters is in the care of the younger one, or of one that was looked at again
since: its list holds the nearest, exactly, and `reach` what any other is at least away. The least
of all first live entries is the next merge, if no reach comes before it; else that cluster has to
look again (`wanted`), which is a pass over all clusters, and the caller's part.

The union C of A and B need not look at all at once. With weights a + b = 1 and h between A and B,

    d(C, x)^2 = a d(A, x)^2 + b d(B, x)^2 - a b h^2

so what neither lists is at least as far away as their reaches say; what they list, and what is
younger than a list, is compared with C. A large cluster that takes in one point after another
hardly moves, and needs a pass only now and then. For others, passes are made ahead: together with
the cluster that has to look, the unions that are likely to be next look from where they would be.

Distances are kept squared. Ties go to the pair with the lowest label, then the lowest other label;
a cluster's label is its lowest row.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clustergrid.pipeline._jit import jit
from clustergrid.pipeline.hierarchy._centroid_slots import (
    AHEAD,
    AHEAD_KEPT,
    HITS,
    MERGED,
    NONE,
    READ,
    Clusters,
    next_entry,
    play,
    reaches_of,
)
from clustergrid.pipeline.hierarchy._panels import LANES, insert, squared_distance

__all__ = ["advance", "plan_passes", "take_passes"]

_SLACK = 1e-9
"""Share of a bound that roundings may take; distances have 1e-13."""


def take_passes(
    clusters: Clusters,
    wanted: NDArray[np.int64],
    listed: NDArray[np.int64],
    squared: NDArray[np.float64],
    counts: NDArray[np.int64],
) -> None:
    """Take the lists that passes over all clusters found.

    Parameters
    ----------
    clusters, wanted
        As `plan_passes` left them.
    listed, squared, counts
        A list for each that is wanted.
    """
    _take(clusters, wanted, listed, squared, counts, reaches_of(squared, counts))


@jit
def _most_merges(clusters: Clusters) -> int:
    """Return how many merges old a list may be to be of use: younger ones are compared each."""
    live = len(clusters.marks) // 2 + 1 - clusters.counters[MERGED]
    return int(max(64, live // 8))


@jit
def _share(clusters: Clusters, s: int, t: int, is_median: bool) -> float:
    """Return the share of slot `s` in the union with slot `t`."""
    if is_median:
        return 0.5
    return float(clusters.weights[s] / (clusters.weights[s] + clusters.weights[t]))


@jit
def _union(clusters: Clusters, s: int, t: int, is_median: bool, out: NDArray[np.float64]) -> None:
    """Write the centroid of the union, the same whichever of the two is named first."""
    if clusters.labels[clusters.ids[s]] > clusters.labels[clusters.ids[t]]:
        s, t = t, s
    share = _share(clusters, s, t, is_median)
    one, other = clusters.rows[s], clusters.rows[t]
    for f in range(len(out)):
        out[f] = one[f] + (1.0 - share) * (other[f] - one[f])


@jit
def _inherited_reach(
    clusters: Clusters, s: int, t: int, squared: float, is_median: bool
) -> tuple[float, bool, bool]:
    """Return the reach of a union from its two parts', and which of their lists it needs."""
    merged = clusters.counters[MERGED]
    oldest = merged - _most_merges(clusters)
    from_s = clusters.since[s] >= 0 and clusters.since[s] >= oldest
    from_t = clusters.since[t] >= 0 and clusters.since[t] >= oldest
    if not from_s and not from_t:
        return -1.0, False, False
    height = np.sqrt(squared)
    reach_s = np.sqrt(clusters.reaches[s]) if from_s else 0.0
    reach_t = np.sqrt(clusters.reaches[t]) if from_t else 0.0
    # The triangle of A, B and x.
    at_least_s = max(reach_s, reach_t - height)
    at_least_t = max(reach_t, reach_s - height)
    if at_least_s == np.inf:
        return np.inf, from_s, from_t
    share = _share(clusters, s, t, is_median)
    of_s, of_t = share * at_least_s * at_least_s, (1.0 - share) * at_least_t * at_least_t
    reach = of_s + of_t - share * (1.0 - share) * squared - _SLACK * (of_s + of_t)
    return max(reach, -1.0), from_s, from_t


@jit
def _consider(
    clusters: Clusters,
    candidate: int,
    centroid: NDArray[np.float64],
    reach: float,
    stamp: int,
    ids: NDArray[np.int64],
    squared: NDArray[np.float64],
    count: int,
) -> int:
    """List a cluster among the nearest of a new one, unless it is dead or was considered."""
    slot = clusters.slots[candidate]
    if slot < 0 or clusters.marks[candidate] == stamp:
        return count
    clusters.marks[candidate] = stamp
    clusters.counters[READ] += len(centroid)
    distance = squared_distance(clusters.rows[slot], centroid)
    if distance < reach:
        return int(insert(ids, squared, count, clusters.labels, candidate, distance))
    return count


@jit
def _look(
    clusters: Clusters,
    s: int,
    t: int,
    height: float,
    is_median: bool,
    centroid: NDArray[np.float64],
    ids: NDArray[np.int64],
    squared: NDArray[np.float64],
) -> tuple[int, float]:
    """List what is nearest to the union of two slots, which are no candidates any more.

    Returns how many are listed, and the reach.
    """
    merged = clusters.counters[MERGED]
    m = len(clusters.marks) // 2 + 1
    count = 0
    ahead = clusters.ahead[s]
    if ahead >= 0 and clusters.ahead_since[ahead] >= merged - _most_merges(clusters):
        clusters.counters[HITS] += 1
        oldest = clusters.ahead_since[ahead]
        reach = np.inf
        if clusters.ahead_counts[ahead] == clusters.ahead_listed.shape[1]:
            reach = clusters.ahead_squared[ahead, -1]
        for place in range(clusters.ahead_counts[ahead]):
            candidate = clusters.ahead_listed[ahead, place]
            distance = clusters.ahead_squared[ahead, place]
            # Of those that are as far as the last, younger ones may come first.
            if clusters.slots[candidate] >= 0 and distance < reach:
                ids[count] = candidate
                squared[count] = distance
                clusters.marks[candidate] = merged
                count += 1
    else:
        reach, from_s, from_t = _inherited_reach(clusters, s, t, height, is_median)
        oldest = merged
        if from_s:
            oldest = clusters.since[s]
            for place in range(clusters.counts[s]):
                candidate = clusters.listed[s, place]
                count = _consider(clusters, candidate, centroid, reach, merged, ids, squared, count)
        if from_t:
            oldest = min(oldest, clusters.since[t])
            for place in range(clusters.counts[t]):
                candidate = clusters.listed[t, place]
                count = _consider(clusters, candidate, centroid, reach, merged, ids, squared, count)
        if not from_s and not from_t:
            return 0, reach
    for candidate in range(m + oldest, m + merged):
        count = _consider(clusters, candidate, centroid, reach, merged, ids, squared, count)
    if count == len(ids):
        reach = min(reach, squared[count - 1])
    return count, reach


@jit
def advance(
    clusters: Clusters,
    is_median: bool,
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    height: NDArray[np.float64],
    target: int,
    budget: int,
) -> bool:
    """Merge until `target` merges are done, some `budget` values were read, or one has to look.

    Returns whether the cluster that is first has to look at all others.
    """
    rows, panels, counters = clusters.rows, clusters.panels, clusters.counters
    m = len(clusters.marks) // 2 + 1
    centroid = np.empty(rows.shape[1])
    ids = np.empty(clusters.listed.shape[1], np.int64)
    squared = np.empty(clusters.listed.shape[1])
    counters[READ] = 0
    while counters[MERGED] < target and counters[READ] < budget:
        counters[READ] += 100
        s = clusters.winners[1]
        if clusters.one[s] < 0:
            return True
        partner = clusters.listed[s, clusters.first[s]]
        t = clusters.slots[partner]
        if t < 0:
            next_entry(clusters, s)
            play(clusters, s)
            continue
        merged = counters[MERGED]
        first[merged] = clusters.one[s]
        second[merged] = clusters.other[s]
        height[merged] = np.sqrt(clusters.least[s])
        _union(clusters, s, t, is_median, centroid)
        clusters.slots[clusters.ids[s]] = -1
        clusters.slots[clusters.ids[t]] = -1
        count, reach = _look(clusters, s, t, clusters.least[s], is_median, centroid, ids, squared)
        # The union stays where the lower label was, so that packing keeps the order of labels.
        if clusters.labels[clusters.ids[s]] < clusters.labels[clusters.ids[t]]:
            stays, goes = s, t
        else:
            stays, goes = t, s
        union = m + merged
        clusters.labels[union] = clusters.one[s]
        clusters.slots[union] = stays
        clusters.ids[stays] = union
        clusters.weights[stays] += clusters.weights[goes]
        rows[stays] = centroid
        panels[stays // LANES, :, stays % LANES] = centroid
        clusters.listed[stays] = ids
        clusters.squared[stays] = squared
        clusters.counts[stays] = count
        clusters.first[stays] = 0
        clusters.reaches[stays] = reach
        clusters.since[stays] = merged + 1
        next_entry(clusters, stays)
        clusters.ids[goes] = -1
        panels[goes // LANES, :, goes % LANES] = np.inf
        clusters.least[goes] = np.inf
        clusters.one[goes] = m
        clusters.other[goes] = m
        play(clusters, stays)
        play(clusters, goes)
        counters[MERGED] += 1
    return False


@jit
def plan_passes(
    clusters: Clusters,
    is_median: bool,
    wanted: NDArray[np.int64],
    queries: NDArray[np.float64],
    left_out: NDArray[np.int64],
) -> int:
    """Choose from where passes are made: what has to look, and unions that are likely to.

    Parameters
    ----------
    clusters, is_median
        The clusters, of which the first has to look.
    wanted, queries, left_out
        ``(p,)``, ``(p, k)`` and ``(p, 2)``: room for the slot, the place and the clusters there.

    Returns
    -------
    int
        How many.
    """
    most = len(wanted)
    taken = np.empty(4 * most, np.int64)
    kept = np.empty(4 * most)
    n_taken, n_wanted = 0, 0
    while n_wanted < most and n_taken < len(taken):
        s = clusters.winners[1]
        if clusters.least[s] == np.inf:
            break
        if clusters.one[s] < 0:
            wanted[n_wanted] = s
            queries[n_wanted] = clusters.rows[s]
            left_out[n_wanted] = clusters.ids[s]
            n_wanted += 1
        else:
            partner = clusters.listed[s, clusters.first[s]]
            t = clusters.slots[partner]
            if t >= 0 and clusters.ahead[s] < 0:
                reach, _, _ = _inherited_reach(clusters, s, t, clusters.least[s], is_median)
                if reach <= clusters.least[s]:
                    wanted[n_wanted] = s
                    _union(clusters, s, t, is_median, queries[n_wanted])
                    left_out[n_wanted, 0] = clusters.ids[s]
                    left_out[n_wanted, 1] = partner
                    n_wanted += 1
        taken[n_taken] = s
        kept[n_taken] = clusters.least[s]
        n_taken += 1
        clusters.least[s] = np.inf
        play(clusters, s)
    for i in range(n_taken):
        clusters.least[taken[i]] = kept[i]
        play(clusters, taken[i])
    return n_wanted


@jit
def _take(
    clusters: Clusters,
    wanted: NDArray[np.int64],
    listed: NDArray[np.int64],
    squared: NDArray[np.float64],
    counts: NDArray[np.int64],
    reaches: NDArray[np.float64],
) -> None:
    merged = clusters.counters[MERGED]
    for q in range(len(wanted)):
        s = wanted[q]
        if clusters.one[s] < 0:
            clusters.listed[s] = listed[q]
            clusters.squared[s] = squared[q]
            clusters.counts[s] = counts[q]
            clusters.first[s] = 0
            clusters.reaches[s] = reaches[q]
            clusters.since[s] = merged
            next_entry(clusters, s)
            play(clusters, s)
            continue
        place = clusters.counters[AHEAD] % AHEAD_KEPT
        clusters.counters[AHEAD] += 1
        clusters.ahead_listed[place] = listed[q]
        clusters.ahead_squared[place] = squared[q]
        clusters.ahead_counts[place] = counts[q]
        clusters.ahead_since[place] = merged
        # Whose it was, should nobody have wanted it since.
        before = clusters.ahead_pair[place, 0]
        slot = clusters.slots[before] if before >= 0 else NONE
        if slot >= 0 and clusters.ahead[slot] == place:
            clusters.ahead[slot] = NONE
        clusters.ahead_pair[place, 0] = clusters.ids[s]
        clusters.ahead_pair[place, 1] = clusters.listed[s, clusters.first[s]]
        clusters.ahead[s] = place

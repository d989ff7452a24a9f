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

Roundings take their part of the bound. A centroid is kept as two doubles (``_panels.py``), so what
is lost of it is a share of `h`, which no distance that decides is much below, and next to nothing
of its coordinates.

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
    MERGED,
    NONE,
    READ,
    Clusters,
    next_entry,
    play,
)
from clustergrid.pipeline.hierarchy._panels import (
    LANES,
    Lists,
    Queries,
    insert,
    squared_distance_within,
)

__all__ = ["LARGEST", "advance", "plan_passes", "take_passes"]

LARGEST = 2.0**500
"""Coordinates are below it: squares of their differences, added up, do not overflow."""

_SLACK = 1e-9
"""Share of a bound that roundings may take; distances have 1e-13."""

_COARSE = 2.0**-100 * LARGEST
"""More, in each feature, than the roundings of coordinates that are the sums of two doubles."""


def take_passes(clusters: Clusters, wanted: NDArray[np.int64], found: Lists) -> None:
    """Take the lists that passes over all clusters found.

    Parameters
    ----------
    clusters, wanted
        As `plan_passes` left them.
    found
        A list for each that is wanted.
    """
    _take(clusters, wanted, found, found.reaches)


@jit
def _most_merges(clusters: Clusters) -> int:
    """Return how many merges old a list may be to be of use: younger ones are compared each."""
    live = len(clusters.marks) // 2 + 1 - clusters.counters[MERGED]
    return int(max(64, live // 8))


@jit
def _share(clusters: Clusters, s: int, t: int) -> float:
    """Return the share of slot `s` in the union with slot `t`."""
    if clusters.is_median:
        return 0.5
    return float(clusters.weights[s] / (clusters.weights[s] + clusters.weights[t]))


@jit
def _union(clusters: Clusters, s: int, t: int, queries: Queries, q: int) -> None:
    """Put a query at the centroid of the union, the same whichever of the two is named first."""
    centroids = clusters.centroids
    if centroids.labels[centroids.ids[s]] > centroids.labels[centroids.ids[t]]:
        s, t = t, s
    share_of_other = 1.0 - _share(clusters, s, t)
    one, other = centroids.rows[s], centroids.rows[t]
    one_rest, other_rest = centroids.rests[s], centroids.rests[t]
    row, rest = queries.rows[q], queries.rests[q]
    blur = 0.0
    for f in range(len(row)):
        step = share_of_other * ((other[f] - one[f]) + (other_rest[f] - one_rest[f]))
        # What the sum loses, exactly (Knuth 1998, section 4.2.2); then the larger part of both.
        total = one[f] + step
        taken = total - one[f]
        lost = ((one[f] - (total - taken)) + (step - taken)) + one_rest[f]
        row[f] = total + lost
        rest[f] = lost - (row[f] - total)
        blur += abs(rest[f])
    queries.blurs[q] = blur


@jit
def _inherited_reach(
    clusters: Clusters, s: int, t: int, squared: float
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
    share = _share(clusters, s, t)
    of_s, of_t = share * at_least_s * at_least_s, (1.0 - share) * at_least_t * at_least_t
    coarse = _COARSE * clusters.centroids.rows.shape[1]
    lost = _SLACK * (of_s + of_t) + coarse * (2.0 * np.sqrt(of_s + of_t) + coarse)
    reach = of_s + of_t - share * (1.0 - share) * squared - lost
    return max(reach, -1.0), from_s, from_t


@jit
def _consider(
    clusters: Clusters, candidate: int, union: Queries, reach: float, stamp: int, found: Lists
) -> None:
    """List a cluster among the nearest of a new one, unless it is dead or was considered."""
    slot = clusters.centroids.slots[candidate]
    if slot < 0 or clusters.marks[candidate] == stamp:
        return
    clusters.marks[candidate] = stamp
    centroids, last = clusters.centroids, found.listed.shape[1] - 1
    clusters.counters[READ] += centroids.rows.shape[1]
    farthest = reach
    if found.counts[0] > last:
        farthest = min(reach, found.squared[0, last])
    distance = squared_distance_within(
        centroids.rows[slot], centroids.rests[slot], union.rows[0], union.rests[0], farthest
    )
    if distance < reach:
        insert(found, 0, centroids.labels, candidate, distance)


@jit
def _consider_listed(
    clusters: Clusters, s: int, union: Queries, reach: float, stamp: int, found: Lists
) -> None:
    """Consider what a part of the union lists."""
    for place in range(clusters.lists.counts[s]):
        _consider(clusters, clusters.lists.listed[s, place], union, reach, stamp, found)


@jit
def _look(clusters: Clusters, s: int, t: int, height: float, union: Queries, found: Lists) -> float:
    """List what is nearest to the union of two slots, which are no candidates any more.

    Returns the reach.
    """
    merged = clusters.counters[MERGED]
    m = len(clusters.marks) // 2 + 1
    found.counts[0] = 0
    ahead = clusters.ahead[s]
    if ahead >= 0 and clusters.ahead_since[ahead] >= merged - _most_merges(clusters):
        passed = clusters.ahead_lists
        oldest = clusters.ahead_since[ahead]
        reach = np.inf
        if passed.counts[ahead] == passed.listed.shape[1]:
            reach = passed.squared[ahead, -1]
        count = 0
        for place in range(passed.counts[ahead]):
            candidate = passed.listed[ahead, place]
            distance = passed.squared[ahead, place]
            # Of those that are as far as the last, younger ones may come first.
            if clusters.centroids.slots[candidate] >= 0 and distance < reach:
                found.listed[0, count] = candidate
                found.squared[0, count] = distance
                clusters.marks[candidate] = merged
                count += 1
        found.counts[0] = count
    else:
        reach, from_s, from_t = _inherited_reach(clusters, s, t, height)
        oldest = merged
        if from_s:
            oldest = clusters.since[s]
            _consider_listed(clusters, s, union, reach, merged, found)
        if from_t:
            oldest = min(oldest, clusters.since[t])
            _consider_listed(clusters, t, union, reach, merged, found)
        if not from_s and not from_t:
            return reach
    for candidate in range(m + oldest, m + merged):
        _consider(clusters, candidate, union, reach, merged, found)
    if found.counts[0] == found.listed.shape[1]:
        reach = min(reach, found.squared[0, -1])
    return reach


@jit
def advance(
    clusters: Clusters,
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    height: NDArray[np.float64],
    target: int,
    budget: int,
) -> bool:
    """Merge until `target` merges are done, some `budget` values were read, or one has to look.

    Returns whether the cluster that is first has to look at all others.
    """
    counters, centroids, lists = clusters.counters, clusters.centroids, clusters.lists
    k = centroids.rows.shape[1]
    length = lists.listed.shape[1]
    m = len(clusters.marks) // 2 + 1
    union = Queries(
        np.empty((1, k)),
        np.empty((1, k)),
        np.empty(1),
        np.empty(1, np.int64),
        np.empty((1, 2), np.int64),
    )
    found = Lists(np.empty((1, length), np.int64), np.empty((1, length)), np.empty(1, np.int64))
    counters[READ] = 0
    while counters[MERGED] < target and counters[READ] < budget:
        counters[READ] += 100
        s = clusters.winners[1]
        if clusters.one[s] < 0:
            return True
        partner = lists.listed[s, clusters.first[s]]
        t = clusters.centroids.slots[partner]
        if t < 0:
            next_entry(clusters, s)
            play(clusters, s)
            continue
        merged = counters[MERGED]
        first[merged] = clusters.one[s]
        second[merged] = clusters.other[s]
        height[merged] = np.sqrt(clusters.least[s]) / clusters.scale
        _union(clusters, s, t, union, 0)
        centroids.slots[centroids.ids[s]] = -1
        centroids.slots[centroids.ids[t]] = -1
        reach = _look(clusters, s, t, clusters.least[s], union, found)
        # The union stays where the lower label was, so that packing keeps the order of labels.
        if centroids.labels[centroids.ids[s]] < centroids.labels[centroids.ids[t]]:
            stays, goes = s, t
        else:
            stays, goes = t, s
        _move(clusters, stays, goes, union)
        _copy_list(found, 0, lists, stays)
        clusters.first[stays] = 0
        clusters.reaches[stays] = reach
        clusters.since[stays] = merged + 1
        next_entry(clusters, stays)
        clusters.least[goes] = np.inf
        clusters.one[goes] = m
        clusters.other[goes] = m
        play(clusters, stays)
        play(clusters, goes)
        counters[MERGED] += 1
    return False


@jit
def _move(clusters: Clusters, stays: int, goes: int, union: Queries) -> None:
    """Put the union of two slots into one of them, and nothing into the other."""
    centroids = clusters.centroids
    cluster = len(clusters.marks) // 2 + 1 + clusters.counters[MERGED]
    centroids.labels[cluster] = centroids.labels[centroids.ids[stays]]
    clusters.centroids.slots[cluster] = stays
    clusters.weights[stays] += clusters.weights[goes]
    centroids.ids[stays] = cluster
    centroids.ids[goes] = -1
    centroids.rows[stays] = union.rows[0]
    centroids.rests[stays] = union.rests[0]
    centroids.blurs[stays] = union.blurs[0]
    centroids.blurs[goes] = 0.0
    centroids.panels[stays // LANES, :, stays % LANES] = union.rows[0]
    centroids.panels[goes // LANES, :, goes % LANES] = np.inf


@jit
def plan_passes(clusters: Clusters, wanted: NDArray[np.int64], queries: Queries) -> int:
    """Choose from where passes are made: what has to look, and unions that are likely to.

    Parameters
    ----------
    clusters
        Of which the first has to look.
    wanted, queries
        Room for the slots, ``(p,)``, and for as many queries.

    Returns
    -------
    int
        How many.
    """
    centroids = clusters.centroids
    most = len(wanted)
    taken = np.empty(4 * most, np.int64)
    kept = np.empty(4 * most)
    n_taken, n_wanted = 0, 0
    while n_wanted < most and n_taken < len(taken):
        s = clusters.winners[1]
        if clusters.least[s] == np.inf:
            break
        queries.limits[n_wanted] = len(centroids.ids)
        queries.left_out[n_wanted] = centroids.ids[s]
        if clusters.one[s] < 0:
            wanted[n_wanted] = s
            queries.rows[n_wanted] = centroids.rows[s]
            queries.rests[n_wanted] = centroids.rests[s]
            queries.blurs[n_wanted] = centroids.blurs[s]
            n_wanted += 1
        else:
            partner = clusters.lists.listed[s, clusters.first[s]]
            t = clusters.centroids.slots[partner]
            if t >= 0 and clusters.ahead[s] < 0:
                reach, _, _ = _inherited_reach(clusters, s, t, clusters.least[s])
                if reach <= clusters.least[s]:
                    wanted[n_wanted] = s
                    _union(clusters, s, t, queries, n_wanted)
                    queries.left_out[n_wanted, 1] = partner
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
    clusters: Clusters, wanted: NDArray[np.int64], found: Lists, reaches: NDArray[np.float64]
) -> None:
    merged = clusters.counters[MERGED]
    ids, lists, ahead_lists = clusters.centroids.ids, clusters.lists, clusters.ahead_lists
    for q in range(len(wanted)):
        s = wanted[q]
        if clusters.one[s] < 0:
            _copy_list(found, q, lists, s)
            clusters.first[s] = 0
            clusters.reaches[s] = reaches[q]
            clusters.since[s] = merged
            next_entry(clusters, s)
            play(clusters, s)
            continue
        place = clusters.counters[AHEAD] % AHEAD_KEPT
        clusters.counters[AHEAD] += 1
        _copy_list(found, q, ahead_lists, place)
        clusters.ahead_since[place] = merged
        # Whose it was, should nobody have wanted it since.
        before = clusters.ahead_pair[place, 0]
        slot = clusters.centroids.slots[before] if before >= 0 else NONE
        if slot >= 0 and clusters.ahead[slot] == place:
            clusters.ahead[slot] = NONE
        clusters.ahead_pair[place, 0] = ids[s]
        clusters.ahead_pair[place, 1] = lists.listed[s, clusters.first[s]]
        clusters.ahead[s] = place


@jit
def _copy_list(found: Lists, q: int, lists: Lists, place: int) -> None:
    lists.listed[place] = found.listed[q]
    lists.squared[place] = found.squared[q]
    lists.counts[place] = found.counts[q]

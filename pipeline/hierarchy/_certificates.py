"""Kernel: one round of merges that lists of near clusters prove; see ``docs/method.md``.

A list holds all clusters that are nearer to its owner than `tau` (or bounds of their distances).
Its owner's nearest neighbour is therefore known once the least bound in the list is an exact
distance of at most `tau`. Two clusters that are nearest to one another may be merged at once, with
all other such pairs: the methods are reducible, no union is nearer to a third cluster than the
nearer of its parts.

A round has four parts, each but the second over ranges of clusters that threads can share:

1. `find_nearest` looks into the lists that changed, and asks for the exact distances it needs.
2. `match` pairs clusters that are nearest to one another.
3. `_unions.unite_lists` makes the lists of the unions, aside, and `rewrite_lists` replaces, in all
   other lists, what was merged. A distance that a list does not have gets a lower bound from the
   list's certificate; what the other cluster's list knows of it is asked for only when it matters.
4. `commit` puts the unions in the place of their parts.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clustergrid.pipeline._jit import borrowing
from clustergrid.pipeline.hierarchy._clusters import Clusters, join
from clustergrid.pipeline.hierarchy._neighbors import Neighbors, least_bound, proves

__all__ = [
    "Round",
    "commit",
    "find_nearest",
    "match",
    "open_round",
    "settle",
]


class Round(NamedTuple):
    """What is known of each cluster's nearest neighbour, and which merges are under way.

    Parameters
    ----------
    distance
        ``(n,) float64``: exact distance to the nearest neighbour; infinite where it is not proved.
    least
        ``(n,) float64``: lower bound of it, proved or not.
    changed
        ``(n,) bool``: whether the list changed since its nearest entry was looked up.
    partner
        ``(n,) int64``: the slot that a slot is merged with in this round; -1 for none.
    height
        ``(n,) float64``: at which distance.
    """

    distance: NDArray[np.float64]
    least: NDArray[np.float64]
    changed: NDArray[np.bool_]
    partner: NDArray[np.int64]
    height: NDArray[np.float64]


def open_round(n: int) -> Round:
    """Return the state before the first round: every list has yet to be looked at."""
    return Round(
        distance=np.full(n, np.inf),
        least=np.full(n, -np.inf),
        changed=np.ones(n, np.bool_),
        partner=np.full(n, -1),
        height=np.zeros(n),
    )


@borrowing
def find_nearest(
    lists: Neighbors,
    rounds: Round,
    owners: NDArray[np.int64],
    most_each: int,
    wanted: NDArray[np.int64],
    start: int,
    stop: int,
) -> int:
    """Look up the nearest neighbours of the owners `start` to `stop`.

    Where the least bound in a list is no distance, though small enough to be the nearest, nothing
    is settled, and the owner stays `changed`. `wanted`, ``(len(owners) * most_each, 2)``, gets
    pairs of clusters, the lower slot first, of which the distances are needed: that one, and up to
    `most_each` in all that may turn out to be nearer. They begin at ``start * most_each``.

    Threads may take different owners at once, though an owner's list learns from those of others,
    which may be learning: of two entries for one pair that are both bounds, each becomes the
    greater of the two, whichever is read first; and of one that is a distance nothing is learnt by
    which it would change.

    Returns
    -------
    int
        How many pairs are wanted.
    """
    begin = start * most_each
    end = begin
    for owner in owners[start:stop]:
        best = _nearest_entry(lists, owner)
        while best >= 0 and _tighten(lists, owner, best):
            best = _nearest_entry(lists, owner)
        tau = lists.tau[owner]
        rounds.distance[owner] = np.inf
        rounds.least[owner] = tau
        rounds.changed[owner] = False
        if best < 0 or not proves(lists.bounds[owner, best], lists.exact[owner, best], tau):
            continue
        rounds.least[owner] = lists.bounds[owner, best]
        if lists.exact[owner, best]:
            rounds.distance[owner] = lists.bounds[owner, best]
            continue
        rounds.changed[owner] = True
        end = _want(lists, owner, best, most_each, wanted, end)
    return end - begin


@borrowing
def _want(
    lists: Neighbors,
    owner: int,
    best: int,
    most_each: int,
    wanted: NDArray[np.int64],
    n_wanted: int,
) -> int:
    """Ask for the owner's `best` entry, and for those after it that may be nearer."""
    most = lists.tau[owner]
    for entry in range(lists.counts[owner]):
        if lists.exact[owner, entry]:
            most = min(most, lists.bounds[owner, entry])
    entry = best
    for _ in range(most_each):
        bound = lists.bounds[owner, entry]
        other = lists.ids[owner, entry]
        wanted[n_wanted, 0] = min(owner, other)
        wanted[n_wanted, 1] = max(owner, other)
        n_wanted += 1
        entry = -1
        for later in range(lists.counts[owner]):
            if (
                not lists.exact[owner, later]
                and lists.bounds[owner, later] < most
                and _is_after(lists, owner, later, bound, other)
                and (entry < 0 or _is_nearer(lists, owner, later, entry))
            ):
                entry = later
        if entry < 0:
            break
    return n_wanted


@borrowing
def _is_after(lists: Neighbors, owner: int, entry: int, bound: float, other: int) -> bool:
    known = lists.bounds[owner, entry]
    return bool(known > bound or (known == bound and lists.ids[owner, entry] > other))


@borrowing
def _nearest_entry(lists: Neighbors, owner: int) -> int:
    count = lists.counts[owner]
    bounds = lists.bounds[owner, :count]
    least = least_bound(bounds)
    best = -1
    for entry in range(count):
        if bounds[entry] == least and (best < 0 or _is_nearer(lists, owner, entry, best)):
            best = entry
    return best


@borrowing
def _tighten(lists: Neighbors, owner: int, entry: int) -> bool:
    """Learn from the other cluster's list how far it is; whether that changes what is nearest."""
    bound = lists.bounds[owner, entry]
    if lists.exact[owner, entry] or bound >= lists.tau[owner]:
        return False
    other = lists.ids[owner, entry]
    there = _find(lists, other, owner)
    if there < 0:
        known = lists.tau[other]
    else:
        known = lists.bounds[other, there]
        lists.exact[owner, entry] = lists.exact[other, there]
    if known <= bound and not lists.exact[owner, entry]:
        return False
    lists.bounds[owner, entry] = known
    return True


@borrowing
def _is_nearer(lists: Neighbors, owner: int, entry: int, best: int) -> bool:
    """Order entries by (bound, whether it is the distance, id)."""
    bound = lists.bounds[owner, entry]
    best_bound = lists.bounds[owner, best]
    if bound != best_bound:
        return bool(bound < best_bound)
    if lists.exact[owner, entry] != lists.exact[owner, best]:
        return bool(lists.exact[owner, entry])
    return bool(lists.ids[owner, entry] < lists.ids[owner, best])


@borrowing
def settle(
    lists: Neighbors,
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    distances: NDArray[np.float64],
) -> None:
    """Put the exact distances of pairs into the lists of both, where these have an entry."""
    for pair in range(len(first)):
        for owner, other in ((first[pair], second[pair]), (second[pair], first[pair])):
            entry = _find(lists, owner, other)
            if entry >= 0 and not lists.exact[owner, entry]:
                lists.bounds[owner, entry] = distances[pair]
                lists.exact[owner, entry] = True


@borrowing
def _find(lists: Neighbors, owner: int, other: int) -> int:
    """Return where a cluster is in a list; -1 if it is not. It is there once at most."""
    ids = lists.ids[owner]
    # A sum over the whole list is vectorized, a search that may end early is not.
    place = np.int32(0)
    for entry in range(lists.counts[owner]):
        place += np.int32(entry + 1) * np.int32(ids[entry] == other)
    return int(place) - 1


@borrowing
def match(
    lists: Neighbors,
    rounds: Round,
    order: NDArray[np.int64],
    tolerance: float,
    first: NDArray[np.int64],
    second: NDArray[np.int64],
) -> int:
    """Pair clusters that are nearest to one another; return how many pairs there are.

    Parameters
    ----------
    lists, rounds
        All lists, looked up.
    order
        The clusters whose nearest neighbours are proved, by (distance, slot).
    tolerance
        Relative: up to it distances count as equal, because two ways of computing one may differ
        in the last digits. Of equals any may be taken, and where many are equally near, whoever is
        still free is: otherwise all would wait for the same one.
    first, second
        Where the pairs go, the lower slot first.
    """
    n_pairs = 0
    for owner in order:
        if rounds.partner[owner] >= 0:
            continue
        most = rounds.distance[owner]
        most += abs(most) * tolerance
        best = -1
        for entry in range(lists.counts[owner]):
            bound = lists.bounds[owner, entry]
            if bound > most or not lists.exact[owner, entry]:
                continue
            other = lists.ids[owner, entry]
            if rounds.partner[other] >= 0:
                continue
            least = rounds.least[other]
            if bound <= least + abs(least) * tolerance and (
                best < 0 or _is_nearer(lists, owner, entry, best)
            ):
                best = entry
        if best < 0:
            continue
        other = int(lists.ids[owner, best])
        height = lists.bounds[owner, best]
        first[n_pairs] = min(owner, other)
        second[n_pairs] = max(owner, other)
        rounds.height[owner] = height
        rounds.height[other] = height
        rounds.partner[owner] = other
        rounds.partner[other] = owner
        n_pairs += 1
    return n_pairs


@borrowing
def commit(
    lists: Neighbors,
    united: Neighbors,
    clusters: Clusters,
    rounds: Round,
    method: int,
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    start: int,
    stop: int,
) -> None:
    """Let the unions of the pairs `start` to `stop` take the lower slots of their parts."""
    for pair in range(start, stop):
        a = first[pair]
        b = second[pair]
        join(clusters, method, a, b, rounds.height[a])
        count = united.counts[pair]
        for entry in range(count):
            lists.ids[a, entry] = united.ids[pair, entry]
            lists.bounds[a, entry] = united.bounds[pair, entry]
            lists.exact[a, entry] = united.exact[pair, entry]
        lists.counts[a] = count
        lists.tau[a] = united.tau[pair]
        lists.counts[b] = 0
        rounds.changed[a] = True
        rounds.partner[a] = -1
        rounds.partner[b] = -1

"""Kernel: the lists of near clusters after a round of merges; see ``docs/method.md``.

An entry for a cluster that was merged becomes one for the union, with the two distances combined;
of a distance that the list does not have its certificate is a lower bound. What the other
cluster's list knows is not looked up here, because most entries never matter.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clustergrid.pipeline._jit import borrowing
from clustergrid.pipeline.hierarchy._certificates import Round
from clustergrid.pipeline.hierarchy._clusters import SINGLE, WARD, Clusters, combine
from clustergrid.pipeline.hierarchy._neighbors import Neighbors, keep_nearest, least_bound, proves

__all__ = ["Scratch", "open_scratch", "rewrite_lists", "unite_lists"]


class Scratch(NamedTuple):
    """What a thread works on: clean between two lists.

    Parameters
    ----------
    places
        ``(2, n) int32``: where a cluster is in the lists of the two that are merged; -1 if not.
    seen
        ``(n,) bool``: whether it is among `ids`; false between lists.
    ids, bounds, exact
        ``(4 K,)``: the entries of a new list, before what has no room is dropped.
    """

    places: NDArray[np.int32]
    seen: NDArray[np.bool_]
    ids: NDArray[np.int32]
    bounds: NDArray[np.float64]
    exact: NDArray[np.bool_]


def open_scratch(lists: Neighbors) -> Scratch:
    """Return what one thread needs for the lists of n clusters."""
    n, room = lists.ids.shape
    return Scratch(
        places=np.full((2, n), -1, np.int32),
        seen=np.zeros(n, np.bool_),
        ids=np.empty(2 * room, np.int32),
        bounds=np.empty(2 * room),
        exact=np.empty(2 * room, np.bool_),
    )


@borrowing
def unite_lists(
    lists: Neighbors,
    united: Neighbors,
    clusters: Clusters,
    rounds: Round,
    method: int,
    first: NDArray[np.int64],
    scratch: Scratch,
    start: int,
    stop: int,
) -> None:
    """Make the lists of the unions of the pairs `start` to `stop`, in `united`."""
    # Apart: handed on as one, they cost the loop below half as much again.
    places, seen, ids, bounds, exact = scratch
    for pair in range(start, stop):
        a = first[pair]
        b = rounds.partner[a]
        tau = _united_tau(lists, clusters, method, a, b, rounds.height[a])
        count, tau = _collect(
            lists, clusters, rounds, method, a, b, tau, places, seen, ids, bounds, exact
        )
        for entry in range(count):
            united.ids[pair, entry] = ids[entry]
            united.bounds[pair, entry] = bounds[entry]
            united.exact[pair, entry] = exact[entry]
        united.counts[pair] = count
        united.tau[pair] = tau


@borrowing
def rewrite_lists(
    lists: Neighbors,
    clusters: Clusters,
    rounds: Round,
    method: int,
    scratch: Scratch,
    start: int,
    stop: int,
) -> None:
    """Replace what was merged in the lists of the slots `start` to `stop` that were not."""
    places = scratch.places[0]
    merged = scratch.ids
    partner = rounds.partner
    for owner in range(start, stop):
        if not clusters.live[owner] or partner[owner] >= 0:
            continue
        ids = lists.ids[owner]
        n_merged = 0
        for entry in range(lists.counts[owner]):
            # Written in any case: whether it counts is not for a branch to guess.
            merged[n_merged] = entry
            n_merged += partner[ids[entry]] >= 0
        if n_merged == 0:
            continue
        for entry in merged[:n_merged]:
            places[ids[entry]] = entry
        for entry in merged[:n_merged]:
            _replace(lists, clusters, rounds, method, owner, entry, places)
        for entry in merged[:n_merged]:
            places[ids[entry]] = -1
        for entry in merged[:n_merged]:
            ids[entry] = min(ids[entry], partner[ids[entry]])
        _drop(lists, owner)
        rounds.changed[owner] = True


@borrowing
def _replace(
    lists: Neighbors,
    clusters: Clusters,
    rounds: Round,
    method: int,
    owner: int,
    entry: int,
    places: NDArray[np.int32],
) -> None:
    """Bound the distance of `owner` to the union of the cluster of an entry with its partner.

    Of two entries for parts of one union the later one goes: nothing proves less than infinity.
    """
    other = lists.ids[owner, entry]
    partner = rounds.partner[other]
    there = places[partner]
    if 0 <= there < entry:
        lists.bounds[owner, entry] = np.inf
        lists.exact[owner, entry] = False
        return
    low = min(other, partner)
    high = max(other, partner)
    bound, is_exact = _combined(
        clusters,
        method,
        _known(lists, owner, places[low]),
        _known(lists, owner, places[high]),
        rounds.height[low],
        low,
        high,
        clusters.sizes[owner],
    )
    lists.bounds[owner, entry] = bound
    lists.exact[owner, entry] = is_exact


@borrowing
def _drop(lists: Neighbors, owner: int) -> None:
    """Drop the entries of a list that say no more than its certificate."""
    ids = lists.ids[owner]
    bounds = lists.bounds[owner]
    exact = lists.exact[owner]
    tau = lists.tau[owner]
    count = 0
    for entry in range(lists.counts[owner]):
        bound = bounds[entry]
        is_exact = exact[entry]
        ids[count] = ids[entry]
        bounds[count] = bound
        exact[count] = is_exact
        count += proves(bound, is_exact, tau)
    lists.counts[owner] = count


@borrowing
def _united_tau(
    lists: Neighbors, clusters: Clusters, method: int, a: int, b: int, height: float
) -> float:
    """Return how far the union of `a` and `b` is, at least, from whatever neither lists.

    Combining the two certificates as if they were distances is right, since `combine` grows with
    both. Ward's formula also needs the other cluster's size, s. It is monotone in s, from the
    weighted mean of the squares at 0 to ``tau_a^2 + tau_b^2 - height^2`` at infinity, which is no
    less than either square, `height` being a proved nearest distance: so the least size that there
    is, one observation, gives the bound.
    """
    tau_a = lists.tau[a]
    tau_b = lists.tau[b]
    if method == WARD:
        height = min(height, tau_a, tau_b)
    return combine(method, tau_a, tau_b, height, clusters.sizes[a], clusters.sizes[b], 1.0)


@borrowing
def _collect(
    lists: Neighbors,
    clusters: Clusters,
    rounds: Round,
    method: int,
    a: int,
    b: int,
    tau: float,
    places: NDArray[np.int32],
    seen: NDArray[np.bool_],
    ids: NDArray[np.int32],
    bounds: NDArray[np.float64],
    exact: NDArray[np.bool_],
) -> tuple[int, float]:
    """Fill ids, bounds and exact with the list of the union of `a` and `b`.

    Returns how many entries there are, and the certificate: `tau`, or less where entries had to
    be dropped for want of room. Entries beyond the certificate prove nothing, and go.
    """
    count = 0
    for part in range(2):
        owner = a if part == 0 else b
        for entry in range(lists.counts[owner]):
            other = int(lists.ids[owner, entry])
            places[part, other] = entry
            if other in (a, b):
                continue
            partner = rounds.partner[other]
            slot = other if partner < 0 else min(other, partner)
            if seen[slot]:
                continue
            seen[slot] = True
            ids[count] = slot
            count += 1
    n_kept = 0
    for position in range(count):
        slot = int(ids[position])
        seen[slot] = False
        partner = rounds.partner[slot]
        if partner < 0:
            bound, is_exact = _bound(lists, clusters, rounds, method, a, b, slot, places)
        elif a > slot:
            # Whichever of two unions asks, the parts of the lower one are combined first.
            bound, is_exact = _bound_by_columns(
                lists, clusters, rounds, method, a, b, slot, partner, places
            )
        else:
            bound, is_exact = _combined(
                clusters,
                method,
                _bound(lists, clusters, rounds, method, a, b, slot, places),
                _bound(lists, clusters, rounds, method, a, b, partner, places),
                rounds.height[slot],
                slot,
                partner,
                clusters.sizes[a] + clusters.sizes[b],
            )
        if proves(bound, is_exact, tau):
            ids[n_kept] = slot
            bounds[n_kept] = bound
            exact[n_kept] = is_exact
            n_kept += 1
    for part in range(2):
        owner = a if part == 0 else b
        for entry in range(lists.counts[owner]):
            places[part, lists.ids[owner, entry]] = -1
    room = lists.ids.shape[1]
    if n_kept > room:
        keep_nearest(ids, bounds, exact, n_kept, room)
        tau = min(tau, least_bound(bounds[room:n_kept]))
        n_kept = room
    return n_kept, tau


@borrowing
def _bound(
    lists: Neighbors,
    clusters: Clusters,
    rounds: Round,
    method: int,
    a: int,
    b: int,
    other: int,
    places: NDArray[np.int32],
) -> tuple[float, bool]:
    """Bound the distance of the union of `a` and `b` to an old cluster."""
    return _combined(
        clusters,
        method,
        _known(lists, a, places[0, other]),
        _known(lists, b, places[1, other]),
        rounds.height[a],
        a,
        b,
        clusters.sizes[other],
    )


@borrowing
def _bound_by_columns(
    lists: Neighbors,
    clusters: Clusters,
    rounds: Round,
    method: int,
    a: int,
    b: int,
    c: int,
    d: int,
    places: NDArray[np.int32],
) -> tuple[float, bool]:
    """Bound the distance between two unions, combining `c` and `d` first."""
    size_a = clusters.sizes[a]
    size_b = clusters.sizes[b]
    height = rounds.height[c]
    from_a = _combined(
        clusters,
        method,
        _known(lists, a, places[0, c]),
        _known(lists, a, places[0, d]),
        height,
        c,
        d,
        size_a,
    )
    from_b = _combined(
        clusters,
        method,
        _known(lists, b, places[1, c]),
        _known(lists, b, places[1, d]),
        height,
        c,
        d,
        size_b,
    )
    size = clusters.sizes[c] + clusters.sizes[d]
    return _combined(clusters, method, from_a, from_b, rounds.height[a], a, b, size)


@borrowing
def _combined(
    clusters: Clusters,
    method: int,
    from_a: tuple[float, bool],
    from_b: tuple[float, bool],
    height: float,
    a: int,
    b: int,
    size: float,
) -> tuple[float, bool]:
    bound_a, exact_a = from_a
    bound_b, exact_b = from_b
    bound = combine(method, bound_a, bound_b, height, clusters.sizes[a], clusters.sizes[b], size)
    if method == SINGLE:
        # The nearer of the two is the distance, and the other is at least its bound.
        return bound, exact_a if bound_a <= bound_b else exact_b
    return bound, exact_a and exact_b


@borrowing
def _known(lists: Neighbors, owner: int, entry: int) -> tuple[float, bool]:
    """Return what a list says of the distance to a cluster; `entry` is -1 where it is not in it."""
    if entry < 0:
        return lists.tau[owner], False
    return lists.bounds[owner, entry], lists.exact[owner, entry]

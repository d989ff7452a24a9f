"""Kernel: the lists of near clusters after a round of merges; see ``docs/method.md``.

An entry for a cluster that was merged becomes one for the union, with the two distances combined;
of a distance that the list does not have its certificate is a lower bound. What the other
cluster's list knows is not looked up here, because most entries never matter.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clustergrid.pipeline._jit import jit
from clustergrid.pipeline.hierarchy._certificates import Round
from clustergrid.pipeline.hierarchy._clusters import SINGLE, WARD, Clusters, combine
from clustergrid.pipeline.hierarchy._neighbors import Neighbors, keep_nearest, proves

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


@jit
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
        united.ids[pair, :count] = ids[:count]
        united.bounds[pair, :count] = bounds[:count]
        united.exact[pair, :count] = exact[:count]
        united.counts[pair] = count
        united.tau[pair] = tau


@jit
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
    places, seen, ids, bounds, exact = scratch
    for owner in range(start, stop):
        if not clusters.live[owner] or rounds.partner[owner] >= 0:
            continue
        touched = False
        for entry in range(lists.counts[owner]):
            touched |= rounds.partner[lists.ids[owner, entry]] >= 0
        if not touched:
            continue
        count, tau = _collect(
            lists,
            clusters,
            rounds,
            method,
            owner,
            -1,
            lists.tau[owner],
            places,
            seen,
            ids,
            bounds,
            exact,
        )
        lists.ids[owner, :count] = ids[:count]
        lists.bounds[owner, :count] = bounds[:count]
        lists.exact[owner, :count] = exact[:count]
        lists.counts[owner] = count
        lists.tau[owner] = tau
        rounds.changed[owner] = True


@jit
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


@jit
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
    """Fill ids, bounds and exact with the new list of `a`, or of the union of `a` and `b`.

    Returns how many entries there are, and the certificate: `tau`, or less where entries had to
    be dropped for want of room. Entries beyond the certificate prove nothing, and go.
    """
    parts = 1 if b < 0 else 2
    for part in range(parts):
        owner = a if part == 0 else b
        for entry in range(lists.counts[owner]):
            places[part, lists.ids[owner, entry]] = entry
    count = 0
    for part in range(parts):
        owner = a if part == 0 else b
        for entry in range(lists.counts[owner]):
            other = int(lists.ids[owner, entry])
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
        elif b >= 0 and a > slot:
            # Whichever of two unions asks, the parts of the lower one are combined first.
            bound, is_exact = _bound_by_columns(
                lists, clusters, rounds, method, a, b, slot, partner, places
            )
        else:
            to_slot, exact_slot = _bound(lists, clusters, rounds, method, a, b, slot, places)
            to_partner, exact_partner = _bound(
                lists, clusters, rounds, method, a, b, partner, places
            )
            size = clusters.sizes[a] + (clusters.sizes[b] if b >= 0 else 0.0)
            bound, is_exact = _combined(
                clusters,
                method,
                (to_slot, exact_slot),
                (to_partner, exact_partner),
                rounds.height[slot],
                slot,
                partner,
                size,
            )
        if proves(bound, is_exact, tau):
            ids[n_kept] = slot
            bounds[n_kept] = bound
            exact[n_kept] = is_exact
            n_kept += 1
    for part in range(parts):
        owner = a if part == 0 else b
        for entry in range(lists.counts[owner]):
            places[part, lists.ids[owner, entry]] = -1
    room = lists.ids.shape[1]
    if n_kept > room:
        keep_nearest(ids, bounds, exact, n_kept, room)
        tau = min(tau, bounds[room:n_kept].min())
        n_kept = room
    return n_kept, tau


@jit
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
    """Bound the distance of `a`, or of the union of `a` and `b`, to an old cluster."""
    from_a = _known(lists, a, places[0, other])
    if b < 0:
        return from_a
    from_b = _known(lists, b, places[1, other])
    return _combined(
        clusters, method, from_a, from_b, rounds.height[a], a, b, clusters.sizes[other]
    )


@jit
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


@jit
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


@jit
def _known(lists: Neighbors, owner: int, entry: int) -> tuple[float, bool]:
    """Return what a list says of the distance to a cluster; `entry` is -1 where it is not in it."""
    if entry < 0:
        return lists.tau[owner], False
    return lists.bounds[owner, entry], lists.exact[owner, entry]

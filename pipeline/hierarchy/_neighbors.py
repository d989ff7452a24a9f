"""Kernel: the K nearest of every cluster, from pieces of rows of distances in any order.

A distance belongs to two lists, that of its row and that of its column. A piece of a row is
compared with what the lists of its columns still take, and with what its row's list takes, in one
vectorized sweep; only the few entries that are near enough to one of the two are looked at again.
They are put into lists with room for 2 K; a list that is full is cut to its K nearest.

Entries are ordered by (distance, id), of which no two are equal: the K nearest are the same
whatever the order in which pieces come, and whoever brings them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clustergrid.pipeline._jit import borrowing

__all__ = [
    "Neighbors",
    "Reach",
    "close_lists",
    "first_lists",
    "keep_nearest",
    "least_bound",
    "least_listed",
    "offer",
    "offer_piece",
    "open_lists",
    "open_reach",
    "proves",
    "replace_lists",
]

_WORD = 8


class Neighbors(NamedTuple):
    """A list of near clusters for each cluster, and a certificate for what is not in it.

    Parameters
    ----------
    ids
        ``(n, room) int32``: the clusters in each list, in no order; each at most once.
    bounds
        ``(n, room) float64``: the distance to each, or a lower bound of it.
    exact
        ``(n, room) bool``: whether the bound is the distance.
    counts
        ``(n,) int64``: how many entries each list has.
    tau
        ``(n,) float64``: every cluster that is not in a list is at least so far from its owner;
        infinite where all are in the list.
    """

    ids: NDArray[np.int32]
    bounds: NDArray[np.float64]
    exact: NDArray[np.bool_]
    counts: NDArray[np.int64]
    tau: NDArray[np.float64]


class Reach(NamedTuple):
    """What lists still take while distances come in: entries before (distance, last).

    Parameters
    ----------
    distance
        ``(n,)``, the distances' dtype: the K-th so far; infinite while there are fewer.
    last
        ``(n,) int64``: its id.
    """

    distance: NDArray[Any]
    last: NDArray[np.int64]


def open_lists(n_lists: int, n_neighbors: int) -> Neighbors:
    """Return `n_lists` empty lists, with room for twice `n_neighbors` each."""
    room = 2 * n_neighbors
    return Neighbors(
        ids=np.empty((n_lists, room), np.int32),
        bounds=np.empty((n_lists, room)),
        exact=np.empty((n_lists, room), np.bool_),
        counts=np.zeros(n_lists, np.int64),
        tau=np.full(n_lists, np.inf),
    )


def first_lists(lists: Neighbors, count: int) -> Neighbors:
    """Return the first lists of some, without a copy."""
    return Neighbors(
        ids=lists.ids[:count],
        bounds=lists.bounds[:count],
        exact=lists.exact[:count],
        counts=lists.counts[:count],
        tau=lists.tau[:count],
    )


def open_reach(n_lists: int, dtype: np.dtype[Any]) -> Reach:
    """Return the reach of empty lists: they take everything."""
    return Reach(
        distance=np.full(n_lists, np.inf, dtype), last=np.full(n_lists, np.iinfo(np.int64).max)
    )


def replace_lists(lists: Neighbors, owners: NDArray[np.int64], others: Neighbors) -> None:
    """Put other lists, one a row, in the place of those of `owners`."""
    lists.ids[owners] = others.ids
    lists.bounds[owners] = others.bounds
    lists.exact[owners] = others.exact
    lists.counts[owners] = others.counts
    lists.tau[owners] = others.tau


@borrowing
def offer_piece(
    piece: NDArray[Any],
    row: int,
    start: int,
    n_neighbors: int,
    lists: Neighbors,
    reach: Reach,
    marks: NDArray[np.uint8],
) -> bool:
    """Offer the distances of `row` to the clusters from `start` on to the lists of both sides.

    Parameters
    ----------
    piece
        ``(w,)``: the distances.
    row, start
        Of which cluster, and to which ones: ``start`` to ``start + w``, without `row`.
    n_neighbors
        K.
    lists, reach
        The lists of all clusters, and what they take.
    marks
        ``(at least w + 8,) uint8``: scratch, its length a multiple of 8.

    Returns
    -------
    bool
        Whether all distances are finite.
    """
    width = len(piece)
    near = reach.distance[start : start + width]
    near_row = reach.distance[row]
    n_strange = 0
    for j in range(width):
        value = piece[j]
        marks[j] = (value <= near_row) | (value <= near[j])
        n_strange += not np.isfinite(value)
    padded = width + (-width) % _WORD
    marks[width:padded] = 0
    words = marks.view(np.uint64)
    for word in range(padded // _WORD):
        if words[word] == 0:
            continue
        for j in range(word * _WORD, (word + 1) * _WORD):
            if marks[j]:
                value = piece[j]
                column = start + j
                if value <= reach.distance[row]:
                    offer(lists, reach, n_neighbors, row, column, value)
                if value <= reach.distance[column]:
                    offer(lists, reach, n_neighbors, column, row, value)
    return n_strange == 0


@borrowing
def offer(
    lists: Neighbors, reach: Reach, n_neighbors: int, owner: int, other: int, distance: float
) -> None:
    """Put an entry that is no further than a list's reach into it; cut the list if it is full."""
    if distance == reach.distance[owner] and other > reach.last[owner]:
        return
    count = lists.counts[owner]
    lists.ids[owner, count] = other
    lists.bounds[owner, count] = distance
    count += 1
    lists.counts[owner] = count
    if count == lists.ids.shape[1]:
        keep_nearest(lists.ids[owner], lists.bounds[owner], lists.exact[owner], count, n_neighbors)
        lists.counts[owner] = n_neighbors
        reach.distance[owner] = lists.bounds[owner, n_neighbors - 1]
        reach.last[owner] = lists.ids[owner, n_neighbors - 1]


@borrowing
def close_lists(lists: Neighbors, n_neighbors: int, n_others: int, start: int, stop: int) -> None:
    """Cut the lists `start` to `stop`, of exact distances to all others, and certify the cut."""
    for owner in range(start, stop):
        count = lists.counts[owner]
        lists.exact[owner, :] = True
        if count > n_neighbors:
            keep_nearest(
                lists.ids[owner], lists.bounds[owner], lists.exact[owner], count, n_neighbors
            )
            count = n_neighbors
            lists.counts[owner] = count
        lists.tau[owner] = np.inf
        if count < n_others:
            greatest = -np.inf
            for entry in range(count):
                greatest = max(greatest, lists.bounds[owner, entry])
            lists.tau[owner] = greatest


@borrowing
def keep_nearest(
    ids: NDArray[np.int32],
    bounds: NDArray[np.float64],
    exact: NDArray[np.bool_],
    count: int,
    n_kept: int,
) -> None:
    """Move the `n_kept` least of `count` entries by (bound, id) to the front, the last one last.

    A selection by partitions. Entries are exchanged whether they need be or not, which costs a
    processor less than to guess wrong every other time.
    """
    low = 0
    high = count - 1
    target = n_kept - 1
    while low < high:
        # The median of three, last, is no worse on entries that are in order already.
        middle = (low + high) // 2
        if _precedes(ids, bounds, middle, low):
            _swap(ids, bounds, exact, middle, low)
        if _precedes(ids, bounds, high, low):
            _swap(ids, bounds, exact, high, low)
        if _precedes(ids, bounds, middle, high):
            _swap(ids, bounds, exact, middle, high)
        bound = bounds[high]
        last = ids[high]
        end = low
        for i in range(low, high):
            precedes = (bounds[i] < bound) | ((bounds[i] == bound) & (ids[i] < last))
            _swap(ids, bounds, exact, i, end)
            end += precedes
        _swap(ids, bounds, exact, high, end)
        if target < end:
            high = end - 1
        elif target > end:
            low = end + 1
        else:
            break


@borrowing
def _precedes(ids: NDArray[np.int32], bounds: NDArray[np.float64], i: int, j: int) -> bool:
    return bool(bounds[i] < bounds[j] or (bounds[i] == bounds[j] and ids[i] < ids[j]))


@borrowing
def _swap(
    ids: NDArray[np.int32],
    bounds: NDArray[np.float64],
    exact: NDArray[np.bool_],
    i: int,
    j: int,
) -> None:
    ids[i], ids[j] = ids[j], ids[i]
    bounds[i], bounds[j] = bounds[j], bounds[i]
    exact[i], exact[j] = exact[j], exact[i]


@borrowing
def least_listed(lists: Neighbors) -> tuple[float, int, int]:
    """Return the least bound in all lists, whose it is, and of which other."""
    least = np.inf
    owner = other = -1
    for i in range(len(lists.counts)):
        for entry in range(lists.counts[i]):
            if lists.bounds[i, entry] < least:
                least = lists.bounds[i, entry]
                owner = i
                other = int(lists.ids[i, entry])
    return least, owner, other


@borrowing
def least_bound(bounds: NDArray[np.float64]) -> float:
    """Return the least of some bounds; four at a time, which need not wait for one another."""
    one = two = three = four = np.inf
    count = len(bounds)
    whole = count - count % 4
    for entry in range(0, whole, 4):
        one = bounds[entry] if bounds[entry] < one else one
        two = bounds[entry + 1] if bounds[entry + 1] < two else two
        three = bounds[entry + 2] if bounds[entry + 2] < three else three
        four = bounds[entry + 3] if bounds[entry + 3] < four else four
    for entry in range(whole, count):
        one = bounds[entry] if bounds[entry] < one else one
    one = two if two < one else one
    three = four if four < three else three
    return float(three if three < one else one)


@borrowing
def proves(bound: float, is_exact: bool, tau: float) -> bool:
    """Whether an entry says more than the certificate does of clusters that are not listed."""
    return bound < tau or (is_exact and bound == tau)

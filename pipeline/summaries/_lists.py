"""Kernel: lists of near clusters, from products that say which are not near (``_operands.py``).

What these leave open is computed exactly, in double precision; so lists are those that exact
distances make, to the bit.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clustergrid.pipeline._jit import inline, jit
from clustergrid.pipeline.hierarchy._neighbors import Neighbors, Reach, keep_nearest, offer
from clustergrid.pipeline.points._sieve import find_negative
from clustergrid.pipeline.summaries._means import AT_ONCE, distance_of, squares_to_some
from clustergrid.pipeline.summaries._operands import Compared, Operands, reach_at, subtract_reach

__all__ = [
    "Found",
    "find_pairs",
    "offer_around",
    "offer_columns",
    "open_found",
    "pack_lists",
    "take_found",
    "tighten",
]


class Found(NamedTuple):
    """Entries of lists, one behind another.

    Parameters
    ----------
    owners
        ``(entries,) int32``: the number of each one's list.
    ids
        ``(entries,) int32``: the slot of the cluster.
    distances
        ``(entries,) float64``.
    """

    owners: NDArray[np.int32]
    ids: NDArray[np.int32]
    distances: NDArray[np.float64]


def open_found(n_entries: int) -> Found:
    """Return room for so many entries, and one that is written and not kept."""
    return Found(
        owners=np.empty(n_entries + 1, np.int32),
        ids=np.empty(n_entries + 1, np.int32),
        distances=np.empty(n_entries + 1),
    )


@jit
def _around(place: int, n_each_side: int, m: int) -> tuple[int, int]:
    """Return the range of places about one, which moves inwards at the ends."""
    width = min(m, 2 * n_each_side + 1)
    first = min(max(0, place - n_each_side), m - width)
    return first, first + width


@jit
def offer_around(
    compared: Compared,
    places: NDArray[np.int64],
    n_neighbors: int,
    operands: Operands,
    lists: Neighbors,
    reach: Reach,
) -> None:
    """Offer the clusters next to each of some in order, K on either side, to its list.

    Parameters
    ----------
    compared, places
        All clusters, and whose lists these are.
    n_neighbors
        K.
    operands
        Of these clusters, at the left; they get to know how far lists reach.
    lists, reach
        The lists, which take everything so far, and what they take.
    """
    m = len(compared.slots)
    others = np.empty(2 * n_neighbors + AT_ONCE, np.int64)
    squares = np.empty(AT_ONCE)
    for p in range(len(places)):
        place = places[p]
        first, after = _around(place, n_neighbors, m)
        count = 0
        for other in range(first, after):
            if other != place:
                others[count] = other
                count += 1
        for at in range(count, count + AT_ONCE - 1):
            others[at] = first
        _offer_some(compared, place, p, others, count, n_neighbors, lists, reach, squares)
        operands.reach[p] = reach_at(compared.summaries, compared.scale, reach.distance[p])


@jit
def offer_columns(
    products: NDArray[np.float32],
    width: int,
    compared: Compared,
    places: NDArray[np.int64],
    left: Operands,
    first_list: int,
    right: Operands,
    first_operand: int,
    first_column: int,
    n_around: int,
    n_neighbors: int,
    lists: Neighbors,
    reach: Reach,
) -> None:
    """Offer clusters to lists, but for those next in order.

    Parameters
    ----------
    products, width
        ``(q, w) float32``, w being a multiple of 64, and how many of them are products; destroyed.
    compared, places
        All clusters, and whose lists these are.
    left, first_list
        Their operands, and the first list at the left.
    right, first_operand, first_column
        Operands of the others, the first of them at the right, and its place.
    n_around
        So many on either side of an owner were offered already.
    n_neighbors, lists, reach
        As in `offer_around`.
    """
    m = len(compared.slots)
    padded = products.shape[1]
    signs = products.view(np.int64)
    reaches = right.reach[first_operand : first_operand + padded]
    inverses = right.inverses[first_operand : first_operand + padded]
    others = np.empty(padded + AT_ONCE, np.int64)
    squares = np.empty(AT_ONCE)
    for q in range(len(products)):
        p = first_list + q
        place = places[p]
        subtract_reach(products[q], left.reach[p], left.inverses[p], reaches, inverses)
        known = _around(place, n_around, m)
        count = find_negative(signs[q], width, first_column, known, others)
        if count > 0:
            before = reach.distance[p]
            _offer_some(compared, place, p, others, count, n_neighbors, lists, reach, squares)
            if reach.distance[p] != before:
                left.reach[p] = reach_at(compared.summaries, compared.scale, reach.distance[p])


@inline
def _offer_some(
    compared: Compared,
    place: int,
    p: int,
    others: NDArray[np.int64],
    count: int,
    n_neighbors: int,
    lists: Neighbors,
    reach: Reach,
    squares: NDArray[np.float64],
) -> None:
    """Compute the distances of a cluster to some others, and offer them to its list, number p."""
    summaries = compared.summaries
    where = compared.where
    i = where[place]
    farthest = reach.distance[p]
    for start in range(0, count, AT_ONCE):
        squares_to_some(summaries, i, where, others, start, squares)
        for at in range(start, min(start + AT_ONCE, count)):
            other = others[at]
            distance = distance_of(summaries, i, where[other], squares[at - start])
            if distance <= farthest:
                offer(lists, reach, n_neighbors, p, compared.slots[other], distance)
                farthest = reach.distance[p]


@jit
def find_pairs(
    products: NDArray[np.float32],
    width: int,
    compared: Compared,
    left: Operands,
    first_list: int,
    first_row: int,
    right: Operands,
    first_operand: int,
    first_column: int,
    is_diagonal: bool,
    n_rows: int,
    distances: NDArray[np.float64],
    found: Found,
    n_found: int,
) -> int:
    """Find clusters that the lists of others take, and those whose lists take these.

    Of each pair one distance is computed. How many entries are found is returned: `n_found`, which
    there were, and up to two for each product more.

    Parameters
    ----------
    products, width
        ``(q, w) float32``, w being a multiple of 64, and how many of them are products; destroyed.
    compared
        All clusters.
    left, first_list, first_row
        Operands of the clusters at the left, the first of them that is, which is its list too, and
        its place.
    right, first_operand, first_column
        The same of those at the right.
    is_diagonal
        Whether both are the same, so that half of the pairs will do.
    n_rows
        The list of operand j at the right is number ``n_rows + j``.
    distances
        How far lists reach.
    found, n_found
        Gets the entries, which are in no order.
    """
    owners, ids, apart = found
    padded = products.shape[1]
    signs = products.view(np.int64)
    reaches = right.reach[first_operand : first_operand + padded]
    inverses = right.inverses[first_operand : first_operand + padded]
    others = np.empty(padded + AT_ONCE, np.int64)
    squares = np.empty(AT_ONCE)
    summaries, where, slots = compared.summaries, compared.where, compared.slots
    column_list = n_rows + first_operand - first_column
    for q in range(len(products)):
        p = first_list + q
        place = first_row + q
        subtract_reach(products[q], left.reach[p], left.inverses[p], reaches, inverses)
        left_out = (0, place + 1) if is_diagonal else (0, 0)
        count = find_negative(signs[q], width, first_column, left_out, others)
        i = where[place]
        slot = slots[place]
        farthest = distances[p]
        for start in range(0, count, AT_ONCE):
            squares_to_some(summaries, i, where, others, start, squares)
            for at in range(start, min(start + AT_ONCE, count)):
                other = others[at]
                distance = distance_of(summaries, i, where[other], squares[at - start])
                owners[n_found] = p
                ids[n_found] = slots[other]
                apart[n_found] = distance
                n_found += distance <= farthest
                owners[n_found] = column_list + other
                ids[n_found] = slot
                apart[n_found] = distance
                n_found += distance <= distances[column_list + other]
    return n_found


@jit
def pack_lists(lists: Neighbors, found: Found) -> int:
    """Put the entries of lists one behind another; return how many there are."""
    at = 0
    for owner in range(len(lists.counts)):
        for entry in range(lists.counts[owner]):
            found.owners[at] = owner
            found.ids[at] = lists.ids[owner, entry]
            found.distances[at] = lists.bounds[owner, entry]
            at += 1
    return at


@jit
def take_found(
    found: Found,
    owner_of: NDArray[np.int64],
    n_neighbors: int,
    lists: Neighbors,
    reach: Reach,
) -> None:
    """Take entries into lists; those of number i are of the list ``owner_of[i]``."""
    for at in range(len(found.owners)):
        owner = owner_of[found.owners[at]]
        if found.distances[at] <= reach.distance[owner]:
            offer(lists, reach, n_neighbors, owner, found.ids[at], found.distances[at])


@jit
def tighten(lists: Neighbors, reach: Reach, n_neighbors: int, start: int, stop: int) -> None:
    """Cut the lists `start` to `stop` that have K entries, and let them take no others than K."""
    for owner in range(start, stop):
        count = lists.counts[owner]
        if count >= n_neighbors:
            keep_nearest(
                lists.ids[owner], lists.bounds[owner], lists.exact[owner], count, n_neighbors
            )
            lists.counts[owner] = n_neighbors
            reach.distance[owner] = lists.bounds[owner, n_neighbors - 1]
            reach.last[owner] = lists.ids[owner, n_neighbors - 1]

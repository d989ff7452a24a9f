"""Kernel: lists of near clusters, from products that say which are not near (``_operands.py``).

What these leave open is computed exactly, in double precision; so lists are those that exact
distances make, to the bit.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clustergrid.pipeline._jit import jit
from clustergrid.pipeline.hierarchy._neighbors import Neighbors, Reach, keep_nearest, offer
from clustergrid.pipeline.summaries._means import (
    AT_ONCE,
    Summaries,
    distance_between,
    squares_to_some,
)
from clustergrid.pipeline.summaries._operands import TOGETHER, Operands, find_near

__all__ = [
    "Found",
    "find_pairs",
    "first_found",
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


def first_found(found: Found, count: int) -> Found:
    """Return the first entries."""
    return Found(found.owners[:count], found.ids[:count], found.distances[:count])


@jit
def find_pairs(
    products: NDArray[np.float32],
    width: int,
    left: Operands,
    left_summaries: Summaries,
    left_places: NDArray[np.int64],
    left_slots: NDArray[np.int64],
    first_row: int,
    right: Operands,
    right_summaries: Summaries,
    right_places: NDArray[np.int64],
    right_slots: NDArray[np.int64],
    first_column: int,
    is_diagonal: bool,
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
        ``(q, w) float32``, w being a multiple of 64, and how many of them are products.
    left, left_summaries, left_places, left_slots, first_row
        The clusters at the left, as operands; summaries, and where they are among these; their
        slots; the first of them that is in the products. Their lists have the same numbers.
    right, right_summaries, right_places, right_slots, first_column
        The same of those at the right, whose lists have the numbers after these.
    is_diagonal
        Whether both are the same, so that half of the pairs will do.
    distances
        How far lists reach.
    found, n_found
        Gets the entries, which are in no order.
    """
    owners, ids, apart = found
    padded = products.shape[1]
    reaches = right.reach[first_column : first_column + padded]
    inverses = right.inverses[first_column : first_column + padded]
    others = np.empty(padded + AT_ONCE, np.int64)
    other_places, squares = np.empty(AT_ONCE, np.int64), np.empty(AT_ONCE)
    marks = np.empty(TOGETHER, np.uint8)
    n_rows = len(left_slots)
    for q in range(len(products)):
        p = first_row + q
        count = find_near(
            products[q],
            width,
            left.reach[p],
            left.inverses[p],
            reaches,
            inverses,
            first_column,
            p + 1 if is_diagonal else 0,
            marks,
            others,
        )
        slot, place = left_slots[p], left_places[p]
        farthest = distances[p]
        for start in range(0, count, AT_ONCE):
            for at in range(AT_ONCE):
                other_places[at] = right_places[others[start + at]]
            squares_to_some(left_summaries, place, right_summaries, other_places, 0, squares)
            for at in range(start, min(start + AT_ONCE, count)):
                other, other_place = others[at], other_places[at - start]
                distance = distance_between(
                    left_summaries, place, right_summaries, other_place, squares[at - start]
                )
                owners[n_found] = p
                ids[n_found] = right_slots[other]
                apart[n_found] = distance
                n_found += distance <= farthest
                owners[n_found] = n_rows + other
                ids[n_found] = slot
                apart[n_found] = distance
                n_found += distance <= distances[n_rows + other]
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

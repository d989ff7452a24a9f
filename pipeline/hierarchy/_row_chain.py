"""Kernel: the nearest-neighbour chain on rows of distances that are fetched when they are needed.

Follow nearest neighbours from any cluster until two are each other's, merge them, and go on from
what is left of the chain. Every step appends a cluster or merges two, so there are 3 m steps at
most, whatever the distances are; a step takes one row. Rows come from the source, in batches, and
are kept as long as there is room. What the chain needs next is mostly near to where it is: a
cluster that absorbs its neighbours one by one, a hub, gets the rows of the next ones together.

An element of the chain is nearer to the next than to any cluster that is live, and every merge
leaves that so (the methods are reducible). So among those that come after it, no one is nearer to
it; but a distance that was computed in two ways may say so in its last digits. Elements of the
chain are therefore never appended again, and it always ends.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clustergrid.pipeline._jit import jit
from clustergrid.pipeline.hierarchy._clusters import Clusters, join
from clustergrid.pipeline.hierarchy._minimum import minimum
from clustergrid.pipeline.hierarchy._row_cache import Rows, catch_up, row_of, unite_rows

__all__ = ["FINISHED", "PAUSED", "STUCK", "Chain", "advance", "open_chain", "renumber_chain"]

FINISHED, PAUSED, STUCK = -1, -2, -3
"""Why `advance` came back, where it is not for want of a row."""


class Chain(NamedTuple):
    """A chain through w columns, and what was merged.

    Parameters
    ----------
    columns
        ``(w,) int64``: its elements, as many as it is long.
    links
        ``(w,) float64``: the distance of each to the one before it.
    inside
        ``(w,) bool``: which columns are in it.
    first, second, heights
        The merges, lower slots first.
    counts
        ``(5,) int64``: elements of the chain, merges in the log, merges in all, steps, and rows
        that were read for the first time.
    """

    columns: NDArray[np.int64]
    links: NDArray[np.float64]
    inside: NDArray[np.bool_]
    first: NDArray[np.int64]
    second: NDArray[np.int64]
    heights: NDArray[np.float64]
    counts: NDArray[np.int64]


def open_chain(width: int, n_merges: int) -> Chain:
    """Return a chain that begins with the first of `width` columns, with room for its merges."""
    chain = Chain(
        columns=np.zeros(width, np.int64),
        links=np.full(width, np.inf),
        inside=np.zeros(width, np.bool_),
        first=np.empty(n_merges, np.int64),
        second=np.empty(n_merges, np.int64),
        heights=np.empty(n_merges),
        counts=np.zeros(5, np.int64),
    )
    chain.inside[0] = True
    chain.counts[0] = 1
    return chain


def renumber_chain(chain: Chain, kept: NDArray[np.int64]) -> Chain:
    """Follow a renumbering: column ``i`` was ``kept[i]``, and the log is empty."""
    length = chain.counts[0]
    chain.columns[:length] = np.searchsorted(kept, chain.columns[:length])
    chain.counts[1] = 0
    return chain._replace(
        columns=chain.columns[: len(kept)],
        links=chain.links[: len(kept)],
        inside=chain.inside[kept],
    )


@jit
def advance(
    rows: Rows, chain: Chain, clusters: Clusters, method: int, target: int, budget: int
) -> int:
    """Go on until `target` merges are made in all, or some `budget` entries were read.

    Returns the column whose row has to be fetched first, or FINISHED, PAUSED or, if no distance
    of a cluster is finite, STUCK.
    """
    length, n_logged, done, clock, n_first_reads = chain.counts
    reason = FINISHED
    while done < target:
        if budget <= 0:
            reason = PAUSED
            break
        x = chain.columns[length - 1]
        if rows.place[x] < 0:
            reason = x
            break
        budget -= catch_up(rows, x, n_logged, method) + len(rows.place)
        clock += 1
        rows.used_at[x] = clock
        n_first_reads += not rows.is_read[x]
        rows.is_read[x] = True
        row = row_of(rows, x)
        link = np.inf
        if length > 1:
            link = chain.links[length - 1]
            # As the other row has it, which may be another digit.
            row[chain.columns[length - 2]] = link
        nearest, y = minimum(row, rows.closed, rows.lanes)
        if nearest < link and chain.inside[y]:
            nearest, y = _least_outside(row, rows.closed, chain.inside)
        if nearest < link:
            chain.columns[length] = y
            chain.links[length] = nearest
            chain.inside[y] = True
            length += 1
            continue
        if length == 1:
            reason = STUCK
            break
        y = chain.columns[length - 2]
        if rows.place[y] < 0:
            reason = y
            break
        a = min(x, y)
        b = max(x, y)
        budget -= catch_up(rows, y, n_logged, method) + len(rows.place)
        budget -= rows.n_points[a] + rows.n_points[b]
        unite_rows(rows, clusters, a, b, link, n_logged, method)
        join(clusters, method, rows.slots[a], rows.slots[b], link)
        chain.first[done] = rows.slots[a]
        chain.second[done] = rows.slots[b]
        chain.heights[done] = link
        n_logged += 1
        done += 1
        length -= 2
        chain.inside[x] = False
        chain.inside[y] = False
        if length == 0:
            # Where a row is at hand.
            chain.columns[0] = a
            chain.inside[a] = True
            length = 1
    chain.counts[0] = length
    chain.counts[1] = n_logged
    chain.counts[2] = done
    chain.counts[3] = clock
    chain.counts[4] = n_first_reads
    return reason


@jit
def _least_outside(
    row: NDArray[np.float64], closed: NDArray[np.float64], inside: NDArray[np.bool_]
) -> tuple[float, int]:
    """Return the least distance to a live cluster outside of the chain, and the first such."""
    best = np.inf
    where = -1
    for column in range(len(row)):
        if not inside[column] and row[column] + closed[column] < best:
            best = row[column]
            where = column
    return best, where

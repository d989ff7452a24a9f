"""Kernel: rounds of reciprocal nearest neighbours, for complete, average, weighted and ward.

Every pair of clusters that are each other's nearest can be merged at once, for no merge brings a
third cluster nearer (Sumengen et al. 2021, arXiv:2105.11653). Only rows whose nearest neighbour was
merged need a new one.

A round is a list of merges in a fixed order, the log. A row is brought up to date by working off
what it missed of the log: each merge replaces two of its own entries by one, so a thread that has
a row needs nobody else's, and nothing is ever written into a column. Rows of clusters that are
merged take in what comes before their own merge, are combined, and take in what comes after: as if
the merges had been made one by one, in both rows that have an entry, so they agree to the bit.
Rows that keep their nearest neighbour are left alone until they are needed, most of them until
they are merged away. When half of the clusters are gone, live columns are moved to the front of
each row.

Rounds grow poor where one cluster absorbs the others one by one (a hub, or points at 3^i): then
most of what is searched was searched for one merge. The nearest-neighbour chain, on one thread,
needs two or three searches a merge whatever the data, so it takes over what is left. That is
decided by counts that do not depend on the threads.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clustergrid.pipeline._jit import jit
from clustergrid.pipeline.hierarchy._formulas import Log, combine_entries, combine_rows
from clustergrid.pipeline.hierarchy._minimum import LANES, minimum
from clustergrid.pipeline.hierarchy._pieces import cut_evenly
from clustergrid.pipeline.hierarchy._record import Record
from clustergrid.pipeline.hierarchy._square import Searched
from clustergrid.pipeline.hierarchy._table import Table, open_table
from clustergrid.pipeline.hierarchy._threads import in_threads

__all__ = ["merge_by_rounds"]

# Fewer clusters than these are the chain's: a round would take longer to hand out than to work on.
_FEWEST_CLUSTERS = 256
# A round is poor when it merges fewer pairs than one in so many clusters,
_MOST_CLUSTERS_A_MERGE = 300
# or when so many rows lose their nearest neighbour for a merge.
_MOST_SEARCHES_A_MERGE = 12


class Live(NamedTuple):
    """The live part of a square, `edge` slots wide, a cluster a slot.

    Parameters
    ----------
    entries
        Of the square, flat.
    starts
        ``(edge,) int64``: where the row of each slot begins; it is `edge` long.
    closed
        ``(edge,)``, the entries' dtype: 0 for a live slot, infinite for one merged away.
    sizes
        ``(edge,) float64``: observations in each cluster.
    rows
        ``(edge,) int64``: one row of the input for each slot.
    nearest
        ``(edge,) float64``: the distance to the nearest neighbour.
    neighbor
        ``(edge,) int64``: which that is; -1 where it is not known, and was farther than `nearest`.
    fresh_at
        ``(edge,) int64``: how much of the log each row has taken in.
    log
        Merges since the slots were numbered.
    """

    entries: NDArray[Any]
    starts: NDArray[np.int64]
    closed: NDArray[Any]
    sizes: NDArray[np.float64]
    rows: NDArray[np.int64]
    nearest: NDArray[np.float64]
    neighbor: NDArray[np.int64]
    fresh_at: NDArray[np.int64]
    log: Log

    @property
    def edge(self) -> int:
        """Slots, live or not."""
        return len(self.starts)


class Round(NamedTuple):
    """What a round does.

    Parameters
    ----------
    start, stop
        The part of the log that its merges are.
    wanted
        ``(m,) int64``: slots that another is nearest to, and whose nearest neighbour is not known.
    """

    start: int
    stop: int
    wanted: NDArray[np.int64]

    @property
    def n_merges(self) -> int:
        """Merges of the round."""
        return self.stop - self.start


def merge_by_rounds(
    searched: Searched, sizes: NDArray[np.float64], method: int, threads: int, record: Record
) -> Table:
    """Merge rows of a square, in place, while rounds are good.

    Returns
    -------
    Table
        The clusters that are left, at the front of the square, for the chain to go on with.
    """
    live = _open(searched, sizes)
    n_live, n_logged = live.edge, 0
    while n_live > _FEWEST_CLUSTERS:
        found = _next_round(live, n_logged)
        if _is_poor(found, n_live):
            break
        _merge(live, found, method, threads, record)
        n_logged = found.stop
        n_live -= found.n_merges
        if n_live <= live.edge // 2:
            live, n_logged = _pack(live, n_logged, method, threads, record), 0
    return _hand_over(_pack(live, n_logged, method, threads, record), record)


def _is_poor(found: Round, n_live: int) -> bool:
    return (
        found.n_merges * _MOST_CLUSTERS_A_MERGE < n_live
        or len(found.wanted) > found.n_merges * _MOST_SEARCHES_A_MERGE
    )


def _open(searched: Searched, sizes: NDArray[np.float64]) -> Live:
    n = len(searched.square)
    return _numbered(
        entries=searched.square.reshape(-1),
        starts=np.arange(n) * n,
        sizes=sizes,
        rows=np.arange(n),
        nearest=searched.nearest,
        neighbor=searched.neighbor,
    )


def _numbered(
    *,
    entries: NDArray[Any],
    starts: NDArray[np.int64],
    sizes: NDArray[np.float64],
    rows: NDArray[np.int64],
    nearest: NDArray[np.float64],
    neighbor: NDArray[np.int64],
) -> Live:
    """Return slots that are all live, and fresh, with an empty log."""
    edge = len(starts)
    return Live(
        entries=entries,
        starts=starts,
        closed=np.zeros(edge, entries.dtype),
        sizes=sizes,
        rows=rows,
        nearest=nearest,
        neighbor=neighbor,
        fresh_at=np.zeros(edge, np.int64),
        log=Log(
            x=np.empty(edge, np.uint32),
            y=np.empty(edge, np.uint32),
            size_x=np.empty(edge),
            size_y=np.empty(edge),
            height=np.empty(edge),
        ),
    )


def _next_round(live: Live, n_logged: int) -> Round:
    wanted = np.empty(live.edge, np.int64)
    stop, n_wanted = _pair(live, n_logged, wanted)
    return Round(start=n_logged, stop=stop, wanted=wanted[:n_wanted])


def _merge(live: Live, found: Round, method: int, threads: int, record: Record) -> None:
    """Make the merges of a round, and find the nearest neighbours that this changes."""
    log = live.log
    start, stop = found.start, found.stop
    x, y = log.x[start:stop], log.y[start:stop]
    live.closed[x] = np.inf

    def piece(part: tuple[bool, int, int]) -> None:
        are_merges, first, last = part
        if are_merges:
            _merge_rows(live, start, start + first, start + last, stop, method)
        else:
            _search_rows(live, found.wanted[first:last], stop, method)

    merges = cut_evenly(found.n_merges, 4 * live.edge, threads)
    searches = cut_evenly(len(found.wanted), 2 * live.edge, threads)
    parts = [(True, *part) for part in merges] + [(False, *part) for part in searches]
    in_threads(piece, parts, threads=threads, pause=record.tell)
    live.sizes[y] += live.sizes[x]
    record.append(live.rows[x], live.rows[y], log.height[start:stop])


def _pack(live: Live, n_logged: int, method: int, threads: int, record: Record) -> Live:
    """Bring all rows up to date, and move live columns to their front."""
    kept = np.flatnonzero(live.closed == 0)

    def piece(part: tuple[int, int]) -> None:
        _pack_rows(live, kept[part[0] : part[1]], kept, n_logged, method)

    pieces = cut_evenly(len(kept), 2 * live.edge, threads)
    in_threads(piece, pieces, threads=threads, pause=record.tell)
    neighbor = live.neighbor[kept]
    return _numbered(
        entries=live.entries,
        starts=live.starts[kept],
        sizes=live.sizes[kept],
        rows=live.rows[kept],
        nearest=live.nearest[kept],
        neighbor=np.where(neighbor < 0, -1, np.searchsorted(kept, neighbor)),
    )


def _hand_over(live: Live, record: Record) -> Table:
    """Move the rows, which are fresh, to the front of the square."""
    for first, last in cut_evenly(live.edge, live.edge, 1):
        _move_rows(live.entries, live.starts, first, last)
        record.tell()
    return open_table(live.entries[: live.edge**2], live.sizes, live.rows)


@jit
def _pair(live: Live, n_logged: int, wanted: NDArray[np.int64]) -> tuple[int, int]:
    """Log the pairs that are each other's nearest; return the log's length, and that of `wanted`.

    Equal distances are ordered by slot, so a nearest pair of all is among them once its clusters
    have been searched.
    """
    edge = len(live.starts)
    log, neighbor = live.log, live.neighbor
    is_merged = np.zeros(edge, np.bool_)
    stop = n_logged
    for x in range(edge):
        y = neighbor[x]
        if live.closed[x] == 0 and x < y and neighbor[y] == x:
            is_merged[x] = True
            is_merged[y] = True
            log.x[stop] = x
            log.y[stop] = y
            log.size_x[stop] = live.sizes[x]
            log.size_y[stop] = live.sizes[y]
            log.height[stop] = live.nearest[x]
            stop += 1
    for i in range(edge):
        if neighbor[i] >= 0 and is_merged[neighbor[i]]:
            neighbor[i] = -1
    is_wanted = np.zeros(edge, np.bool_)
    for i in range(edge):
        if live.closed[i] == 0 and neighbor[i] >= 0 and neighbor[neighbor[i]] < 0:
            is_wanted[neighbor[i]] = True
    n_wanted = 0
    for i in range(edge):
        if is_wanted[i]:
            wanted[n_wanted] = i
            n_wanted += 1
    return stop, n_wanted


@jit
def _merge_rows(live: Live, start: int, first: int, last: int, stop: int, method: int) -> None:
    """Make the merges `first` to `last` of a round that is `start` to `stop` of the log."""
    edge = len(live.starts)
    entries, log = live.entries, live.log
    lanes = np.empty(LANES, entries.dtype)
    # As they are when a merge's turn comes.
    sizes = live.sizes.copy()
    for t in range(start, first):
        sizes[log.y[t]] += log.size_x[t]
    for t in range(first, last):
        x, y = log.x[t], log.y[t]
        row_x = entries[live.starts[x] : live.starts[x] + edge]
        row_y = entries[live.starts[y] : live.starts[y] + edge]
        combine_entries(row_x, log, live.fresh_at[x], t, sizes[x], method)
        combine_entries(row_y, log, live.fresh_at[y], t, sizes[y], method)
        combine_rows(row_x, row_y, sizes, sizes[x], sizes[y], log.height[t], method)
        row_y[y] = np.inf
        sizes[y] += sizes[x]
        combine_entries(row_y, log, t + 1, stop, sizes[y], method)
        live.fresh_at[y] = stop
        live.nearest[y], live.neighbor[y] = minimum(row_y, live.closed, lanes)


@jit
def _search_rows(live: Live, slots: NDArray[np.int64], n_logged: int, method: int) -> None:
    """Bring some rows up to date, and find their nearest neighbours."""
    edge = len(live.starts)
    lanes = np.empty(LANES, live.entries.dtype)
    for x in slots:
        row = live.entries[live.starts[x] : live.starts[x] + edge]
        combine_entries(row, live.log, live.fresh_at[x], n_logged, live.sizes[x], method)
        live.fresh_at[x] = n_logged
        live.nearest[x], live.neighbor[x] = minimum(row, live.closed, lanes)


@jit
def _pack_rows(
    live: Live, slots: NDArray[np.int64], kept: NDArray[np.int64], n_logged: int, method: int
) -> None:
    edge = len(live.starts)
    for x in slots:
        row = live.entries[live.starts[x] : live.starts[x] + edge]
        combine_entries(row, live.log, live.fresh_at[x], n_logged, live.sizes[x], method)
        # In place: ascending, an entry never lands behind one that is still to be read.
        for j in range(len(kept)):
            row[j] = row[kept[j]]


@jit
def _move_rows(entries: NDArray[Any], starts: NDArray[np.int64], first: int, last: int) -> None:
    # In place, ascending, as above.
    edge = len(starts)
    for i in range(first, last):
        if starts[i] != i * edge:
            for j in range(edge):
                entries[i * edge + j] = entries[starts[i] + j]

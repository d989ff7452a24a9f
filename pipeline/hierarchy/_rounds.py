"""Kernel: rounds of reciprocal nearest neighbours, for complete, average, weighted and ward.

Every pair of clusters that are each other's nearest can be merged at once, for no merge brings a
third cluster nearer (Sumengen et al. 2021, arXiv:2105.11653).

**Rows.** A round is a list of merges in a fixed order, the log. A row is brought up to date by
working off what it missed of the log: each merge replaces two of its own entries by one, so a
thread that has a row needs nobody else's, and nothing is ever written into a column. Rows of
clusters that are merged take in what comes before their own merge, are combined, and take in what
comes after: as if the merges had been made one by one, in both rows that have an entry, so they
agree to the bit. When half of the clusters are gone, live columns are moved to the front of each
row.

**Neighbours.** A search lists a few nearest neighbours of a cluster, and a bound that no other is
below, which holds for whatever these others become. When a listed one is merged, its new distance
is read from the row that was just made. The nearest listed is the nearest of all while it is below
the bound; after that the cluster is searched again, but not before another one names it as its
nearest. So most rows are read when they are searched for the first time, and when they are merged.

**The end.** Rounds grow poor where one cluster absorbs the others one by one (a hub, or points at
3^i). The nearest-neighbour chain, on one thread, needs two or three searches a merge whatever the
data, so it takes over what is left. That is decided by counts that do not depend on the threads.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clustergrid.pipeline._jit import jit
from clustergrid.pipeline.hierarchy._codes import WARD
from clustergrid.pipeline.hierarchy._formulas import (
    Log,
    combine_entries,
    combine_logged_rows,
    log_merges,
)
from clustergrid.pipeline.hierarchy._minimum import LANES, nearest_few
from clustergrid.pipeline.hierarchy._pieces import cut_evenly
from clustergrid.pipeline.hierarchy._record import Record
from clustergrid.pipeline.hierarchy._square import Searched
from clustergrid.pipeline.hierarchy._table import Table, open_table
from clustergrid.pipeline.hierarchy._threads import in_threads

__all__ = ["merge_by_rounds"]

# Fewer clusters than these are the chain's: a round takes as long to hand out as to work on.
_FEWEST_CLUSTERS = 2048
# A round is poor when it merges fewer pairs than one in so many clusters.
_MOST_CLUSTERS_A_MERGE = 300


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
    slots, distances, bounds
        ``(edge, LISTED) int64`` and ``float64``, ``(edge,) float64``: the listed neighbours of
        each slot (-1 and infinite where there are fewer), and what no other is below.
    neighbor
        ``(edge,) int64``: the nearest neighbour, which is listed first; -1 where it is not known.
    fresh_at
        ``(edge,) int64``: how much of the log each row has taken in; -1 where distances are not
        squared yet, as ward wants them.
    log
        Merges since the slots were numbered.
    """

    entries: NDArray[Any]
    starts: NDArray[np.int64]
    closed: NDArray[Any]
    sizes: NDArray[np.float64]
    rows: NDArray[np.int64]
    slots: NDArray[np.int64]
    distances: NDArray[np.float64]
    bounds: NDArray[np.float64]
    neighbor: NDArray[np.int64]
    fresh_at: NDArray[np.int64]
    log: Log

    @property
    def edge(self) -> int:
        """Slots, live or not."""
        return len(self.starts)


def merge_by_rounds(
    searched: Searched, sizes: NDArray[np.float64], method: int, threads: int, record: Record
) -> Table:
    """Merge rows of a square, in place, while rounds are good.

    Returns
    -------
    Table
        The clusters that are left, at the front of the square, for the chain to go on with.
    """
    live = _open(searched, sizes, method)
    n_live, n_logged = live.edge, 0
    while n_live > _FEWEST_CLUSTERS:
        stop = _pair(live, n_logged)
        n_merges = stop - n_logged
        if n_merges * _MOST_CLUSTERS_A_MERGE < n_live:
            break
        _merge(live, n_logged, stop, method, threads, record)
        _search(live, stop, method, threads, record)
        n_logged = stop
        n_live -= n_merges
        if n_live <= live.edge // 2:
            live, n_logged = _pack(live, n_logged, method, threads, record), 0
    return _hand_over(_pack(live, n_logged, method, threads, record), method, record)


def _open(searched: Searched, sizes: NDArray[np.float64], method: int) -> Live:
    n = len(searched.square)
    distances, bounds, fresh_at = searched.distances, searched.bounds, np.zeros(n, np.int64)
    if method == WARD:
        # Rows are squared when they are read for the first time.
        fresh_at[:] = -1
        distances, bounds = (_stored_squares(x, searched.square.dtype) for x in (distances, bounds))
    return _numbered(
        entries=searched.square.reshape(-1),
        starts=np.arange(n) * n,
        sizes=sizes,
        rows=np.arange(n),
        slots=searched.slots,
        distances=distances,
        bounds=bounds,
        neighbor=searched.slots[:, 0].copy(),
        fresh_at=fresh_at,
    )


def _stored_squares(distances: NDArray[np.float64], dtype: np.dtype[Any]) -> NDArray[np.float64]:
    return (distances * distances).astype(dtype).astype(np.float64)


def _numbered(
    *,
    entries: NDArray[Any],
    starts: NDArray[np.int64],
    sizes: NDArray[np.float64],
    rows: NDArray[np.int64],
    slots: NDArray[np.int64],
    distances: NDArray[np.float64],
    bounds: NDArray[np.float64],
    neighbor: NDArray[np.int64],
    fresh_at: NDArray[np.int64],
) -> Live:
    """Return slots that are all live, with an empty log."""
    edge = len(starts)
    return Live(
        entries=entries,
        starts=starts,
        closed=np.zeros(edge, entries.dtype),
        sizes=sizes,
        rows=rows,
        slots=slots,
        distances=distances,
        bounds=bounds,
        neighbor=neighbor,
        fresh_at=fresh_at,
        log=Log(
            x=np.empty(edge, np.uint32),
            y=np.empty(edge, np.uint32),
            weight_x=np.empty(edge),
            weight_y=np.empty(edge),
            height=np.empty(edge),
        ),
    )


def _merge(live: Live, start: int, stop: int, method: int, threads: int, record: Record) -> None:
    """Make the merges of a round, `start` to `stop` of the log."""
    log = live.log
    x, y = log.x[start:stop], log.y[start:stop]
    log_merges(log, start, stop, live.sizes, method)
    live.closed[x] = np.inf

    def piece(part: tuple[int, int]) -> None:
        _merge_rows(live, start, start + part[0], start + part[1], stop, method)

    pieces = cut_evenly(stop - start, 4 * live.edge, threads)
    in_threads(piece, pieces, threads=threads, pause=record.tell)
    live.sizes[y] += live.sizes[x]
    height = log.height[start:stop]
    record.append(live.rows[x], live.rows[y], np.sqrt(height) if method == WARD else height)
    _follow(live, start, stop)


def _search(live: Live, n_logged: int, method: int, threads: int, record: Record) -> None:
    """Find the nearest neighbours that are not known, of clusters that another is nearest to."""
    wanted = np.empty(live.edge, np.int64)
    wanted = wanted[: _want(live, wanted)]

    def piece(part: tuple[int, int]) -> None:
        _search_rows(live, wanted[part[0] : part[1]], n_logged, method)

    pieces = cut_evenly(len(wanted), 2 * live.edge, threads)
    in_threads(piece, pieces, threads=threads, pause=record.tell)


def _pack(live: Live, n_logged: int, method: int, threads: int, record: Record) -> Live:
    """Bring all rows up to date, and move live columns to their front."""
    kept = np.flatnonzero(live.closed == 0)

    def piece(part: tuple[int, int]) -> None:
        _pack_rows(live, kept[part[0] : part[1]], kept, n_logged, method)

    pieces = cut_evenly(len(kept), 2 * live.edge, threads)
    in_threads(piece, pieces, threads=threads, pause=record.tell)
    slots, neighbor = live.slots[kept], live.neighbor[kept]
    return _numbered(
        entries=live.entries,
        starts=live.starts[kept],
        sizes=live.sizes[kept],
        rows=live.rows[kept],
        slots=np.where(slots < 0, -1, np.searchsorted(kept, slots)),
        distances=live.distances[kept],
        bounds=live.bounds[kept],
        neighbor=np.where(neighbor < 0, -1, np.searchsorted(kept, neighbor)),
        fresh_at=np.zeros(len(kept), np.int64),
    )


def _hand_over(live: Live, method: int, record: Record) -> Table:
    """Move the rows, which are fresh, to the front of the square."""
    for first, last in cut_evenly(live.edge, live.edge, 1):
        _move_rows(live.entries, live.starts, first, last, method == WARD)
        record.tell()
    square = live.entries[: live.edge**2].reshape(live.edge, live.edge)
    return open_table(square, live.sizes, live.rows)


@jit
def _pair(live: Live, n_logged: int) -> int:
    """Log the pairs that are each other's nearest; return the log's length."""
    log, neighbor = live.log, live.neighbor
    for x in range(len(neighbor)):
        y = neighbor[x]
        if x < y and neighbor[y] == x and live.closed[x] == 0:
            log.x[n_logged] = x
            log.y[n_logged] = y
            log.height[n_logged] = live.distances[x, 0]
            n_logged += 1
    return n_logged


@jit
def _follow(live: Live, start: int, stop: int) -> None:
    """Replace listed clusters by those they were merged into, and see who is nearest now."""
    edge = len(live.starts)
    log = live.log
    merged_into = np.full(edge, -1)
    for t in range(start, stop):
        merged_into[log.x[t]] = log.y[t]
        merged_into[log.y[t]] = log.y[t]
    for i in range(edge):
        if live.closed[i] != 0 or merged_into[i] >= 0:
            continue
        slots, distances = live.slots[i], live.distances[i]
        is_changed = False
        for k in range(len(slots)):
            y = slots[k]
            if y >= 0 and merged_into[y] >= 0:
                y = merged_into[y]
                is_changed = True
                slots[k] = -1
                distances[k] = np.inf
                if not (slots == y).any():
                    slots[k] = y
                    distances[k] = live.entries[live.starts[y] + i]
        if is_changed:
            first = np.argmin(distances)
            slots[0], slots[first] = slots[first], slots[0]
            distances[0], distances[first] = distances[first], distances[0]
            live.neighbor[i] = slots[0] if distances[0] < live.bounds[i] else -1


@jit
def _want(live: Live, wanted: NDArray[np.int64]) -> int:
    """Fill in the slots that are to be searched; return how many."""
    edge = len(live.starts)
    neighbor = live.neighbor
    is_wanted = np.zeros(edge, np.bool_)
    for i in range(edge):
        if live.closed[i] == 0 and neighbor[i] >= 0 and neighbor[neighbor[i]] < 0:
            is_wanted[neighbor[i]] = True
    n_wanted = 0
    for i in range(edge):
        if is_wanted[i]:
            wanted[n_wanted] = i
            n_wanted += 1
    return n_wanted


@jit
def _refresh(
    live: Live, x: int, row: NDArray[Any], n_logged: int, size: float, method: int
) -> None:
    """Bring the row of slot `x` up to date with the log."""
    if live.fresh_at[x] < 0:
        live.fresh_at[x] = 0
        for i in range(len(row)):
            row[i] = np.float64(row[i]) * np.float64(row[i])
    combine_entries(row, live.log, live.fresh_at[x], n_logged, size, method)
    live.fresh_at[x] = n_logged


@jit
def _merge_rows(live: Live, start: int, first: int, last: int, stop: int, method: int) -> None:
    """Make the merges `first` to `last` of a round that is `start` to `stop` of the log."""
    edge = len(live.starts)
    entries, log = live.entries, live.log
    lanes = np.empty(LANES, entries.dtype)
    # As they are when a merge's turn comes.
    sizes = live.sizes.copy()
    for t in range(start, first):
        sizes[log.y[t]] += sizes[log.x[t]]
    for t in range(first, last):
        x, y = log.x[t], log.y[t]
        row_x = entries[live.starts[x] : live.starts[x] + edge]
        row_y = entries[live.starts[y] : live.starts[y] + edge]
        _refresh(live, x, row_x, t, sizes[x], method)
        _refresh(live, y, row_y, t, sizes[y], method)
        combine_logged_rows(row_x, row_y, log, t, sizes, method)
        row_y[y] = np.inf
        sizes[y] += sizes[x]
        combine_entries(row_y, log, t + 1, stop, sizes[y], method)
        live.fresh_at[y] = stop
        live.bounds[y] = nearest_few(row_y, live.closed, lanes, live.slots[y], live.distances[y])
        live.neighbor[y] = live.slots[y, 0]


@jit
def _search_rows(live: Live, slots: NDArray[np.int64], n_logged: int, method: int) -> None:
    """Bring some rows up to date, and find their nearest neighbours."""
    edge = len(live.starts)
    lanes = np.empty(LANES, live.entries.dtype)
    for x in slots:
        row = live.entries[live.starts[x] : live.starts[x] + edge]
        _refresh(live, x, row, n_logged, live.sizes[x], method)
        live.bounds[x] = nearest_few(row, live.closed, lanes, live.slots[x], live.distances[x])
        live.neighbor[x] = live.slots[x, 0]


@jit
def _pack_rows(
    live: Live, slots: NDArray[np.int64], kept: NDArray[np.int64], n_logged: int, method: int
) -> None:
    edge = len(live.starts)
    for x in slots:
        row = live.entries[live.starts[x] : live.starts[x] + edge]
        _refresh(live, x, row, n_logged, live.sizes[x], method)
        # In place: ascending, an entry never lands behind one that is still to be read.
        for j in range(len(kept)):
            row[j] = row[kept[j]]


@jit
def _move_rows(
    entries: NDArray[Any], starts: NDArray[np.int64], first: int, last: int, are_squares: bool
) -> None:
    # In place, ascending, as above.
    edge = len(starts)
    for i in range(first, last):
        if starts[i] != i * edge:
            for j in range(edge):
                entries[i * edge + j] = entries[starts[i] + j]
        if are_squares:
            for j in range(i * edge, (i + 1) * edge):
                entries[j] = np.sqrt(np.float64(entries[j]))

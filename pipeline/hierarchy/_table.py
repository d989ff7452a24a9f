"""Kernel: a symmetric table of distances whose columns are brought up to date when they are read.

A merge of clusters ``x`` and ``y`` changes a row and a column. The row is contiguous, the column
is a cache miss for each live cluster, and would be half of the running time. So only the row is
written, the merge is logged, and a row that is about to be scanned first fetches, from the rows
of the clusters merged since it was last up to date, the entries that it has in their columns:

    entry (i, j) is right in the row, i or j, that was merged last,
    and in the other row once that row has been refreshed.

A cluster that is merged again, or merged away, leaves the log: it holds each live cluster at most
once, so a hub that absorbs thousands of others costs one entry a refresh, not thousands. Rows that
are merged away before they are scanned are never brought up to date at all.

Once few enough of the clusters are live, the table is packed: the live rows and columns move to
its front, which gets a shorter stride, and a sweep in tiles makes it symmetric again. Slots keep
their order, so nothing that is decided depends on when this happens.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from clustergrid.pipeline._jit import jit
from clustergrid.pipeline.hierarchy._formulas import combine_rows
from clustergrid.pipeline.hierarchy._minimum import LANES, not_finite
from clustergrid.pipeline.hierarchy._pieces import ENTRIES_A_PIECE
from clustergrid.pipeline.hierarchy._record import Record

__all__ = ["Engine", "Table", "finish", "merge_rows", "open_table", "refresh"]

_TILE = 32
_SMALLEST_PACKED = 512


class Table(NamedTuple):
    """The live part of a distance matrix, `edge` slots wide, a cluster a slot.

    Parameters
    ----------
    entries
        Flat; row ``x`` is ``entries[x * edge : (x + 1) * edge]``. The diagonal is infinite.
    closed
        ``(edge,)``, the entries' dtype: 0 for a live slot, infinite for one merged away. Added to
        a row, it leaves dead slots out of a minimum without a branch.
    sizes
        ``(edge,) float64``: observations in each cluster.
    rows
        ``(edge,) int64``: one row of the input for each slot.
    log
        ``(edge,) int64``: slots in the order of their last merge; -1 where that was not the last.
    logged_at
        ``(edge,) int64``: the position of each slot in the log; -1 if not merged since packing.
    fresh_at
        ``(edge,) int64``: how much of the log each row has taken in.
    lanes
        ``(128,)``: room for the running minima of a scan.
    """

    entries: NDArray[Any]
    closed: NDArray[Any]
    sizes: NDArray[np.float64]
    rows: NDArray[np.int64]
    log: NDArray[np.int64]
    logged_at: NDArray[np.int64]
    fresh_at: NDArray[np.int64]
    lanes: NDArray[Any]

    @property
    def edge(self) -> int:
        """Slots along a side, live or not."""
        return len(self.closed)


def open_table(
    square: NDArray[Any], sizes: NDArray[np.float64], rows: NDArray[np.int64] | None = None
) -> Table:
    """Return the table of a symmetric matrix with an infinite diagonal, which is worked on.

    `sizes` and `rows` are those of `Table`; by default a slot is the row of its own number.
    """
    edge = len(square)
    return Table(
        entries=square.reshape(-1),
        closed=np.zeros(edge, square.dtype),
        sizes=sizes,
        rows=np.arange(edge) if rows is None else rows,
        log=np.full(edge, -1),
        logged_at=np.full(edge, -1),
        fresh_at=np.zeros(edge, np.int64),
        lanes=np.empty(LANES, square.dtype),
    )


class Engine(Protocol):
    """What chooses the merges of a table."""

    def advance(self, table: Table, record: Record, method: int, target: int) -> bool:
        """Go on until `target` merges are done, or for a bounded time; False if stuck."""
        ...

    def pack(self, kept: NDArray[np.int64]) -> None:
        """Follow a packing of the table: new slot ``i`` was ``kept[i]``."""
        ...


def finish(table: Table, engine: Engine, method: int, record: Record) -> None:
    """Let an engine merge all clusters of a table.

    Raises
    ------
    DataValueError
        No distance is finite, or nearest neighbours follow one another in a cycle.
    """
    while record.done < record.total:
        target = _packing_target(table, record.total)
        while record.done < target:
            if not engine.advance(table, record, method, target):
                raise not_finite()
            record.tell()
        if target < record.total:
            table, kept = _pack(table, record.tell)
            engine.pack(kept)


def _packing_target(table: Table, n_merges: int) -> int:
    """Return after how many merges, of all, half of the slots are dead and it pays to pack."""
    if table.edge < _SMALLEST_PACKED:
        return n_merges
    return n_merges + 1 - table.edge // 2


def _pack(table: Table, pause: Callable[[], None]) -> tuple[Table, NDArray[np.int64]]:
    """Move what is live to the front; also return which slot each new slot was.

    `pause` is called between bounded pieces of the work.
    """
    kept = np.flatnonzero(table.closed == 0)
    edge = len(kept)
    rows_a_piece = max(_TILE, ENTRIES_A_PIECE // edge)
    for start in range(0, edge, rows_a_piece):
        _move_rows(table.entries, table.edge, kept, start, min(start + rows_a_piece, edge))
        pause()
    logged_at = table.logged_at[kept]
    for start in range(0, edge, rows_a_piece):
        _symmetrize_rows(table.entries, logged_at, start, min(start + rows_a_piece, edge))
        pause()
    square = table.entries[: edge * edge].reshape(edge, edge)
    return open_table(square, table.sizes[kept], table.rows[kept]), kept


@jit
def _move_rows(
    entries: NDArray[Any], edge: int, kept: NDArray[np.int64], start: int, stop: int
) -> None:
    # In place: ascending, an entry never lands behind one that is still to be read.
    new_edge = len(kept)
    for i in range(start, stop):
        source = entries[kept[i] * edge : (kept[i] + 1) * edge]
        target = i * new_edge
        for j in range(new_edge):
            entries[target + j] = source[kept[j]]


@jit
def _symmetrize_rows(
    entries: NDArray[Any], logged_at: NDArray[np.int64], start: int, stop: int
) -> None:
    edge = len(logged_at)
    for top in range(start, stop, _TILE):
        bottom = min(top + _TILE, stop)
        for left in range(0, bottom, _TILE):
            for i in range(top, bottom):
                merged_i = logged_at[i]
                for j in range(left, min(left + _TILE, i)):
                    merged_j = logged_at[j]
                    if merged_i > merged_j:
                        entries[j * edge + i] = entries[i * edge + j]
                    elif merged_j > merged_i:
                        entries[i * edge + j] = entries[j * edge + i]


@jit
def refresh(table: Table, x: int, n_logged: int) -> int:
    """Bring row `x` up to date; return how much of the log that took."""
    edge = len(table.closed)
    entries = table.entries
    log = table.log
    target = entries[x * edge : (x + 1) * edge]
    start = table.fresh_at[x]
    for position in range(start, n_logged):
        slot = log[position]
        if slot >= 0:
            target[slot] = entries[slot * edge + x]
    table.fresh_at[x] = n_logged
    return int(n_logged - start)


@jit
def _advance_log(table: Table, x: int, y: int, n_logged: int) -> int:
    """Log that the clusters of slots `x` and `y` are now that of slot `y`.

    Returns the new length of the log, and takes it for what row `y` has taken in.
    """
    if table.logged_at[x] >= 0:
        table.log[table.logged_at[x]] = -1
    if table.logged_at[y] >= 0:
        table.log[table.logged_at[y]] = -1
    table.log[n_logged] = y
    table.logged_at[y] = n_logged
    table.fresh_at[y] = n_logged + 1
    table.closed[x] = np.inf
    table.sizes[y] += table.sizes[x]
    return n_logged + 1


@jit
def merge_rows(table: Table, x: int, y: int, height: float, n_logged: int, method: int) -> int:
    """Make slot `y` that of the union of the clusters of slots `x` and `y`, which are fresh.

    Returns the new length of the log.
    """
    edge = len(table.closed)
    row_x = table.entries[x * edge : (x + 1) * edge]
    row_y = table.entries[y * edge : (y + 1) * edge]
    sizes = table.sizes
    combine_rows(row_x, row_y, sizes, sizes[x], sizes[y], height, method)
    row_y[y] = np.inf
    return _advance_log(table, x, y, n_logged)

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
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from clustergrid.pipeline._jit import jit
from clustergrid.storage.errors import DataValueError

__all__ = [
    "CODES",
    "LANES",
    "SCANS_A_PIECE",
    "Report",
    "Table",
    "advance_log",
    "combine",
    "minimum",
    "not_finite",
    "open_table",
    "pack_table",
    "packing_target",
    "refresh",
]

LANES = 128
# Entries read between two calls of `progress`: some 0.05 s, so that Ctrl-C acts at once.
SCANS_A_PIECE = 50_000_000
_TILE = 32
_SMALLEST_PACKED = 512

Report: TypeAlias = Callable[[int, int], None]
"""Called with how many merges are done, and of how many."""

# Codes instead of names: the kernels branch on an integer, outside of their loops.
COMPLETE, AVERAGE, WEIGHTED, CENTROID, MEDIAN, WARD = 1, 2, 3, 4, 5, 6
CODES = {
    "complete": COMPLETE,
    "average": AVERAGE,
    "weighted": WEIGHTED,
    "centroid": CENTROID,
    "median": MEDIAN,
    "ward": WARD,
}


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


def open_table(square: NDArray[Any], members: NDArray[np.int64] | None) -> Table:
    """Return the table of a ``(n, n)`` symmetric matrix, which is worked on in place."""
    n = len(square)
    np.fill_diagonal(square, np.inf)
    sizes = np.ones(n) if members is None else members.astype(np.float64)
    return _new_table(square.reshape(-1), sizes, np.arange(n))


def _new_table(entries: NDArray[Any], sizes: NDArray[np.float64], rows: NDArray[np.int64]) -> Table:
    edge = len(rows)
    return Table(
        entries=entries,
        closed=np.zeros(edge, entries.dtype),
        sizes=sizes,
        rows=rows,
        log=np.full(edge, -1),
        logged_at=np.full(edge, -1),
        fresh_at=np.zeros(edge, np.int64),
        lanes=np.empty(LANES, entries.dtype),
    )


def packing_target(table: Table, n_merges: int) -> int:
    """Return after how many merges, of all, half of the slots are dead and it pays to pack."""
    if table.edge < _SMALLEST_PACKED:
        return n_merges
    return n_merges + 1 - table.edge // 2


def not_finite() -> DataValueError:
    """Return the error of an engine that finds no finite distance, or no end of a chain."""
    return DataValueError(
        "The distance matrix must be symmetric and contain only finite values, small enough that "
        "their squares are finite too."
    )


def pack_table(table: Table, pause: Callable[[], None]) -> tuple[Table, NDArray[np.int64]]:
    """Move what is live to the front; also return which slot each new slot was.

    `pause` is called between bounded pieces of the work.
    """
    kept = np.flatnonzero(table.closed == 0)
    edge = len(kept)
    rows_a_piece = max(_TILE, SCANS_A_PIECE // edge)
    for start in range(0, edge, rows_a_piece):
        _move_rows(table.entries, table.edge, kept, start, min(start + rows_a_piece, edge))
        pause()
    logged_at = table.logged_at[kept]
    for start in range(0, edge, rows_a_piece):
        _symmetrize_rows(table.entries, logged_at, start, min(start + rows_a_piece, edge))
        pause()
    return _new_table(table.entries, table.sizes[kept], table.rows[kept]), kept


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
def advance_log(table: Table, x: int, y: int, n_logged: int) -> int:
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
def minimum(values: NDArray[Any], closed: NDArray[Any], lanes: NDArray[Any]) -> tuple[float, int]:
    """Return the least of the values that are not closed, and the first position that has it.

    Position -1 when nothing is finite. The minimum is kept in lanes because compilers vectorize
    independent minima, not a single one: floating point's has an order. The position is looked
    for afterwards, in the few lanes that attain it.
    """
    n = len(values)
    n_lanes = len(lanes)
    whole = n - n % n_lanes
    lanes[:] = np.inf
    for start in range(0, whole, n_lanes):
        some = values[start : start + n_lanes]
        some_closed = closed[start : start + n_lanes]
        for lane in range(n_lanes):
            value = some[lane] + some_closed[lane]
            lanes[lane] = value if value < lanes[lane] else lanes[lane]
    best = lanes[0]
    for lane in range(1, n_lanes):
        best = lanes[lane] if lanes[lane] < best else best
    where = -1
    for i in range(whole, n):
        value = values[i] + closed[i]
        if value < best:
            best = value
            where = i
    if where < 0 and best < np.inf:
        where = n
        for lane in range(n_lanes):
            if lanes[lane] == best:
                i = lane
                while i < where and values[i] + closed[i] != best:
                    i += n_lanes
                where = min(where, i)
    return best, where


@jit
def combine(table: Table, x: int, y: int, height: float, method: int) -> None:
    """Replace row `y` by the distances to the union of the clusters of slots `x` and `y`.

    Both rows must be fresh. The Lance-Williams formulas, in SciPy's order of evaluation and in
    float64, so that the results are the same to the bit; except that the square of a centroid's
    distance that rounding made negative counts as zero, where SciPy gets a NaN.
    """
    edge = len(table.closed)
    row_x = table.entries[x * edge : (x + 1) * edge]
    row_y = table.entries[y * edge : (y + 1) * edge]
    sizes = table.sizes
    size_x = sizes[x]
    size_y = sizes[y]
    both = size_x + size_y
    if method == COMPLETE:
        for i in range(edge):
            row_y[i] = row_x[i] if row_x[i] > row_y[i] else row_y[i]
    elif method == AVERAGE:
        for i in range(edge):
            row_y[i] = (size_x * np.float64(row_x[i]) + size_y * np.float64(row_y[i])) / both
    elif method == WEIGHTED:
        for i in range(edge):
            row_y[i] = 0.5 * (np.float64(row_x[i]) + np.float64(row_y[i]))
    elif method == CENTROID:
        shift = size_x * size_y * height * height / both
        for i in range(edge):
            to_x = np.float64(row_x[i])
            to_y = np.float64(row_y[i])
            squared = ((size_x * to_x * to_x + size_y * to_y * to_y) - shift) / both
            row_y[i] = np.sqrt(max(squared, 0.0))
    elif method == MEDIAN:
        shift = 0.25 * height * height
        for i in range(edge):
            to_x = np.float64(row_x[i])
            to_y = np.float64(row_y[i])
            row_y[i] = np.sqrt(max(0.5 * (to_x * to_x + to_y * to_y) - shift, 0.0))
    else:
        for i in range(edge):
            to_x = np.float64(row_x[i])
            to_y = np.float64(row_y[i])
            # Not `1.0 / ...`, whose check for zero would keep the loop from being vectorized.
            share = np.divide(1.0, both + sizes[i])
            row_y[i] = np.sqrt(
                (sizes[i] + size_x) * share * to_x * to_x
                + (sizes[i] + size_y) * share * to_y * to_y
                - sizes[i] * share * height * height
            )
    row_y[y] = np.inf

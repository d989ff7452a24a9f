"""Kernel: rows of distances between clusters, as many as there is room for.

A merge replaces two rows by one, at once, and two entries by one in every other row. These are
replaced when the row is read again: a log holds the merges, and a row knows how much of the log it
has taken in. So what costs time is rows that are read, and not how many are kept.

Columns are clusters, by slot. When half of them are gone, the log is worked off, and what is left
of each row moves to the front of the memory, where there is then room for twice as many.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clustergrid.pipeline._jit import jit
from clustergrid.pipeline.hierarchy._clusters import Clusters, combine
from clustergrid.pipeline.hierarchy._minimum import LANES

__all__ = ["Rows", "catch_up", "move_rows", "open_rows", "put_rows", "row_of", "unite_rows"]


class Rows(NamedTuple):
    """Some rows of the distances between w clusters, which are live or were merged since.

    Parameters
    ----------
    entries
        ``(room * w or more,) float64``: place ``p`` is ``entries[p * w : (p + 1) * w]``.
    holder
        ``(room,) int64``: the column whose row is in a place; -1 for none.
    place
        ``(w,) int64``: where the row of a column is; -1 if nowhere.
    slots
        ``(w,) int64``, ascending: the slot of each column's cluster.
    closed
        ``(w,) float64``: 0 for a live column, infinite for one merged away.
    sizes, n_points
        ``(w,) float64`` and ``int64``: observations, and points, of each cluster.
    fresh_at
        ``(w,) int64``: how much of the log a row has taken in.
    used_at
        ``(w,) int64``: when a row was fetched, or else read last.
    is_read
        ``(w,) bool``: whether it was read since it was fetched.
    merged
        ``(w, 2) int64``: the log; columns ``a`` and ``b`` became column ``a``.
    merged_sizes, heights
        ``(w, 2)`` and ``(w,) float64``: of these clusters then, and the distance between them.
    lanes
        Room for the running minima of a scan.
    """

    entries: NDArray[np.float64]
    holder: NDArray[np.int64]
    place: NDArray[np.int64]
    slots: NDArray[np.int64]
    closed: NDArray[np.float64]
    sizes: NDArray[np.float64]
    n_points: NDArray[np.int64]
    fresh_at: NDArray[np.int64]
    used_at: NDArray[np.int64]
    is_read: NDArray[np.bool_]
    merged: NDArray[np.int64]
    merged_sizes: NDArray[np.float64]
    heights: NDArray[np.float64]
    lanes: NDArray[np.float64]


def open_rows(
    entries: NDArray[np.float64],
    clusters: Clusters,
    slots: NDArray[np.int64],
    n_points: NDArray[np.int64],
) -> Rows:
    """Return no rows of the clusters in `slots`, with room for all that `entries` can hold."""
    width = len(slots)
    return Rows(
        entries=entries,
        holder=np.full(min(width, len(entries) // width), -1),
        place=np.full(width, -1),
        slots=slots,
        closed=np.zeros(width),
        sizes=clusters.sizes[slots],
        n_points=n_points,
        fresh_at=np.zeros(width, np.int64),
        used_at=np.zeros(width, np.int64),
        is_read=np.zeros(width, np.bool_),
        merged=np.empty((width, 2), np.int64),
        merged_sizes=np.empty((width, 2)),
        heights=np.empty(width),
        lanes=np.empty(LANES),
    )


@jit
def row_of(rows: Rows, column: int) -> NDArray[np.float64]:
    """Return the row of a column that has one."""
    width = len(rows.place)
    start = rows.place[column] * width
    return rows.entries[start : start + width]


@jit
def put_rows(
    rows: Rows,
    columns: NDArray[np.int64],
    places: NDArray[np.int64],
    live: NDArray[np.int64],
    fetched: NDArray[np.float64],
    n_logged: int,
    clock: int,
) -> bool:
    """Put the rows of some columns, as a source gives them, into free places.

    Returns whether all distances are finite; that of a cluster to itself is not.
    """
    n_strange = 0
    for i in range(len(columns)):
        column = columns[i]
        rows.place[column] = places[i]
        rows.holder[places[i]] = column
        rows.fresh_at[column] = n_logged
        rows.used_at[column] = clock
        rows.is_read[column] = False
        row = row_of(rows, column)
        row[:] = np.inf
        for j in range(len(live)):
            distance = fetched[i, j]
            row[live[j]] = distance
            n_strange += not np.isfinite(distance)
        row[column] = np.inf
    return n_strange == len(columns)


@jit
def catch_up(rows: Rows, column: int, n_logged: int, method: int) -> int:
    """Take the rest of the log into a row; return how much that was."""
    row = row_of(rows, column)
    size = rows.sizes[column]
    start = rows.fresh_at[column]
    for t in range(start, n_logged):
        a = rows.merged[t, 0]
        b = rows.merged[t, 1]
        row[a] = combine(
            method,
            row[a],
            row[b],
            rows.heights[t],
            rows.merged_sizes[t, 0],
            rows.merged_sizes[t, 1],
            size,
        )
    rows.fresh_at[column] = n_logged
    return int(n_logged - start)


@jit
def unite_rows(
    rows: Rows, clusters: Clusters, a: int, b: int, height: float, n_logged: int, method: int
) -> None:
    """Make one row, and one column, of those of `a` and `b`, whose rows are fresh; log that."""
    row_a = row_of(rows, a)
    row_b = row_of(rows, b)
    size_a = rows.sizes[a]
    size_b = rows.sizes[b]
    sizes = rows.sizes
    for column in range(len(row_a)):
        row_a[column] = combine(
            method, row_a[column], row_b[column], height, size_a, size_b, sizes[column]
        )
    row_a[a] = np.inf
    rows.holder[rows.place[b]] = -1
    rows.place[b] = -1
    rows.merged[n_logged, 0] = a
    rows.merged[n_logged, 1] = b
    rows.merged_sizes[n_logged, 0] = size_a
    rows.merged_sizes[n_logged, 1] = size_b
    rows.heights[n_logged] = height
    rows.fresh_at[a] = n_logged + 1
    rows.sizes[a] = size_a + size_b
    rows.n_points[a] += rows.n_points[b]
    rows.closed[b] = np.inf


@jit
def move_rows(
    rows: Rows,
    columns: NDArray[np.int64],
    kept: NDArray[np.int64],
    n_logged: int,
    method: int,
    start: int,
    stop: int,
) -> None:
    """Bring rows up to date, and their live columns to the front of the memory, in place.

    Parameters
    ----------
    rows
        Of w columns.
    columns
        Those that have a row, by place.
    kept
        ``(v,) int64``: the live ones. Rows of v entries follow one another from the front on.
    n_logged, method
        The length of the log.
    start, stop
        Which of `columns`; those before them have been moved.
    """
    width = len(rows.place)
    for i in range(start, stop):
        column = columns[i]
        catch_up(rows, column, n_logged, method)
        source = rows.place[column] * width
        target = i * len(kept)
        # Ascending, an entry never lands behind one that is still to be read.
        for j in range(len(kept)):
            rows.entries[target + j] = rows.entries[source + kept[j]]

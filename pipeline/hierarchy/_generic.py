"""Kernel: cached global minima, for centroid and median, whose merges can bring clusters nearer.

Each cluster keeps its nearest neighbour among the higher slots and a lower bound of the distance
to it; the least bound is the next merge once it has been confirmed (Muellner 2011,
arXiv:1109.2378, "generic algorithm"; SciPy's ``fast_linkage``). Heights may invert.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from clustergrid.pipeline._jit import jit
from clustergrid.pipeline.hierarchy._minimum import minimum
from clustergrid.pipeline.hierarchy._pieces import ENTRIES_A_PIECE
from clustergrid.pipeline.hierarchy._record import Record
from clustergrid.pipeline.hierarchy._table import Table, merge_rows, refresh

__all__ = ["GlobalMinima"]


class GlobalMinima:
    """Cached minima of a table's rows; see `clustergrid.pipeline.hierarchy._table.Engine`.

    Parameters
    ----------
    table
        To begin with.
    """

    def __init__(self, table: Table) -> None:
        # No bound yet: minus infinity is always confirmed first, so the first pieces fill these.
        self._bound = np.full(table.edge, -np.inf, table.entries.dtype)
        self._neighbor = np.zeros(table.edge, np.int64)
        # Merges done, how long the log is.
        self._counts = np.zeros(2, np.int64)

    def advance(self, table: Table, record: Record, method: int, target: int) -> bool:
        """Go on until `target` merges are done, or for a bounded time; False if stuck."""
        counts, merges = self._counts, record.merges
        counts[0] = record.done
        is_well = _advance(
            table,
            self._bound,
            self._neighbor,
            counts,
            merges.first,
            merges.second,
            merges.height,
            method,
            target,
            ENTRIES_A_PIECE,
        )
        record.done = int(counts[0])
        return is_well

    def pack(self, kept: NDArray[np.int64]) -> None:
        """Follow a packing of the table: new slot ``i`` was ``kept[i]``."""
        self._bound = self._bound[kept]
        # A slot without a higher live one has a stale neighbour, behind an infinite bound.
        self._neighbor = np.searchsorted(kept, self._neighbor[kept])
        self._counts[1] = 0


@jit
def _advance(
    table: Table,
    bound: NDArray[Any],
    neighbor: NDArray[np.int64],
    counts: NDArray[np.int64],
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    height: NDArray[np.float64],
    method: int,
    target: int,
    budget: int,
) -> bool:
    """Go on until `target` merges are done or some `budget` entries were read; False if stuck."""
    edge = len(table.closed)
    entries = table.entries
    closed = table.closed
    done, n_logged = counts
    while done < target and budget > 0:
        least, x = minimum(bound, closed, table.lanes)
        budget -= edge
        if x < 0:
            return False
        y = neighbor[x]
        # The entry is right in the row that was merged last.
        if table.logged_at[y] > table.logged_at[x]:
            current = entries[y * edge + x]
        else:
            current = entries[x * edge + y]
        if least != current:
            budget -= refresh(table, x, n_logged) + edge - x
            _search(table, x, bound, neighbor)
            continue

        budget -= refresh(table, x, n_logged) + refresh(table, y, n_logged) + edge
        n_logged = merge_rows(table, x, y, least, n_logged, method)
        first[done] = table.rows[x]
        second[done] = table.rows[y]
        height[done] = least
        done += 1
        # A guess: what was nearest to x is likely to be near to the union.
        for z in range(x):
            if neighbor[z] == x:
                neighbor[z] = y
        row = entries[y * edge : (y + 1) * edge]
        for z in range(y):
            if row[z] < bound[z]:
                bound[z] = row[z]
                neighbor[z] = y
        _search(table, y, bound, neighbor)
    counts[0] = done
    counts[1] = n_logged
    return True


@jit
def _search(table: Table, x: int, bound: NDArray[Any], neighbor: NDArray[np.int64]) -> None:
    """Find the nearest neighbour of `x` among the higher slots; row `x` must be fresh."""
    edge = len(table.closed)
    row = table.entries[x * edge + x + 1 : (x + 1) * edge]
    nearest, position = minimum(row, table.closed[x + 1 :], table.lanes)
    bound[x] = nearest
    neighbor[x] = x + 1 + position

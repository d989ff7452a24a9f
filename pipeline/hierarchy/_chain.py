"""Kernel: the nearest-neighbour chain, for complete, average, weighted and ward.

Follow nearest neighbours from any cluster until two are each other's, merge them, go on from what
is left of the chain. Exact for reducible methods, with 3 n row scans at most (Murtagh 1983;
Muellner 2011, arXiv:1109.2378). Ties are broken as SciPy's ``nn_chain`` does: the chain starts at
the lowest live slot, keeps to the previous element where that is as near as any, and else takes
the lowest slot.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clustergrid.pipeline._jit import jit
from clustergrid.pipeline.hierarchy._minimum import minimum
from clustergrid.pipeline.hierarchy._pieces import ENTRIES_A_PIECE
from clustergrid.pipeline.hierarchy._record import Record
from clustergrid.pipeline.hierarchy._table import Table, merge_rows, refresh

__all__ = ["Chain"]


class Chain:
    """A chain through the clusters of a table; see `clustergrid.pipeline.hierarchy._table.Engine`.

    Parameters
    ----------
    table
        To begin with.
    """

    def __init__(self, table: Table) -> None:
        self._slots = np.empty(table.edge, np.int64)
        # How long the chain is, merges done, how long the log is, the lowest slot that may live.
        self._counts = np.zeros(4, np.int64)

    def advance(self, table: Table, record: Record, method: int, target: int) -> bool:
        """Go on until `target` merges are done, or for a bounded time; False if stuck."""
        counts, merges = self._counts, record.merges
        counts[1] = record.done
        is_well = _advance(
            table,
            self._slots,
            counts,
            merges.first,
            merges.second,
            merges.height,
            method,
            target,
            ENTRIES_A_PIECE,
        )
        record.done = int(counts[1])
        return is_well

    def pack(self, kept: NDArray[np.int64]) -> None:
        """Follow a packing of the table: new slot ``i`` was ``kept[i]``."""
        length = self._counts[0]
        self._slots[:length] = np.searchsorted(kept, self._slots[:length])
        self._counts[2:] = 0


@jit
def _advance(
    table: Table,
    chain: NDArray[np.int64],
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
    length, done, n_logged, lowest = counts
    while done < target and budget > 0:
        if length == 0:
            while table.closed[lowest] != 0:
                lowest += 1
            chain[0] = lowest
            length = 1
        x = chain[length - 1]
        budget -= refresh(table, x, n_logged) + edge
        row = entries[x * edge : (x + 1) * edge]
        nearest, y = minimum(row, table.closed, table.lanes)
        if y < 0:
            return False
        if length == 1 or row[chain[length - 2]] > nearest:
            if length == len(chain):
                return False  # a cycle, which only an asymmetric matrix has
            chain[length] = y
            length += 1
            continue

        y = chain[length - 2]
        length -= 2
        if x > y:
            x, y = y, x
        budget -= refresh(table, x, n_logged) + refresh(table, y, n_logged) + edge
        n_logged = merge_rows(table, x, y, nearest, n_logged, method)
        first[done] = table.rows[x]
        second[done] = table.rows[y]
        height[done] = nearest
        done += 1
    counts[0] = length
    counts[1] = done
    counts[2] = n_logged
    counts[3] = lowest
    return True

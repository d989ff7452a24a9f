"""Kernel: the nearest-neighbour chain, for complete, average, weighted and ward.

Follow nearest neighbours from any cluster until two are each other's, merge them, go on from what
is left of the chain. Exact for reducible methods, with 3 n row scans at most (Murtagh 1983;
Muellner 2011, arXiv:1109.2378). Ties are broken as SciPy's ``nn_chain`` does: the chain starts at
the lowest live slot, keeps to the previous element where that is as near as any, and else takes
the lowest slot.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clustergrid.pipeline._jit import jit
from clustergrid.pipeline.hierarchy._table import (
    CODES,
    SCANS_A_PIECE,
    Report,
    Table,
    advance_log,
    combine,
    minimum,
    not_finite,
    open_table,
    pack_table,
    packing_target,
    refresh,
)
from clustergrid.pipeline.hierarchy.methods import Merges

__all__ = ["cluster_by_chain"]


def cluster_by_chain(
    square: NDArray[Any], method: str, members: NDArray[np.int64] | None, report: Report
) -> Merges:
    """Merge all rows of a symmetric ``(n, n)`` matrix, which is destroyed, by `method`."""
    n_merges = len(square) - 1
    merges = Merges.empty(n_merges)
    table = open_table(square, members)
    chain = np.empty(n_merges + 1, np.int64)
    # How long the chain is, merges done, how long the log is, the lowest slot that may be live.
    counts = np.zeros(4, np.int64)
    while counts[1] < n_merges:
        target = packing_target(table, n_merges)
        while counts[1] < target:
            if not _advance(
                table,
                chain,
                counts,
                merges.first,
                merges.second,
                merges.height,
                CODES[method],
                target,
                SCANS_A_PIECE,
            ):
                raise not_finite()
            report(int(counts[1]), n_merges)
        if target < n_merges:
            table, kept = pack_table(table, partial(report, target, n_merges))
            length = counts[0]
            chain[:length] = np.searchsorted(kept, chain[:length])
            counts[2:] = 0
    return merges


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
        combine(table, x, y, nearest, method)
        n_logged = advance_log(table, x, y, n_logged)
        first[done] = table.rows[x]
        second[done] = table.rows[y]
        height[done] = nearest
        done += 1
    counts[0] = length
    counts[1] = done
    counts[2] = n_logged
    counts[3] = lowest
    return True

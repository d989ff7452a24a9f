"""Kernel: cached global minima, for centroid and median, whose merges can bring clusters nearer.

Each cluster keeps its nearest neighbour among the higher slots and a lower bound of the distance
to it; the least bound is the next merge once it has been confirmed (Muellner 2011,
arXiv:1109.2378, "generic algorithm"; SciPy's ``fast_linkage``). Heights may invert.
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

__all__ = ["cluster_by_minima"]


def cluster_by_minima(
    square: NDArray[Any], method: str, members: NDArray[np.int64] | None, report: Report
) -> Merges:
    """Merge all rows of a symmetric ``(n, n)`` matrix, which is destroyed, by `method`."""
    n = len(square)
    n_merges = n - 1
    merges = Merges.empty(n_merges)
    table = open_table(square, members)
    # No bound yet: minus infinity is always confirmed first, so the first pieces fill the cache.
    bound = np.full(n, -np.inf, square.dtype)
    neighbor = np.zeros(n, np.int64)
    # Merges done, how long the log is.
    counts = np.zeros(2, np.int64)
    while counts[0] < n_merges:
        target = packing_target(table, n_merges)
        while counts[0] < target:
            if not _advance(
                table,
                bound,
                neighbor,
                counts,
                merges.first,
                merges.second,
                merges.height,
                CODES[method],
                target,
                SCANS_A_PIECE,
            ):
                raise not_finite()
            report(int(counts[0]), n_merges)
        if target < n_merges:
            table, kept = pack_table(table, partial(report, target, n_merges))
            bound = bound[kept]
            # A slot without a higher live one has a stale neighbour, behind an infinite bound.
            neighbor = np.searchsorted(kept, neighbor[kept])
            counts[1] = 0
    return merges


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
        combine(table, x, y, least, method)
        n_logged = advance_log(table, x, y, n_logged)
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

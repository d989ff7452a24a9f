"""Kernel: Prim's minimum spanning tree, for single linkage.

A tree grows from row 0; each step reads the row of the vertex that joined last, once, and the
matrix is not written (but for its diagonal). Joining vertex after vertex in Prim's order, at the
weights of the edges they came by, is the single-linkage tree: between any two of them the
greatest weight on the way is their cophenetic distance. Ties take the lowest row, as in SciPy.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from clustergrid.pipeline._jit import jit
from clustergrid.pipeline.hierarchy._minimum import LANES, minimum, not_finite
from clustergrid.pipeline.hierarchy._pieces import ENTRIES_A_PIECE
from clustergrid.pipeline.hierarchy._record import Record

__all__ = ["merge_by_spanning_tree"]


def merge_by_spanning_tree(square: NDArray[Any], record: Record) -> None:
    """Merge all rows of a symmetric ``(n, n)`` matrix by single linkage.

    Raises
    ------
    DataValueError
        No distance is finite.
    """
    n = len(square)
    # Vertices in the order in which they joined, the first being row 0.
    order = np.zeros(n, np.int64)
    weight = np.empty(n - 1)
    reach = np.full(n, np.inf, square.dtype)
    closed = np.zeros(n, square.dtype)
    lanes = np.empty(LANES, square.dtype)
    steps = max(1, ENTRIES_A_PIECE // n)
    for start in range(0, n - 1, steps):
        stop = min(start + steps, n - 1)
        if not _advance(square, order, weight, reach, closed, lanes, start, stop):
            raise not_finite()
        record.append(order[start:stop], order[start + 1 : stop + 1], weight[start:stop])
        record.tell()
    merges = record.merges
    by_height = np.argsort(weight, kind="stable")
    for column in (merges.first, merges.second, merges.height):
        column[:] = column[by_height]


@jit
def _advance(
    square: NDArray[Any],
    order: NDArray[np.int64],
    weight: NDArray[np.float64],
    reach: NDArray[Any],
    closed: NDArray[Any],
    lanes: NDArray[Any],
    start: int,
    stop: int,
) -> bool:
    """Let the vertices number `start` + 1 to `stop` join; False if the next is out of reach."""
    n = len(reach)
    for done in range(start, stop):
        x = order[done]
        closed[x] = np.inf
        row = square[x]
        for i in range(n):
            reach[i] = row[i] if row[i] < reach[i] else reach[i]
        nearest, y = minimum(reach, closed, lanes)
        if y < 0:
            return False
        weight[done] = nearest
        order[done + 1] = y
    return True

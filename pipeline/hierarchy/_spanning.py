"""Kernel: Prim's minimum spanning tree of a square of distances, for single linkage.

A tree grows from row 0; each step reads the row of the vertex that joined last, once, and the
matrix is not written. Edges are ordered by (distance, lower index, higher index), as in
``_edges.py``: no two are equal, so there is one minimum spanning tree, the one that tiles give
too (``_forest.py``). Merged in that order, its edges are the tree of single linkage.

Where no two heights are equal, that tree is the same whichever edges make it. So a square in double
precision that is not known to have ties is first gone through without remembering by which edge a
vertex is reached, which takes a third less, and once more if it has. In single precision some of
many heights are equal by chance.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from clustergrid.pipeline._jit import jit
from clustergrid.pipeline.hierarchy._edges import Edges
from clustergrid.pipeline.hierarchy._minimum import LANES, not_finite
from clustergrid.pipeline.hierarchy._pieces import ENTRIES_A_PIECE
from clustergrid.pipeline.hierarchy._record import Record

__all__ = ["GrowingTree", "merge_by_spanning_tree"]

_EXACT_BYTES = 8
"""Of a distance of which two are hardly ever equal by chance."""


def merge_by_spanning_tree(square: NDArray[Any], record: Record, *, is_tied: bool = False) -> None:
    """Merge all rows of a symmetric ``(n, n)`` matrix by single linkage.

    Parameters
    ----------
    square
        The distances.
    record
        Of the merges, empty.
    is_tied
        Whether distances are known to be equal.

    Raises
    ------
    DataValueError
        No distance is finite.
    """
    has_edges = is_tied or square.dtype.itemsize < _EXACT_BYTES
    edges = _grown(square, record, has_edges=has_edges).sorted()
    if not has_edges and (edges.weight[1:] == edges.weight[:-1]).any():
        record.done = 0
        edges = _grown(square, record, has_edges=True).sorted()
    merges = record.merges
    merges.first[:], merges.second[:], merges.height[:] = edges.lower, edges.higher, edges.weight


def _grown(square: NDArray[Any], record: Record, *, has_edges: bool) -> Edges:
    n = len(square)
    tree = GrowingTree(square, has_edges=has_edges)
    steps = max(1, ENTRIES_A_PIECE // n)
    for start in range(0, n - 1, steps):
        some = tree.grow(min(steps, n - 1 - start))
        if some is None:
            raise not_finite()
        record.append(some.lower, some.higher, some.weight.astype(np.float64))
        record.tell()
    return tree.edges


class GrowingTree:
    """The minimum spanning tree of a square, edge by edge.

    Parameters
    ----------
    square
        ``(m, m)`` distances, symmetric; whatever is on the diagonal.
    has_edges
        Whether edges are those of the tree. Otherwise each joins a vertex to the one before it, at
        the height of its own edge: the same merges, where no two heights are equal.

    Attributes
    ----------
    edges
        Room for all of them, in the order in which vertices join.
    """

    def __init__(self, square: NDArray[Any], *, has_edges: bool = True) -> None:
        m, dtype = len(square), square.dtype
        self.edges = Edges(
            lower=np.empty(m - 1, np.int64),
            higher=np.empty(m - 1, np.int64),
            weight=np.empty(m - 1, dtype),
        )
        self._square, self._has_edges = square, has_edges
        self._done = 0
        self._last = np.zeros(1, np.int64)
        self._reach = np.full(m, np.inf, dtype)
        self._closed = np.zeros(m, dtype)
        # As wide as a distance: LLVM chooses among both in one go.
        self._nearest = np.full(m, m, np.int32 if dtype.itemsize == 4 else np.int64)
        self._lanes = np.empty(LANES, dtype)

    def grow(self, n_edges: int) -> Edges | None:
        """Add some edges, and return them; None where no vertex is in reach."""
        start, stop = self._done, self._done + n_edges
        is_grown = _grow(
            self._square,
            self._has_edges,
            self.edges.lower,
            self.edges.higher,
            self.edges.weight,
            self._last,
            self._reach,
            self._closed,
            self._nearest,
            self._lanes,
            start,
            stop,
        )
        self._done = stop
        return self.edges[start:stop] if is_grown else None


@jit
def _grow(
    square: NDArray[Any],
    has_edges: bool,
    lower: NDArray[np.int64],
    higher: NDArray[np.int64],
    weight: NDArray[Any],
    last: NDArray[np.int64],
    reach: NDArray[Any],
    closed: NDArray[Any],
    nearest: NDArray[Any],
    lanes: NDArray[Any],
    start: int,
    stop: int,
) -> bool:
    """Let vertices join by the edges number `start` to `stop`; False if none is in reach.

    Parameters
    ----------
    last
        ``(1,)``: who joined last.
    reach, nearest
        Of every vertex: how near the tree is, and, where edges are wanted, to whom: of equals to
        the lowest, whose edge comes first.
    closed
        Infinite of those that are in the tree, else 0.
    lanes
        Room for `_first_edge`.
    """
    m = len(reach)
    x = last[0]
    for step in range(start, stop):
        closed[x] = np.inf
        row = square[x]
        other = x
        if has_edges:
            nearest[x] = x
            joined = nearest[x]
            for v in range(m):
                is_nearer = (row[v] < reach[v]) | ((row[v] == reach[v]) & (joined < nearest[v]))
                reach[v] = row[v] if is_nearer else reach[v]
                nearest[v] = joined if is_nearer else nearest[v]
        else:
            for v in range(m):
                reach[v] = row[v] if row[v] < reach[v] else reach[v]
        x = _first_edge(reach, closed, nearest, lanes)
        if x < 0:
            return False
        if has_edges:
            other = nearest[x]
        lower[step] = min(x, other)
        higher[step] = max(x, other)
        weight[step] = reach[x]
    last[0] = x
    return True


@jit
def _first_edge(
    reach: NDArray[Any], closed: NDArray[Any], nearest: NDArray[Any], lanes: NDArray[Any]
) -> int:
    """Return the vertex whose edge to the tree comes first; -1 if there is none in reach.

    As in `minimum`, lanes are compared side by side, and places looked for in those that attain
    the least.
    """
    m, n_lanes = len(reach), len(lanes)
    whole = m - m % n_lanes
    lanes[:] = np.inf
    for start in range(0, whole, n_lanes):
        some = reach[start : start + n_lanes]
        some_closed = closed[start : start + n_lanes]
        for lane in range(n_lanes):
            value = some[lane] + some_closed[lane]
            lanes[lane] = value if value < lanes[lane] else lanes[lane]
    for v in range(whole, m):
        value = reach[v] + closed[v]
        lanes[v - whole] = value if value < lanes[v - whole] else lanes[v - whole]
    best = lanes[0]
    for lane in range(1, n_lanes):
        best = lanes[lane] if lanes[lane] < best else best
    found = -1
    if best == np.inf:
        return found
    found_lower, found_higher = m, m
    for lane in range(n_lanes):
        if lanes[lane] != best:
            continue
        for v in range(lane, m, n_lanes):
            if reach[v] + closed[v] == best:
                one, other = min(v, nearest[v]), max(v, nearest[v])
                if one < found_lower or (one == found_lower and other < found_higher):
                    found_lower, found_higher = one, other
                    found = v
    return found

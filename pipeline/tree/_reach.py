"""Kernel: paths through a tree from anywhere, and the best of them traced back.

The square of all paths through a subtree (`_min_plus`) says more than is asked of a large one: of
the whole tree only the best path, of its children only the best to every leaf. Given what it costs
to *enter* a subtree at each of its leaves, the least it costs to *reach* each of them, with all
others on the way, follows from the same question to its children, asked twice:

    left, enter -> reach; cross to the right child; right, enter -> reach

and the other way round. A question takes n^2 steps where the square takes n^3, but the number of
questions doubles with every level. So the top of a tree asks, down to where squares are cheaper
(Brandes 2007, "Optimal leaf ordering of complete binary trees", asks down to the leaves).
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from clustergrid.pipeline._jit import jit
from clustergrid.pipeline.tree._places import loop

__all__ = ["Reach", "Shape", "choose_whole"]

Vector: TypeAlias = NDArray[np.float64]

ENTRY_STEPS = 10
"""Additions of a product in the time that an entry of the square takes to be read."""

_MOST_LEVELS = 10
_LANES = 256
_ENTRIES_A_PIECE = 2**21


def choose_whole(
    linkage: NDArray[np.float64], size: NDArray[np.int64], steps: NDArray[np.int64]
) -> tuple[NDArray[np.bool_], int]:
    """Return of which merges the square of all paths is made, and how many steps all takes.

    Parameters
    ----------
    linkage, size
        The tree, and how many leaves its clusters have.
    steps
        ``(n - 1,)``: of the products of each merge.
    """
    n = len(linkage) + 1
    children = linkage[:, :2].astype(np.int64)
    entries = ENTRY_STEPS * size[children[:, 0]].astype(np.float64) * size[children[:, 1]]
    is_whole = np.ones(n - 1, np.bool_)
    least = loop(_choose, n)(children, entries, steps, _MOST_LEVELS, is_whole)
    return is_whole, int(least)


@jit
def _choose(
    children: NDArray[np.int64],
    entries: NDArray[np.float64],
    steps: NDArray[np.int64],
    most_levels: int,
    is_whole: NDArray[np.bool_],
) -> float:
    """Fill `is_whole`; return how many steps all takes."""
    n = len(children) + 1
    squares = np.zeros(2 * n - 1)
    # The least steps of a cluster of which 1, 2, 4, ... questions are asked.
    least = np.zeros((2 * n - 1, most_levels + 1))
    deeper = np.full((n - 1, most_levels + 1), np.inf)
    for t in range(n - 1):
        left, right = children[t]
        squares[n + t] = steps[t] + squares[left] + squares[right]
        asked = 1.0
        for level in range(most_levels + 1):
            if level < most_levels:
                deeper[t, level] = least[left, level + 1] + least[right, level + 1]
            least[n + t, level] = entries[t] * asked + min(squares[n + t], deeper[t, level])
            asked *= 2.0
    level_of = np.full(2 * n - 1, -1)
    left, right = children[n - 2]
    level_of[left] = 0
    level_of[right] = 0
    is_whole[n - 2] = False
    for t in range(n - 3, -1, -1):
        level = level_of[n + t]
        if level >= 0 and deeper[t, level] < squares[n + t]:
            is_whole[t] = False
            for child in children[t]:
                level_of[child] = level + 1
    return float(entries[n - 2] + least[left, 0] + least[right, 0])


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A tree along its leaves.

    Parameters
    ----------
    children
        ``(n - 1, 2) int64``.
    start, size
        As `places` returns them.
    is_whole
        ``(n - 1,) bool``: as `choose_whole` returns it.
    """

    children: NDArray[np.int64]
    start: NDArray[np.int64]
    size: NDArray[np.int64]
    is_whole: NDArray[np.bool_]

    @property
    def n(self) -> int:
        """How many leaves there are."""
        return len(self.children) + 1

    def pair(self, cluster: int) -> tuple[int, int]:
        """Return the children of a cluster."""
        left, right = self.children[cluster - self.n].tolist()
        return left, right

    def split(self, cluster: int) -> tuple[int, int, int]:
        """Return where a cluster begins, where its right child does, and where it ends."""
        begin = int(self.start[cluster])
        middle = begin if cluster < self.n else int(self.start[self.pair(cluster)[1]])
        return begin, middle, begin + int(self.size[cluster])

    def opposite(self, cluster: int, leaf: int) -> slice:
        """Return at which leaves an order that has `leaf` at one end can have the other."""
        begin, middle, stop = self.split(cluster)
        if middle == begin:
            return slice(begin, stop)
        return slice(middle, stop) if leaf < middle else slice(begin, middle)


Step: TypeAlias = Generator[Any, Any, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """Questions about paths, once the squares are made.

    Parameters
    ----------
    square
        Paths above the diagonal, distances below.
    shape
        The tree.
    pool, advance, compiled
        As in `swaps_of`.
    """

    square: NDArray[np.float64]
    shape: Shape
    pool: Executor | None
    advance: Callable[[int], None]
    compiled: bool

    def reach(self, cluster: int, enter: Vector) -> Vector:
        """Return the least cost to reach each leaf of a cluster, of entering it at each."""
        found: Vector = _run(self._reach, cluster, enter)
        return found

    def enter(self, cluster: int, enter: Vector, last: int, ends: Any, *, forward: bool) -> int:
        """Trace the best path that reaches leaf `last` back to the leaf where it enters.

        Notes the two ends of every cluster on its way that has no square, and of those right below;
        `forward` if the path runs from left to right, else ends are noted the other way round.
        """
        first: int = _run(self._enter, cluster, enter, last, ends, forward)
        return first

    def from_leaf(self, leaf: int, others: slice) -> Vector:
        """Return the lengths of the paths between a leaf and others; none to itself."""
        if others.start == leaf:
            return np.zeros(1)
        if leaf < others.start:
            return self.square[leaf, others]
        return self.square[others, leaf]

    def _reach(self, cluster: int, enter: Vector) -> Step:
        shape = self.shape
        if cluster < shape.n:
            return enter
        begin, middle, stop = shape.split(cluster)
        left, right = shape.pair(cluster)
        to_left, to_right = enter[: middle - begin], enter[middle - begin :]
        if shape.is_whole[cluster - shape.n]:
            paths = self.square[begin:middle, middle:stop]
            return np.concatenate(self.relax(paths, to_left, to_right))
        to_left = yield left, to_left
        to_right = yield right, to_right
        distances = self.square[middle:stop, begin:middle]
        to_right, to_left = self.relax(distances, to_right, to_left)
        to_left = yield left, to_left
        to_right = yield right, to_right
        return np.concatenate([to_left, to_right])

    def _enter(self, cluster: int, enter: Vector, last: int, ends: Any, forward: bool) -> Step:
        shape = self.shape
        if cluster < shape.n:
            ends[cluster] = last, last
            return last
        begin, middle, stop = shape.split(cluster)
        if shape.is_whole[cluster - shape.n]:
            others = shape.opposite(cluster, last)
            costs = enter[others.start - begin : others.stop - begin]
            first = others.start + _least(costs + self.from_leaf(last, others), last=not forward)
        else:
            left, right = shape.pair(cluster)
            children = (slice(begin, middle), left), (slice(middle, stop), right)
            (here, one), (there, other) = children if last >= middle else children[::-1]
            to_here = enter[here.start - begin : here.stop - begin]
            reached = self.reach(one, to_here)
            free = np.zeros(there.stop - there.start)
            if one == left:
                to_there, _ = self.relax(self.square[there, here], free, reached)
            else:
                _, to_there = self.relax(self.square[here, there], reached, free)
            into = yield other, to_there, last, ends, forward
            distances = self.square[into, here] if one == left else self.square[here, into]
            leave = here.start + _least(reached + distances, last=forward)
            first = yield one, to_here, leave, ends, forward
        ends[cluster] = (first, last) if forward else (last, first)
        return first

    def relax(self, block: NDArray[np.float64], rows: Vector, columns: Vector) -> Any:
        """Return what reaches the rows from the columns, and the columns from the rows."""
        if not self.compiled:
            return (block + columns).min(axis=1), (block + rows[:, None]).min(axis=0)
        to_rows = np.empty(len(rows))
        rows_a_piece = max(64, _ENTRIES_A_PIECE // len(columns))
        relax = partial(_relax_rows, block, rows, columns, to_rows, rows_a_piece)
        starts = range(0, len(rows), rows_a_piece)
        to_columns = np.full(len(columns), np.inf)
        pool = self.pool if len(starts) > 1 else None
        for some in map(relax, starts) if pool is None else pool.map(relax, starts):
            np.minimum(to_columns, some, out=to_columns)
            self.advance(ENTRY_STEPS * block.size // len(starts))
        return to_rows, to_columns


def _least(values: Vector, *, last: bool) -> int:
    return len(values) - 1 - int(values[::-1].argmin()) if last else int(values.argmin())


def _run(ask: Callable[..., Step], *question: Any) -> Any:
    """Answer a question; those that it yields wait for one another on a stack, however deep."""
    stack, answer = [ask(*question)], None
    while stack:
        try:
            stack.append(ask(*stack[-1].send(answer)))
            answer = None
        except StopIteration as done:
            stack.pop()
            answer = done.value
    return answer


@jit
def _relax_rows(
    block: NDArray[np.float64],
    rows: Vector,
    columns: Vector,
    to_rows: Vector,
    rows_a_piece: int,
    first: int,
) -> Vector:
    """Fill some of `to_rows`; return what reaches the columns from these rows."""
    width = len(columns)
    to_columns = np.full(width, np.inf)
    lanes = np.empty(_LANES)
    for i in range(first, min(first + rows_a_piece, len(rows))):
        lanes[:] = np.inf
        row = block[i]
        cost = rows[i]
        for start in range(0, width, _LANES):
            some = row[start : start + _LANES]
            into = columns[start : start + _LANES]
            out = to_columns[start : start + _LANES]
            for lane in range(len(some)):
                value = cost + some[lane]
                out[lane] = value if value < out[lane] else out[lane]
            for lane in range(len(some)):
                value = into[lane] + some[lane]
                lanes[lane] = value if value < lanes[lane] else lanes[lane]
        best = lanes[0]
        for lane in range(1, min(_LANES, width)):
            best = lanes[lane] if lanes[lane] < best else best
        to_rows[i] = best
    return to_columns

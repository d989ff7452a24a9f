"""Kernel: the order of the leaves with the least sum of distances between neighbours, exactly.

First the shortest paths through every subtree that is not too large for it (`_min_plus`), from the
leaves up; then questions about paths through the larger ones (`_reach`), and, from the root down,
the two ends of every subtree in the best order, and with them which of its children comes first.
Nothing but the paths is kept: where a path crosses from one child to the other is found again, from
the distances that are still there.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from clustergrid.pipeline.tree._distances import Advance
from clustergrid.pipeline.tree._min_plus import (
    COLUMNS,
    Joins,
    join_plainly,
    join_small,
    join_strip,
    joins_of,
    pass_strip,
)
from clustergrid.pipeline.tree._places import loop, places
from clustergrid.pipeline.tree._reach import ENTRY_STEPS, Reach, Shape, choose_whole

__all__ = ["TRACE_STEPS", "ordering_steps", "swaps_of", "workers"]

TRACE_STEPS = 50
"""Additions in the time that tracing back takes for a pair of leaves."""

_MOST_STEPS_IN_ONE_THREAD = 2_000_000
_STEPS_A_PIECE = 200_000_000
_ENTRIES_A_SLAB = 2**20


@contextmanager
def workers(threads: int) -> Iterator[Executor | None]:
    """Open a pool of threads; None for one. An error, or Ctrl-C, cancels what has not begun."""
    if threads < 2:
        yield None
        return
    pool = ThreadPoolExecutor(threads, "clustergrid-ordering")
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def ordering_steps(linkage: NDArray[np.float64]) -> int:
    """Return how many additions an exact ordering takes: at most some n^3 / 6, most often fewer."""
    if len(linkage) < 2:
        return 0
    start, size = loop(places, len(linkage) + 1)(linkage)
    return choose_whole(linkage, size, joins_of(linkage, start, size).steps)[1]


def swaps_of(
    linkage: NDArray[np.float64],
    square: NDArray[np.float64],
    pool: Executor | None,
    advance: Advance,
    *,
    compiled: bool,
) -> NDArray[np.bool_]:
    """Return which merges swap their children in the best order, ``(n - 1,) bool``.

    Parameters
    ----------
    linkage
        The tree, of n leaves.
    square
        ``(n, n) float64``: the distances in the order of the leaves, symmetric, worked on in place.
    pool
        Threads; what they compute does not depend on their number.
    advance
        Told of every piece of the work, `ordering_steps` in all and `TRACE_STEPS` a pair; what it
        raises ends it.
    compiled
        Whether it is worth loading the compiler. The paths are the same to the bit.

    Notes
    -----
    The last merge never swaps: mirrored, an order is as good. Where orders are equally good, the
    one that swaps less tends to be taken, and always the same.
    """
    n = len(linkage) + 1
    if n < 3:
        return np.zeros(n - 1, np.bool_)
    start, size = loop(places, n)(linkage)
    joins = joins_of(linkage, start, size)
    is_whole, _ = choose_whole(linkage, size, joins.steps)
    joins = Joins(joins.bounds[is_whole], joins.steps[is_whole])
    if compiled:
        _join_all(square, joins, pool, advance)
    else:
        for bounds, steps in zip(*joins, strict=True):
            join_plainly(square, bounds)
            advance(int(steps))
    children = linkage[:, :2].astype(np.int64)
    shape = Shape(children=children, start=start, size=size, is_whole=is_whole)
    reach = Reach(square=square, shape=shape, pool=pool, advance=advance, compiled=compiled)
    return _trace(reach, advance)


def _join_all(
    square: NDArray[np.float64], joins: Joins, pool: Executor | None, advance: Advance
) -> None:
    bounds, steps = joins
    x0, _, x1, y0, _, y1 = bounds.T
    paths = np.empty(int(((x1 - x0) * (y1 - y0)).max(initial=0)))
    t = 0
    while t < len(bounds):
        if steps[t] > _MOST_STEPS_IN_ONE_THREAD:
            for kernel in (pass_strip, join_strip):
                strips = range(_n_strips(bounds[t]))
                one = partial(kernel, square, paths, bounds[t])
                share = int(steps[t]) // (2 * len(strips))
                # All paths have to reach the second child before any goes through it.
                for _ in map(one, strips) if pool is None else pool.map(one, strips):
                    advance(share)
            t += 1
        else:
            limits = (_MOST_STEPS_IN_ONE_THREAD, _STEPS_A_PIECE)
            done = join_small(square, paths, bounds, steps, t, *limits)
            advance(int(steps[t:done].sum()))
            t = done


def _n_strips(bounds: NDArray[np.int64]) -> int:
    x0, xs, x1 = bounds[:3].tolist()
    return int(-(-(xs - x0) // COLUMNS) - (-(x1 - xs) // COLUMNS))


def _trace(reach: Reach, advance: Advance) -> NDArray[np.bool_]:
    """Find the best path through the whole tree, and follow it down."""
    shape = reach.shape
    # Questions that are asked again on the way down are part of that.
    again = replace(reach, advance=lambda steps: advance(0))
    n = shape.n
    swaps = np.zeros(n - 1, np.bool_)
    # The first and the last leaf of every cluster in the best order.
    ends = np.zeros((2 * n - 1, 2), np.int64)
    left, right = shape.pair(2 * n - 2)
    from_left, from_right = np.zeros(shape.size[left]), np.zeros(shape.size[right])
    begin, middle, stop = shape.split(2 * n - 2)
    to_left, to_right = reach.reach(left, from_left), reach.reach(right, from_right)
    m, k = _crossing(reach.square, slice(begin, middle), slice(middle, stop), to_left, to_right)
    advance((ENTRY_STEPS + TRACE_STEPS) * int(shape.size[left] * shape.size[right]))
    again.enter(left, from_left, m, ends, forward=True)
    again.enter(right, from_right, k, ends, forward=False)
    for t in range(n - 3, -1, -1):
        left, right = shape.pair(n + t)
        advance(TRACE_STEPS * int(shape.size[left] * shape.size[right]))
        first, last = ends[n + t].tolist()
        swaps[t] = first >= shape.start[right]
        if not shape.is_whole[t]:
            continue  # the ends of its children are known
        at_left, at_right = (last, first) if swaps[t] else (first, last)
        of_left, of_right = shape.opposite(left, at_left), shape.opposite(right, at_right)
        m, k = _crossing(
            reach.square,
            *(of_left, of_right),
            *(reach.from_leaf(at_left, of_left), reach.from_leaf(at_right, of_right)),
        )
        ends[left] = (m, at_left) if swaps[t] else (at_left, m)
        ends[right] = (at_right, k) if swaps[t] else (k, at_right)
    return swaps


def _crossing(
    square: NDArray[np.float64],
    left: slice,
    right: slice,
    to_left: NDArray[np.float64],
    to_right: NDArray[np.float64],
) -> tuple[int, int]:
    """Return the leaves of two clusters between which the shortest path crosses.

    Of equally good ones, the last of the left cluster and the first of the right one, which are
    neighbours already.
    """
    distances = square[right, left]
    through = np.empty(len(distances))
    rows_a_slab = max(1, _ENTRIES_A_SLAB // len(to_left))
    for begin in range(0, len(distances), rows_a_slab):
        rows = slice(begin, begin + rows_a_slab)
        (distances[rows] + to_left).min(axis=1, out=through[rows])
    k = int((through + to_right).argmin())
    m = int((distances[k] + to_left)[::-1].argmin())
    return left.stop - 1 - m, right.start + k

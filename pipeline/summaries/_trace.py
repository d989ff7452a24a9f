"""Kernel: the heights of a tree from the points up, by the means of clusters.

They depend on the tree alone, and not on the order in which merges were found. So they are computed
in an order in which few means wait for others, and every row is read once: the larger part of each
union first, so that no more clusters wait than a number of points can be halved.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clustergrid.pipeline._jit import jit
from clustergrid.pipeline.hierarchy._union_find import find
from clustergrid.pipeline.summaries._means import Summaries, distance_between, squared_between

__all__ = ["Traced", "Waiting", "open_waiting", "steps_of", "trace_steps"]


class Traced(NamedTuple):
    """What is computed of n - 1 merges.

    Parameters
    ----------
    heights
        ``(n - 1,) float64``: the distances of the two, no less than those below.
    lowest, united
        ``(n - 1,) int64``: the lowest point of each union, and how many it has.
    """

    heights: NDArray[np.float64]
    lowest: NDArray[np.int64]
    united: NDArray[np.int64]


class Waiting(NamedTuple):
    """Clusters that wait for what they merge with, the last one for the next.

    Parameters
    ----------
    summaries
        Theirs.
    lowest, n_points
        ``(d,) int64``: the lowest point of each, and how many it has.
    below
        ``(d,) float64``: the height of each.
    """

    summaries: Summaries
    lowest: NDArray[np.int64]
    n_points: NDArray[np.int64]
    below: NDArray[np.float64]


def open_waiting(n: int, k: int, *, factor: float, is_ward: bool) -> Waiting:
    """Return room for the clusters of a tree of n points that wait."""
    depth = n.bit_length() + 2
    return Waiting(
        summaries=Summaries(
            rows=np.zeros((depth, k)),
            constants=np.zeros(depth),
            factor=factor,
            is_ward=is_ward,
            offsets=np.zeros((depth, k)),
            moved=np.ones(depth, np.bool_),
            scalars=np.zeros(depth),
            sizes=np.zeros(depth),
            masses=np.zeros(depth),
            latest=np.zeros(depth, np.int64),
        ),
        lowest=np.zeros(depth, np.int64),
        n_points=np.zeros(depth, np.int64),
        below=np.zeros(depth),
    )


@jit
def steps_of(first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.int64]:
    """Put points and merges in the order in which they are taken.

    Parameters
    ----------
    first, second
        ``(n - 1,)``: a point of each of two clusters that merge, every merge behind those below it.

    Returns
    -------
    numpy.ndarray
        ``(2 n - 1,) int64``: the number of a point, or n and that of a merge.
    """
    n = len(first) + 1
    parent, node = np.arange(n), np.arange(n)
    size = np.ones(2 * n - 1, np.int64)
    larger, smaller = np.empty(n - 1, np.int64), np.empty(n - 1, np.int64)
    for t in range(n - 1):
        one, other = find(parent, first[t]), find(parent, second[t])
        a, b = node[one], node[other]
        larger[t], smaller[t] = (a, b) if size[a] >= size[b] else (b, a)
        size[n + t] = size[a] + size[b]
        parent[other] = one
        node[one] = n + t
    # From the last to the first: a union, then its smaller part, then the larger.
    steps = np.empty(2 * n - 1, np.int64)
    waiting = np.empty(n, np.int64)
    waiting[0] = node[find(parent, 0)]
    n_waiting = 1
    for place in range(2 * n - 2, -1, -1):
        n_waiting -= 1
        current = waiting[n_waiting]
        steps[place] = current
        if current >= n:
            waiting[n_waiting] = larger[current - n]
            waiting[n_waiting + 1] = smaller[current - n]
            n_waiting += 2
    return steps


@jit
def trace_steps(
    steps: NDArray[np.int64],
    rows: NDArray[Any],
    constants: NDArray[np.float64],
    sizes: NDArray[np.int64],
    halves: bool,
    waiting: Waiting,
    n_waiting: int,
    traced: Traced,
) -> int:
    """Take some steps, and return how many clusters wait then.

    Parameters
    ----------
    steps, rows
        The steps, and the rows of their points, in this order.
    constants, sizes
        ``(n,)``: of all points.
    halves
        Whether either part of a union counts for a half (weighted linkage).
    waiting, n_waiting
        The clusters that wait, and how many.
    traced
        Where heights go.
    """
    n = len(sizes)
    summaries, lowest, n_points, below = waiting
    n_taken = 0
    for step in steps:
        if step < n:
            for f in range(rows.shape[1]):
                summaries.rows[n_waiting, f] = rows[n_taken, f]
                summaries.offsets[n_waiting, f] = 0.0
            summaries.scalars[n_waiting] = constants[step]
            summaries.sizes[n_waiting] = sizes[step]
            lowest[n_waiting] = step
            n_points[n_waiting] = 1
            below[n_waiting] = -np.inf
            n_waiting += 1
            n_taken += 1
            continue
        n_waiting -= 1
        last, other = n_waiting - 1, n_waiting
        a, b = (last, other) if lowest[last] < lowest[other] else (other, last)
        height = _unite(summaries, halves, a, b, below)
        n_points[last] += n_points[other]
        below[last] = height
        if a != last:
            _move(summaries, a, last)
            lowest[last] = lowest[a]
        traced.heights[step - n] = height
        traced.lowest[step - n] = lowest[last]
        traced.united[step - n] = n_points[last]
    return n_waiting


@jit
def _unite(summaries: Summaries, halves: bool, a: int, b: int, below: NDArray[np.float64]) -> float:
    """Make the summary of `a` that of the union; return its height."""
    squared = squared_between(summaries, a, b)
    height = max(distance_between(summaries, a, summaries, b, squared), below[a], below[b])
    size = summaries.sizes[a] + summaries.sizes[b]
    share = 0.5 if halves else summaries.sizes[b] / size
    if not summaries.is_ward:
        summaries.scalars[a] = (
            (1.0 - share) * summaries.scalars[a]
            + share * summaries.scalars[b]
            + share * (1.0 - share) * (summaries.factor * squared)
        )
    summaries.sizes[a] = size
    x, y = summaries.rows[a], summaries.rows[b]
    p, q = summaries.offsets[a], summaries.offsets[b]
    for f in range(len(p)):
        p[f] += share * ((y[f] - x[f]) + (q[f] - p[f]))
    return float(height)


@jit
def _move(summaries: Summaries, a: int, to: int) -> None:
    for f in range(summaries.rows.shape[1]):
        summaries.rows[to, f] = summaries.rows[a, f]
        summaries.offsets[to, f] = summaries.offsets[a, f]
    summaries.scalars[to] = summaries.scalars[a]
    summaries.sizes[to] = summaries.sizes[a]

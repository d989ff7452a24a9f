"""Kernel: the tree turned so that neighbouring leaves are near.

Of the 2^(n-1) orders that a tree allows, the one with the least sum of distances of neighbours. Up
to `MAX_LEAVES_ORDERED_EXACTLY` leaves it is found (`_exact`). A larger tree is taken apart into
problems (`_problems`): subtrees are ordered exactly, and are then, to the tree above them, no more
than the two leaves at their ends, in this order or the other. The tree above is solved in the same
way until nothing is above. What comes out is never worse than the order that was given.

SciPy's ``optimal_leaf_ordering`` finds the least sum too, but returns another order (scipy#11227):
it turns every cluster into the order that is best for that cluster alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clustergrid.pipeline.tree._distances import (
    ENTRIES_ASKED,
    MOST_LEAVES_WITHOUT_COMPILER,
    Blocks,
    Source,
    source_of,
)
from clustergrid.pipeline.tree._exact import TRACE_STEPS, ordering_steps, swaps_of, workers
from clustergrid.pipeline.tree._places import loop
from clustergrid.pipeline.tree._problems import Problem, problems_of, settle
from clustergrid.pipeline.tree.orders import leaf_order
from clustergrid.pipeline.tree.validity import merges_of
from clustergrid.storage.errors import DataValueError

__all__ = [
    "ENTRIES_ASKED",
    "MAX_LEAVES_ORDERED_EXACTLY",
    "leaves_ordered_at_once",
    "neighbor_sum",
    "optimal_leaf_ordering",
    "ordering_bytes",
]

MAX_LEAVES_ORDERED_EXACTLY = 20_000
"""Leaves up to which the order is the best of all: a few seconds on two cores, half a minute where
outliers join one by one at the top; 4 GB."""

LEAVES_AT_ONCE = 4_000
"""Ends in a problem of a larger tree: the time is linear in the leaves then, and memory fixed."""

_LOADED_STEPS = 200
"""Additions in the time that a distance takes to be found, in memory that nothing was in before."""

Progress = Callable[[int, int], None]


def leaves_ordered_at_once(n: int) -> int:
    """Return how many leaves `optimal_leaf_ordering` takes into one problem by default."""
    return max(n, 4) if n <= MAX_LEAVES_ORDERED_EXACTLY else LEAVES_AT_ONCE


def ordering_bytes(n: int, leaves_at_once: int | None = None) -> int:
    """Return the most memory that `optimal_leaf_ordering` takes besides what it is given.

    A square of float64 of the largest problem, a quarter of one more for the paths through its
    largest subtree, and some vectors.

    Examples
    --------
    >>> ordering_bytes(20_000) / 1e9
    4.02...
    """
    at_once = min(n, leaves_at_once or leaves_ordered_at_once(n))
    return 10 * at_once * at_once + 1000 * n


def optimal_leaf_ordering(
    Z: ArrayLike,
    distances: NDArray[Any] | Blocks,
    *,
    leaves_at_once: int | None = None,
    threads: int = 1,
    progress: Progress | None = None,
) -> NDArray[np.float64]:
    """Return the tree with children swapped so that neighbouring leaves are nearest in sum.

    Parameters
    ----------
    Z
        ``(n - 1, 4)``: linkage matrix of n leaves.
    distances
        The distances between the leaves, float32 or float64: condensed, ``(n (n - 1) / 2,)``;
        square, ``(n, n)``, of which the lower triangle is read; or a function, for which a matrix
        need never exist. It is called with the numbers of some observations, ``(r,)`` and
        ``(c,) int64``, and returns their distances, ``(r, c)``. It is asked for at most 16 million
        at a time: those between the leaves of a problem, some ``n * leaves_at_once`` in all, and
        for the sums those between neighbours, ``64 n`` twice.
    leaves_at_once
        The most leaves, and ends of subtrees that are ordered already, in one problem, at least 4:
        the order is the best of all where this is at least n. By default n up to
        `MAX_LEAVES_ORDERED_EXACTLY` leaves, else 4,000. Memory is that of `ordering_bytes`; time is
        at most ``n * leaves_at_once ** 2 / 3`` additions, some 10 billion a second and core.
    threads
        How many threads work on the larger subtrees. The result does not depend on it.
    progress
        Called with how much work is done, and of how much, in additions and what takes as long as
        they do; at least several times a second. What it raises ends the work, as Ctrl-C does.

    Returns
    -------
    ndarray
        ``(n - 1, 4) float64``: a copy, in which some rows name their right cluster first. The last
        row is as it was: mirrored, an order is as good.

    Raises
    ------
    DataValueError
        The distances are not those of n observations, one of them is not finite, or
        `leaves_at_once` is less than 4; `Z` is no linkage matrix.

    Examples
    --------
    >>> from scipy.cluster.hierarchy import linkage
    >>> points = np.array([[0.0], [1.0], [4.0], [7.0], [2.5]])
    >>> distances = np.abs(points - points.T)
    >>> Z = linkage(points, "single")
    >>> leaf_order(Z).tolist(), float(neighbor_sum(Z, distances))
    ([3, 2, 4, 0, 1], 8.0)
    >>> Z = optimal_leaf_ordering(Z, distances)
    >>> leaf_order(Z).tolist(), float(neighbor_sum(Z, distances))
    ([3, 2, 4, 1, 0], 7.0)
    """
    linkage = merges_of(Z)
    n = len(linkage) + 1
    if leaves_at_once is not None and leaves_at_once < 4:
        raise DataValueError(f"leaves_at_once must be at least 4, got {leaves_at_once}")
    source = source_of(distances, n)
    if n < 3:
        return linkage.copy()
    problems = problems_of(linkage, leaves_at_once or leaves_ordered_at_once(n))
    total = sum(_work(problem.linkage) for problem in problems)
    done = 0

    def advance(steps: int) -> None:
        nonlocal done
        done = min(done + steps, total)
        if progress is not None:
            progress(done, total)

    advance(0)
    turned = np.zeros(2 * n - 1, np.bool_)
    # The first and the last leaf of every subtree that is ordered.
    ends = np.zeros((2 * n - 1, 2), np.int64)
    with workers(threads) as pool:
        for problem in problems:
            leaves = problem.leaves(ends)
            square = source.square(leaves, pool, lambda entries: advance(_LOADED_STEPS * entries))
            for first in problem.joined:
                square[first + 1, first] = 0.0
            swaps = swaps_of(
                problem.linkage, square, pool, advance, compiled=n > MOST_LEAVES_WITHOUT_COMPILER
            )
            turned[problem.clusters] = swaps
            order = leaf_order(_swapped(problem.linkage, swaps))
            ends[problem.cluster] = leaves[order[0]], leaves[order[-1]]
            del square
    advance(total)
    ordered = _swapped(linkage, loop(settle, n)(linkage, _are_units(problems, n), turned))
    return ordered if _sum(ordered, source) < _sum(linkage, source) else linkage.copy()


def neighbor_sum(Z: ArrayLike, distances: NDArray[Any] | Blocks) -> float:
    """Return the sum of the distances between neighbours in the leaf order.

    Parameters
    ----------
    Z, distances
        As for `optimal_leaf_ordering`, which makes it small.
    """
    linkage = merges_of(Z)
    return _sum(linkage, source_of(distances, len(linkage) + 1))


def _work(linkage: NDArray[np.float64]) -> int:
    """Return how much work a problem is, in additions."""
    n = len(linkage) + 1
    pairs = n * (n - 1) // 2
    return ordering_steps(linkage) + TRACE_STEPS * pairs + _LOADED_STEPS * (pairs + n)


def _sum(Z: NDArray[np.float64], source: Source) -> float:
    order = leaf_order(Z)
    return float(source.pairs(order[1:], order[:-1]).sum())


def _swapped(Z: NDArray[np.float64], swaps: NDArray[np.bool_]) -> NDArray[np.float64]:
    ordered = Z.copy()
    ordered[swaps, :2] = Z[swaps, 1::-1]
    return ordered


def _are_units(problems: list[Problem], n: int) -> NDArray[np.bool_]:
    are_units = np.zeros(2 * n - 1, np.bool_)
    are_units[[problem.cluster for problem in problems]] = True
    return are_units

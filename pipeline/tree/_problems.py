"""Kernel: a tree taken apart into trees of few leaves, each to be ordered by itself.

From the leaves up, a subtree grows until the tree above it would have too many leaves. Then it
becomes a *unit*: its leaves are ordered, and in what is above it stands for two leaves, those at
its ends, which stay neighbours at distance 0. A unit takes at least half of what may be in a
problem away from it, so there are at most some ``2 n / most`` problems, of a chain as of any other
tree.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clustergrid.pipeline._jit import jit
from clustergrid.pipeline.tree._places import loop

__all__ = ["Problem", "problems_of", "settle"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A tree whose leaves are leaves, and ends of units, of another.

    Parameters
    ----------
    cluster
        The cluster that becomes a unit.
    linkage
        ``(m - 1, 4)``: its tree. Leaves are numbered from left to right; heights are none.
    clusters
        ``(m - 1,) int64``: the cluster of each merge; that of a unit where it joins its ends.
    members
        ``(m,) int64``: the leaf, or the unit, of each leaf.
    joined
        ``(units,) int64``: the leaves that are the first ends of units; the next are the others.
    """

    cluster: int
    linkage: NDArray[np.float64]
    clusters: NDArray[np.int64]
    members: NDArray[np.int64]
    joined: NDArray[np.int64]

    def leaves(self, ends: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the leaves, once the first and last leaf of every unit are known."""
        leaves = self.members.copy()
        leaves[self.joined] = ends[self.members[self.joined], 0]
        leaves[self.joined + 1] = ends[self.members[self.joined], 1]
        return leaves


def problems_of(linkage: NDArray[np.float64], most: int) -> list[Problem]:
    """Take a tree apart into problems of at most `most` leaves, those below first."""
    n = len(linkage) + 1
    is_unit = loop(_find_units, n)(linkage, most)
    children = linkage[:, :2].astype(np.int64)
    return [_problem(int(t) + n, children, is_unit) for t in np.flatnonzero(is_unit[n:])]


@jit
def _find_units(linkage: NDArray[np.float64], most: int) -> NDArray[np.bool_]:
    n = len(linkage) + 1
    leaves = np.ones(2 * n - 1, np.int64)
    is_unit = np.zeros(2 * n - 1, np.bool_)
    for t in range(n - 1):
        larger = np.int64(linkage[t, 0])
        smaller = np.int64(linkage[t, 1])
        if leaves[larger] < leaves[smaller]:
            larger, smaller = smaller, larger
        if leaves[larger] + leaves[smaller] > most:
            is_unit[larger] = True
            leaves[larger] = 2
            if leaves[smaller] + 2 > most:
                is_unit[smaller] = True
                leaves[smaller] = 2
        leaves[n + t] = leaves[larger] + leaves[smaller]
    is_unit[2 * n - 2] = True
    return is_unit


def _problem(cluster: int, children: NDArray[np.int64], is_unit: NDArray[np.bool_]) -> Problem:
    n = len(children) + 1
    members: list[int] = []
    joined: list[int] = []
    clusters: list[int] = []
    # Of a merge in the problem: numbers of leaves, or of merges, those below 0.
    pairs: list[tuple[int, int]] = []
    made: list[int] = []
    stack = [(cluster, False)]
    while stack:
        at, is_below_done = stack.pop()
        if is_below_done:
            right, left = made.pop(), made.pop()
            pairs.append((left, right))
            clusters.append(at)
            made.append(-len(pairs))
        elif at < n:
            made.append(len(members))
            members.append(at)
        elif is_unit[at] and at != cluster:
            joined.append(len(members))
            pairs.append((len(members), len(members) + 1))
            members += [at, at]
            clusters.append(at)
            made.append(-len(pairs))
        else:
            left, right = children[at - n].tolist()
            stack += [(at, True), (right, False), (left, False)]
    numbers = np.array(pairs, np.float64)
    linkage = np.zeros((len(pairs), 4))
    linkage[:, :2] = np.where(numbers < 0, len(members) - 1 - numbers, numbers)
    return Problem(
        cluster=cluster,
        linkage=linkage,
        clusters=np.array(clusters, np.int64),
        members=np.array(members, np.int64),
        joined=np.array(joined, np.int64),
    )


@jit
def settle(
    linkage: NDArray[np.float64], is_unit: NDArray[np.bool_], turned: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Return which merges swap their children, ``(n - 1,) bool``, once all problems are solved.

    Parameters
    ----------
    linkage
        The whole tree.
    is_unit
        ``(2 n - 1,) bool``.
    turned
        ``(2 n - 1,) bool``: whether a cluster's children are swapped in the problem that it is in;
        of a unit, whether it is mirrored as a whole in the problem above.
    """
    n = len(linkage) + 1
    mirrored = np.zeros(2 * n - 1, np.bool_)
    swaps = np.zeros(n - 1, np.bool_)
    for t in range(n - 2, -1, -1):
        swaps[t] = mirrored[n + t] != turned[n + t]
        below = swaps[t] if is_unit[n + t] else mirrored[n + t]
        mirrored[np.int64(linkage[t, 0])] = below
        mirrored[np.int64(linkage[t, 1])] = below
    return swaps

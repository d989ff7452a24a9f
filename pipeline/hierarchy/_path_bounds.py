"""Kernel: bounds of the greatest edges on the paths of a spanning forest.

The path from ``u`` to ``v`` has no edge greater than the greater of those on the paths from a
root to either: a number for each, where a number for the pair would be one of n^2. A large cluster
has a root of its own, because all that the paths from elsewhere say is how far away it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clustergrid.pipeline._jit import jit
from clustergrid.pipeline.hierarchy._edges import Edges
from clustergrid.pipeline.hierarchy._union_find import find

__all__ = ["Bounds", "path_bounds"]

_MOST_ROOTS = 8
"""A cluster of less than an eighth of the vertices gets none of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """The greatest edges of the paths from some roots to some observations.

    Parameters
    ----------
    weight
        ``(roots, observations)``, in the distances' type; infinite where there is no path.
    lower, higher
        ``(roots, observations) int64``: which edges they are.
    """

    weight: NDArray[Any]
    lower: NDArray[np.int64]
    higher: NDArray[np.int64]

    def of(self, observations: slice) -> Bounds:
        """Return those of some observations."""
        return Bounds(
            weight=np.ascontiguousarray(self.weight[:, observations]),
            lower=np.ascontiguousarray(self.lower[:, observations]),
            higher=np.ascontiguousarray(self.higher[:, observations]),
        )

    def beside(self, others: Bounds) -> Bounds:
        """Return these and those of other roots, of the same observations."""
        return Bounds(
            weight=np.concatenate([self.weight, others.weight]),
            lower=np.concatenate([self.lower, others.lower]),
            higher=np.concatenate([self.higher, others.higher]),
        )


def path_bounds(forest: Edges, n: int, *, most_roots: int = _MOST_ROOTS) -> Bounds:
    """Return the greatest edges of the paths from the roots of a sorted forest to all `n`.

    A root is an end of the least edge of the whole, and of any two clusters of at least one part
    in `most_roots` that an edge joins.
    """
    roots = _roots(forest.lower, forest.higher, n, most_roots)
    bounds = Bounds(
        weight=np.full((len(roots), n), np.inf, forest.weight.dtype),
        lower=np.full((len(roots), n), n),
        higher=np.full((len(roots), n), n),
    )
    _fill_bounds(
        forest.lower,
        forest.higher,
        forest.weight,
        roots,
        bounds.weight,
        bounds.lower,
        bounds.higher,
    )
    return bounds


@jit
def _roots(
    lower: NDArray[np.int64], higher: NDArray[np.int64], n: int, most_roots: int
) -> NDArray[np.int64]:
    """Choose the roots of bounds, of a sorted forest."""
    parent = np.arange(n)
    size = np.ones(n, np.int64)
    # The first edge of each component, whose lower end may become a root.
    first = np.full(n, len(lower))
    is_root = np.zeros(n, np.bool_)
    large = max(2, n // most_roots)
    for e in range(len(lower)):
        a = find(parent, lower[e])
        b = find(parent, higher[e])
        if min(size[a], size[b]) >= large:
            is_root[lower[first[a]]] = True
            is_root[lower[first[b]]] = True
        parent[a] = b
        size[b] += size[a]
        first[b] = min(first[a], first[b], e)
    if len(lower) > 0:
        is_root[lower[0]] = True
    else:
        is_root[0] = True
    chosen: NDArray[np.int64] = np.flatnonzero(is_root)
    return chosen


@jit
def _fill_bounds(
    lower: NDArray[np.int64],
    higher: NDArray[np.int64],
    weight: NDArray[Any],
    roots: NDArray[np.int64],
    bound: NDArray[Any],
    bound_lower: NDArray[np.int64],
    bound_higher: NDArray[np.int64],
) -> None:
    """Join components in the order of the forest's edges.

    Whatever joins the component of a root is reached by the edge that does it: all edges before
    it are less.
    """
    n = bound.shape[1]
    parent = np.arange(n)
    # Members of a component are a list that ends in itself: `following` of the last is -1.
    following = np.full(n, -1)
    last = np.arange(n)
    first = np.arange(n)
    for r in range(len(roots)):
        bound[r, roots[r]] = -np.inf
        bound_lower[r, roots[r]] = -1
        bound_higher[r, roots[r]] = -1
    for e in range(len(lower)):
        a = find(parent, lower[e])
        b = find(parent, higher[e])
        for r in range(len(roots)):
            home = find(parent, roots[r])
            if home != a and home != b:
                continue
            member = first[b] if home == a else first[a]
            while member >= 0:
                bound[r, member] = weight[e]
                bound_lower[r, member] = lower[e]
                bound_higher[r, member] = higher[e]
                member = following[member]
        parent[a] = b
        following[last[b]] = first[a]
        last[b] = last[a]

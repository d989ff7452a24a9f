"""Kernel: edges between observations, and minimum spanning forests of them, by Kruskal.

Edges are ordered by (distance, lower index, higher index). No two are equal, so there is one
minimum spanning forest of any of them, however they come.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clustergrid.pipeline._jit import jit
from clustergrid.pipeline.hierarchy._union_find import find
from clustergrid.pipeline.hierarchy.methods import Merges

__all__ = ["Edges", "add_edges", "is_joining", "spanning_forest"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Edges:
    """Edges between observations.

    Parameters
    ----------
    lower, higher
        ``(m,) int64``: the two observations, ``lower < higher``.
    weight
        ``(m,)``: their distance, in the distances' type.
    """

    lower: NDArray[np.int64]
    higher: NDArray[np.int64]
    weight: NDArray[Any]

    def __post_init__(self) -> None:
        if not self.lower.shape == self.higher.shape == self.weight.shape:
            raise ValueError(
                "lower, higher and weight must be equally long, got "
                f"{self.lower.shape}, {self.higher.shape} and {self.weight.shape}"
            )

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.weight)

    def __getitem__(self, which: Any) -> Edges:
        """Return some of them."""
        return Edges(lower=self.lower[which], higher=self.higher[which], weight=self.weight[which])

    @classmethod
    def none(cls, dtype: Any) -> Edges:
        """Return no edges."""
        return cls(
            lower=np.empty(0, np.int64), higher=np.empty(0, np.int64), weight=np.empty(0, dtype)
        )

    @classmethod
    def joined(cls, parts: list[Edges]) -> Edges:
        """Return all edges of the parts, one after another."""
        return cls(
            lower=np.concatenate([part.lower for part in parts]),
            higher=np.concatenate([part.higher for part in parts]),
            weight=np.concatenate([part.weight for part in parts]),
        )

    def sorted(self) -> Edges:
        """Return them by weight, then by lower and higher index."""
        order = np.argsort(self.weight)
        weight = self.weight[order]
        if len(order) > 1 and (weight[1:] == weight[:-1]).any():
            order = np.lexsort((self.higher, self.lower, self.weight))
        return self[order]

    def merges(self) -> Merges:
        """Return the merges of single linkage, of a spanning tree that is sorted."""
        return Merges(first=self.lower, second=self.higher, height=self.weight.astype(np.float64))


def spanning_forest(edges: Edges, n: int) -> Edges:
    """Return the minimum spanning forest of some edges between `n` observations, sorted."""
    edges = edges.sorted()
    return edges[is_joining(edges.lower, edges.higher, n)]


def add_edges(forest: Edges, edges: Edges, n: int) -> Edges:
    """Return the minimum spanning forest of a sorted forest and other edges, sorted."""
    edges = edges.sorted()
    size = min(n - 1, len(forest) + len(edges))
    merged = Edges(
        lower=np.empty(size, np.int64),
        higher=np.empty(size, np.int64),
        weight=np.empty(size, forest.weight.dtype),
    )
    kept = _merge(
        forest.lower,
        forest.higher,
        forest.weight,
        edges.lower,
        edges.higher,
        edges.weight,
        merged.lower,
        merged.higher,
        merged.weight,
        n,
    )
    return merged[:kept]


@jit
def is_joining(lower: NDArray[np.int64], higher: NDArray[np.int64], n: int) -> NDArray[np.bool_]:
    """Say which of some edges, in their order, join what those before them left apart."""
    parent = np.arange(n)
    kept = np.zeros(len(lower), np.bool_)
    for e in range(len(lower)):
        a = find(parent, lower[e])
        b = find(parent, higher[e])
        if a != b:
            parent[a] = b
            kept[e] = True
    return kept


@jit
def _merge(
    lower: NDArray[np.int64],
    higher: NDArray[np.int64],
    weight: NDArray[Any],
    other_lower: NDArray[np.int64],
    other_higher: NDArray[np.int64],
    other_weight: NDArray[Any],
    out_lower: NDArray[np.int64],
    out_higher: NDArray[np.int64],
    out_weight: NDArray[Any],
    n: int,
) -> int:
    """Kruskal over two sorted lists of edges; return how many are kept."""
    parent = np.arange(n)
    e, f, kept = 0, 0, 0
    while (e < len(lower) or f < len(other_lower)) and kept < len(out_lower):
        if e == len(lower):
            is_first = False
        elif f == len(other_lower):
            is_first = True
        else:
            is_first = weight[e] < other_weight[f] or (
                weight[e] == other_weight[f]
                and (
                    lower[e] < other_lower[f]
                    or (lower[e] == other_lower[f] and higher[e] < other_higher[f])
                )
            )
        if is_first:
            i, j, w = lower[e], higher[e], weight[e]
            e += 1
        else:
            i, j, w = other_lower[f], other_higher[f], other_weight[f]
            f += 1
        a = find(parent, i)
        b = find(parent, j)
        if a != b:
            parent[a] = b
            out_lower[kept] = i
            out_higher[kept] = j
            out_weight[kept] = w
            kept += 1
    return kept

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

__all__ = ["Edges", "is_joining", "spanning_forest"]


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

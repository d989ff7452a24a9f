"""Kernel: from the merges of an engine to SciPy's linkage matrix."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clustergrid.pipeline._jit import jit
from clustergrid.pipeline.hierarchy._union_find import find
from clustergrid.pipeline.hierarchy.methods import Merges, Start

__all__ = ["Duplicates", "linkage_matrix"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Duplicates:
    """Which of n observations an engine ran on, the others being identical to one of those.

    Parameters
    ----------
    kept
        ``(m,) int64``: the observation that each row of the engine's matrix was.
    duplicate_of, row
        ``(n - m,) int64``: observation ``row[t]``, which is not kept, is identical to
        ``duplicate_of[t]``, which is.
    """

    kept: NDArray[np.int64]
    duplicate_of: NDArray[np.int64]
    row: NDArray[np.int64]

    def __post_init__(self) -> None:
        if self.duplicate_of.shape != self.row.shape:
            raise ValueError(
                "duplicate_of and row must be equally long, got "
                f"{self.duplicate_of.shape} and {self.row.shape}"
            )

    @property
    def start(self) -> Start:
        """The clusters of identical observations, merged at height 0."""
        sizes = np.ones(len(self.kept) + len(self.row), np.int64)
        np.add.at(sizes, self.duplicate_of, 1)
        return Start(
            sizes=sizes[self.kept],
            rows=self.kept,
            merges=Merges(first=self.duplicate_of, second=self.row, height=np.zeros(len(self.row))),
        )


def linkage_matrix(
    merges: Merges, n: int, *, duplicates: Duplicates | None = None, monotonic: bool = True
) -> NDArray[np.float64]:
    """Return SciPy's linkage matrix of a tree.

    Parameters
    ----------
    merges
        What an engine returned.
    n
        Number of observations, duplicates included.
    duplicates
        Where the engine ran on the distinct ones of them only.
    monotonic
        Whether the method's heights cannot invert. If so, a height that rounding left below those
        of the clusters it merges is raised to them, and merges are sorted (stably) by height. If
        not (centroid, median), heights and order stay as they are.

    Returns
    -------
    ndarray
        ``(n - 1, 4) float64``: the ids of the two clusters, the smaller first, the height, and
        the number of observations below. Row ``t`` makes cluster ``n + t``.

    Raises
    ------
    ValueError
        If there are not ``n - 1`` merges in all.
    """
    if duplicates is not None:
        merges = duplicates.start.expand(merges)
    if len(merges.height) != n - 1:
        raise ValueError(f"{n} observations take {n - 1} merges, got {len(merges.height)}")
    first, second, height = merges.first, merges.second, merges.height
    if monotonic:
        height = height.copy()
        _raise_heights(first, second, height)
        order = np.argsort(height, kind="stable")
        first, second, height = first[order], second[order], height[order]
    linkage = np.empty((n - 1, 4))
    linkage[:, 2] = height
    _label(first, second, linkage)
    return linkage


@jit
def _raise_heights(
    first: NDArray[np.int64], second: NDArray[np.int64], height: NDArray[np.float64]
) -> None:
    n = len(height) + 1
    parent = np.arange(n)
    below = np.full(n, -np.inf)
    for t in range(n - 1):
        a = find(parent, first[t])
        b = find(parent, second[t])
        height[t] = max(height[t], below[a], below[b])
        parent[a] = b
        below[b] = height[t]


@jit
def _label(
    first: NDArray[np.int64], second: NDArray[np.int64], linkage: NDArray[np.float64]
) -> None:
    n = len(first) + 1
    parent = np.arange(2 * n - 1)
    size = np.ones(2 * n - 1, np.int64)
    for t in range(n - 1):
        a = find(parent, first[t])
        b = find(parent, second[t])
        parent[a] = n + t
        parent[b] = n + t
        size[n + t] = size[a] + size[b]
        linkage[t, 0] = min(a, b)
        linkage[t, 1] = max(a, b)
        linkage[t, 3] = size[n + t]

"""Kernel: the tree of a few observations, by SciPy itself."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["condensed_of", "small_linkage"]


def small_linkage(square: NDArray[Any], method: str) -> NDArray[np.float64]:
    """Return SciPy's linkage matrix of a symmetric matrix of distances.

    For some thousand observations this takes a moment, and no compiler is loaded.

    Parameters
    ----------
    square
        ``(n, n)``, symmetric and finite.
    method
        One of `METHODS`.
    """
    from scipy.cluster.hierarchy import linkage

    known: Any = method
    tree: NDArray[np.float64] = linkage(condensed_of(square), known)
    return tree


def condensed_of(square: NDArray[Any], dtype: Any = np.float64) -> NDArray[Any]:
    """Return the part above the diagonal in SciPy's order, ``(n (n - 1) / 2,)``.

    Row by row: indices of all pairs would take four times the memory of what they pick.
    """
    n = len(square)
    condensed = np.empty(n * (n - 1) // 2, dtype=dtype)
    start = 0
    for i in range(n - 1):
        condensed[start : start + n - 1 - i] = square[i, i + 1 :]
        start += n - 1 - i
    return condensed

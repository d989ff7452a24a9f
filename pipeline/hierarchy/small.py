"""Kernel: the tree of a few observations, by SciPy itself."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from clustergrid.storage.errors import DataValueError

__all__ = ["condensed_of", "scipy_bytes", "small_linkage"]


def small_linkage(distances: NDArray[Any], method: str) -> NDArray[np.float64]:
    """Return SciPy's linkage matrix of distances.

    Of some thousand observations this takes a moment, and no compiler is loaded.

    Parameters
    ----------
    distances
        ``(n, n)``, symmetric, or ``(n (n - 1) / 2,)``.
    method
        One of `METHODS`.

    Raises
    ------
    DataValueError
        If a distance is not finite.
    """
    from scipy.cluster.hierarchy import linkage

    condensed = condensed_of(distances) if distances.ndim == 2 else distances
    if not np.isfinite(condensed).all():
        raise DataValueError("The condensed distance matrix must contain only finite values.")
    known: Any = method
    tree: NDArray[np.float64] = linkage(np.asarray(condensed, np.float64), known)
    return tree


def scipy_bytes(n: int, *, is_copied: bool) -> int:
    """Say what SciPy takes beside the distances of n observations: a copy that it works on.

    Parameters
    ----------
    n
        Observations.
    is_copied
        Whether the distances have to become a condensed matrix of float64 first.

    Examples
    --------
    >>> scipy_bytes(20_000, is_copied=True)
    3199840000
    """
    return n * (n - 1) // 2 * 8 * (1 + is_copied)


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

"""Kernel: a tree cut into clusters."""

from __future__ import annotations

from numbers import Integral

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clustergrid.pipeline._jit import jit
from clustergrid.pipeline.tree._places import loop, places
from clustergrid.pipeline.tree.validity import merges_of
from clustergrid.storage.errors import DataValueError

__all__ = ["cut"]


def cut(Z: ArrayLike, *, k: int | None = None, height: float | None = None) -> NDArray[np.int64]:
    """Cut a tree into clusters.

    Parameters
    ----------
    Z
        ``(n - 1, 4)``: linkage matrix of n leaves.
    k
        Number of clusters, 1 to n: the last ``k - 1`` merges are undone, so there are always
        exactly `k`, whatever the ties.
    height
        The greatest height of a merge inside a cluster; where heights invert, of any merge below.

    Returns
    -------
    ndarray
        ``(n,) int64``: the cluster of each observation, numbered 1, 2, ... in the order in which
        the clusters stand in the leaf order.

    Raises
    ------
    DataValueError
        Unless exactly one of `k` and `height` is given, and is in its range; `Z` is no linkage
        matrix.

    Examples
    --------
    >>> Z = np.array([[1, 2, 1.0, 2], [0, 3, 2.0, 3]])
    >>> cut(Z, k=2), cut(Z, height=2.0)
    (array([1, 2, 2]), array([1, 1, 1]))
    """
    linkage = merges_of(Z)
    n = len(linkage) + 1
    if (k is None) == (height is None):
        raise DataValueError(f"give exactly one of k and height, got k={k} and height={height}")
    if k is not None:
        if not isinstance(k, Integral) or not 1 <= k <= n:
            raise DataValueError(f"k must be a whole number from 1 to {n} (the leaves), got {k}")
        undone = np.arange(n - 1) >= n - k
    else:
        assert height is not None
        if np.isnan(height):
            raise DataValueError("height must be a number, got nan")
        undone = loop(_greatest_heights, n)(linkage) > height
    start, _ = loop(places, n)(linkage)
    return loop(_number_clusters, n)(linkage, start, undone)


@jit
def _greatest_heights(linkage: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of each merge, the greatest height in its subtree."""
    n = len(linkage) + 1
    greatest = linkage[:, 2].copy()
    for t in range(n - 1):
        for side in range(2):
            child = np.int64(linkage[t, side])
            if child >= n and greatest[child - n] > greatest[t]:
                greatest[t] = greatest[child - n]
    return greatest


@jit
def _number_clusters(
    linkage: NDArray[np.float64], start: NDArray[np.int64], undone: NDArray[np.bool_]
) -> NDArray[np.int64]:
    n = len(linkage) + 1
    # A cluster begins at the leftmost leaf of each child of an undone merge; all merges above an
    # undone one are undone.
    begins = np.zeros(n, np.int64)
    begins[0] = 1
    for t in range(n - 1):
        if undone[t]:
            begins[start[np.int64(linkage[t, 0])]] = 1
            begins[start[np.int64(linkage[t, 1])]] = 1
    number = np.cumsum(begins)
    return number[start[:n]]

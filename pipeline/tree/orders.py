"""Kernel: the order of the leaves, and the dendrogram's coordinates."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clustergrid.pipeline._jit import jit
from clustergrid.pipeline.tree._places import loop, places
from clustergrid.pipeline.tree.validity import merges_of

__all__ = ["dendrogram_coordinates", "leaf_order"]


def leaf_order(Z: ArrayLike) -> NDArray[np.int64]:
    """Return the leaves from left to right, as SciPy's ``leaves_list``.

    Parameters
    ----------
    Z
        ``(n - 1, 4)``: linkage matrix of n leaves.

    Returns
    -------
    ndarray
        ``(n,) int64``: the observation at each place.

    Raises
    ------
    DataValueError
        It is no linkage matrix.

    Examples
    --------
    >>> leaf_order([[1, 2, 1.0, 2], [3, 0, 2.0, 3]]).tolist()
    [1, 2, 0]
    """
    linkage = merges_of(Z)
    n = len(linkage) + 1
    start, _ = loop(places, n)(linkage)
    order = np.empty(n, np.int64)
    order[start[:n]] = np.arange(n)
    return order


def dendrogram_coordinates(
    Z: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the coordinates of the links of a dendrogram, as SciPy draws them.

    Leaves stand at 5, 15, 25, ... in leaf order. A link is four points: up from its left child,
    across, down to its right child.

    Returns
    -------
    icoord, dcoord
        ``(n - 1, 4) float64`` each: along the leaves, and heights. The links are in SciPy's
        order: those of the left subtree, those of the right subtree, then the one above them.
    """
    n = len(Z) + 1
    start, size = loop(places, n)(Z)
    icoord = np.empty((n - 1, 4))
    dcoord = np.empty((n - 1, 4))
    loop(_fill_coordinates, n)(Z, start, size, icoord, dcoord)
    return icoord, dcoord


@jit
def _fill_coordinates(
    linkage: NDArray[np.float64],
    start: NDArray[np.int64],
    size: NDArray[np.int64],
    icoord: NDArray[np.float64],
    dcoord: NDArray[np.float64],
) -> None:
    n = len(linkage) + 1
    middle = np.empty(2 * n - 1)
    height = np.zeros(2 * n - 1)
    for leaf in range(n):
        middle[leaf] = 10.0 * start[leaf] + 5.0
    # The links of a subtree of s leaves take s - 1 rows; its own is the last of them.
    last = np.empty(2 * n - 1, np.int64)
    last[2 * n - 2] = n - 2
    for t in range(n - 2, -1, -1):
        left = np.int64(linkage[t, 0])
        right = np.int64(linkage[t, 1])
        last[right] = last[n + t] - 1
        last[left] = last[n + t] - size[right]
    for t in range(n - 1):
        left = np.int64(linkage[t, 0])
        right = np.int64(linkage[t, 1])
        top = linkage[t, 2]
        link = last[n + t]
        icoord[link, 0] = middle[left]
        icoord[link, 1] = middle[left]
        icoord[link, 2] = middle[right]
        icoord[link, 3] = middle[right]
        dcoord[link, 0] = height[left]
        dcoord[link, 1] = top
        dcoord[link, 2] = top
        dcoord[link, 3] = height[right]
        middle[n + t] = (middle[left] + middle[right]) / 2
        height[n + t] = top

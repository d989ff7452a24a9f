"""Kernel: the order of the leaves, and the dendrogram's coordinates."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clustergrid.pipeline._jit import jit
from clustergrid.pipeline.tree._places import loop, places
from clustergrid.pipeline.tree.validity import merges_of

__all__ = ["dendrogram_coordinates", "leaf_order", "leaf_places", "link_clusters", "link_rows"]


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


def leaf_places(order: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return where each leaf of an order stands in it.

    Examples
    --------
    >>> leaf_places(np.array([2, 0, 1])).tolist()
    [1, 2, 0]
    """
    places = np.empty(len(order), np.int64)
    places[order] = np.arange(len(order))
    return places


def dendrogram_coordinates(
    Z: NDArray[np.float64], positions: NDArray[np.float64] | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the coordinates of the links of a dendrogram, as SciPy draws them.

    A link is four points: up from its left child, across, down to its right child.

    Parameters
    ----------
    Z
        ``(n - 1, 4)``: linkage matrix of n leaves.
    positions
        ``(n,)``: where the first leaf of the leaf order stands, the second, and so on; by default
        at 5, 15, 25, ...

    Returns
    -------
    icoord, dcoord
        ``(n - 1, 4) float64`` each: along the leaves, and heights. The links are in SciPy's
        order: those of the left subtree, those of the right subtree, then the one above them.

    Examples
    --------
    >>> icoord, dcoord = dendrogram_coordinates(np.array([[0, 1, 2.0, 2]]))
    >>> icoord.tolist(), dcoord.tolist()
    ([[5.0, 5.0, 15.0, 15.0]], [[0.0, 2.0, 2.0, 0.0]])
    """
    n = len(Z) + 1
    start, size = loop(places, n)(Z)
    at = 10.0 * np.arange(n, dtype=np.float64) + 5.0
    if positions is not None:
        at = np.asarray(positions, dtype=np.float64)
    row = loop(_rows_of_links, n)(Z, size)
    icoord = np.empty((n - 1, 4))
    dcoord = np.empty((n - 1, 4))
    loop(_fill_coordinates, n)(Z, at[start[:n]], row, icoord, dcoord)
    return icoord, dcoord


def link_clusters(Z: NDArray[np.float64], above: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the cluster of each link, as SciPy's dendrogram gives them colours.

    Parameters
    ----------
    Z
        ``(n - 1, 4)``: linkage matrix of n leaves.
    above
        ``(n - 1,)``: which merges are above the cut.

    Returns
    -------
    ndarray
        ``(n - 1,) int64``, in the order of the links of `dendrogram_coordinates`: 0, 1, ... from
        left to right, and -1 for links above the cut. Clusters of one leaf have no links.

    Examples
    --------
    >>> Z = np.array([[0, 1, 1.0, 2], [2, 3, 2.0, 2], [4, 5, 3.0, 4]])
    >>> link_clusters(Z, Z[:, 2] >= 3).tolist()
    [0, 1, -1]
    """
    n = len(Z) + 1
    start, _ = loop(places, n)(Z)
    # Between two neighbouring leaves is the one merge that brings them together. In this order
    # SciPy goes through them, and takes the next colour where it comes up from below the cut.
    between = start[Z[:, 1].astype(np.int64)] - 1
    along = np.empty(n - 1, dtype=bool)
    along[between] = above
    comes_up = along.copy()
    comes_up[:1] = False
    comes_up[1:] &= ~along[:-1]
    number = np.where(along, -1, np.cumsum(comes_up))
    clusters = np.empty(n - 1, np.int64)
    clusters[link_rows(Z)] = number[between]
    return clusters


def link_rows(Z: NDArray[np.float64]) -> NDArray[np.int64]:
    """Of each merge, its row among the links of `dendrogram_coordinates`; ``(n - 1,) int64``.

    Examples
    --------
    >>> link_rows(np.array([[2, 3, 1.0, 2], [0, 1, 2.0, 2], [4, 5, 3.0, 4]])).tolist()
    [0, 1, 2]
    >>> link_rows(np.array([[2, 3, 1.0, 2], [0, 1, 2.0, 2], [5, 4, 3.0, 4]])).tolist()
    [1, 0, 2]
    """
    n = len(Z) + 1
    _, size = loop(places, n)(Z)
    return loop(_rows_of_links, n)(Z, size)


@jit
def _rows_of_links(linkage: NDArray[np.float64], size: NDArray[np.int64]) -> NDArray[np.int64]:
    """Of each merge, its row among the links."""
    n = len(linkage) + 1
    # The links of a subtree of s leaves take s - 1 rows; its own is the last of them.
    last = np.empty(2 * n - 1, np.int64)
    last[2 * n - 2] = n - 2
    for t in range(n - 2, -1, -1):
        left = np.int64(linkage[t, 0])
        right = np.int64(linkage[t, 1])
        last[right] = last[n + t] - 1
        last[left] = last[n + t] - size[right]
    return last[n:]


@jit
def _fill_coordinates(
    linkage: NDArray[np.float64],
    positions: NDArray[np.float64],
    row: NDArray[np.int64],
    icoord: NDArray[np.float64],
    dcoord: NDArray[np.float64],
) -> None:
    n = len(linkage) + 1
    middle = np.empty(2 * n - 1)
    height = np.zeros(2 * n - 1)
    middle[:n] = positions
    for t in range(n - 1):
        left = np.int64(linkage[t, 0])
        right = np.int64(linkage[t, 1])
        top = linkage[t, 2]
        link = row[t]
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

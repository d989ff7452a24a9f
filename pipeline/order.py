"""Kernel: what a linkage matrix says: leaf order, clusters, the dendrogram's coordinates.

Nothing recurses and nothing keeps a stack: a cluster is made after those it merges, so one loop
up the rows of the linkage knows every subtree before the tree above it, and one loop down knows
where a tree stands before those below it. A chain of a million leaves is no deeper than any other.
"""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral
from typing import Any, ParamSpec, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clustergrid.pipeline._jit import Kernel, jit
from clustergrid.storage.errors import DataValueError

__all__ = [
    "MAX_LEAVES_ORDERED_OPTIMALLY",
    "check_linkage",
    "check_optimal_ordering",
    "cut",
    "dendrogram_coordinates",
    "leaf_order",
    "optimal_ordering",
]

P = ParamSpec("P")
R = TypeVar("R")

_MOST_LEAVES_INTERPRETED = 2048

MAX_LEAVES_ORDERED_OPTIMALLY = 4000
"""Leaves up to which `optimal_ordering` ends in about a minute."""


def check_linkage(Z: ArrayLike, n: int | None = None, name: str = "linkage") -> NDArray[np.float64]:
    """Return a linkage matrix as C-contiguous float64, once it is found to be one.

    Parameters
    ----------
    Z
        ``(n - 1, 4)``: two cluster ids, the height, the number of observations.
    n
        Number of leaves it must have; any when None.
    name
        What the errors call it: the axis it is for.

    Raises
    ------
    DataValueError
        Where SciPy's ``is_valid_linkage`` says no, where a height is not finite or an id is not a
        whole number, and where the number of leaves is not `n`.
    """
    try:
        linkage = np.ascontiguousarray(Z, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataValueError(f"{name} must be a matrix of numbers: {error}") from error
    if linkage.ndim != 2 or linkage.shape[1] != 4:
        raise DataValueError(
            f"{name} must have two dimensions and 4 columns (a linkage matrix), "
            f"got shape {linkage.shape}"
        )
    if len(linkage) == 0:
        raise DataValueError(f"{name} must be of at least two observations, got 0 merges")
    n_leaves = len(linkage) + 1
    ids, heights, counts = linkage[:, :2], linkage[:, 2], linkage[:, 3]

    def refuse(bad: Any, problem: str) -> None:
        if bad.any():
            row = int(np.argmax(bad))
            raise DataValueError(f"{name} {problem}: row {row} is {linkage[row].tolist()}")

    refuse(~np.isfinite(linkage).all(axis=1), "must contain only finite values")
    refuse((ids < 0).any(axis=1), "contains negative ids")
    refuse((ids != np.floor(ids)).any(axis=1), "contains ids that are not whole numbers")
    refuse(heights < 0, "contains negative heights")
    refuse(counts < 0, "contains negative counts")
    refuse(counts > n_leaves, f"counts more observations in a cluster than its {n_leaves} leaves")
    formed = n_leaves + np.arange(n_leaves - 1)
    refuse(ids.max(axis=1) >= formed, "uses a cluster before it is formed")
    uses = np.bincount(ids.astype(np.int64).ravel())
    if uses.max() > 1:
        raise DataValueError(f"{name} uses cluster {int(uses.argmax())} more than once")
    if n is not None and n != n_leaves:
        raise DataValueError(
            f"{name} has {n_leaves} leaves, but {n} observations are to be ordered by it"
        )
    return linkage


def _loop(kernel: Kernel[P, R], n: int) -> Callable[P, R]:
    """Compiled, or as it is written where it ends sooner than the compiler is loaded."""
    return kernel if n > _MOST_LEAVES_INTERPRETED else kernel.python


def leaf_order(Z: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the leaves from left to right, ``(n,) int64``, as SciPy's ``leaves_list`` does."""
    n = len(Z) + 1
    start, _ = _loop(_places, n)(Z)
    order = np.empty(n, np.int64)
    order[start[:n]] = np.arange(n)
    return order


def cut(
    Z: NDArray[np.float64], *, k: int | None = None, height: float | None = None
) -> NDArray[np.int64]:
    """Cut a tree into clusters.

    Parameters
    ----------
    Z
        Linkage matrix of n leaves.
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
        Unless exactly one of `k` and `height` is given, and is in its range.

    Examples
    --------
    >>> Z = np.array([[1, 2, 1.0, 2], [0, 3, 2.0, 3]])
    >>> cut(Z, k=2), cut(Z, height=2.0)
    (array([1, 2, 2]), array([1, 1, 1]))
    """
    n = len(Z) + 1
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
        undone = _loop(_greatest_heights, n)(Z) > height
    start, _ = _loop(_places, n)(Z)
    return _loop(_number_clusters, n)(Z, start, undone)


def check_optimal_ordering(n: int) -> None:
    """Refuse an optimal ordering of too many leaves, before anything is computed for it.

    Raises
    ------
    DataValueError
        There are more than `MAX_LEAVES_ORDERED_OPTIMALLY`: memory grows with n^2 and time with up
        to n^4 (Bar-Joseph, Gifford and Jaakkola 2001).
    """
    if n > MAX_LEAVES_ORDERED_OPTIMALLY:
        raise DataValueError(
            f"optimal ordering takes at most {MAX_LEAVES_ORDERED_OPTIMALLY} leaves, got {n}: its "
            "time grows with up to the fourth power. Leave optimal_ordering off for this axis; "
            "the tree and its heights are the same without it."
        )


def optimal_ordering(Z: NDArray[np.float64], condensed: NDArray[Any]) -> NDArray[np.float64]:
    """Return the tree with children swapped so that neighbouring leaves are nearest in sum.

    Parameters
    ----------
    Z
        Linkage matrix of n leaves, at most `MAX_LEAVES_ORDERED_OPTIMALLY`.
    condensed
        ``(n (n - 1) / 2,)``: the condensed distance matrix.

    Raises
    ------
    DataValueError
        If there are too many leaves: memory grows with n^2 and time with up to n^4
        (Bar-Joseph, Gifford and Jaakkola 2001). If the distances are not those of n observations,
        which SciPy does not check.
    """
    n = len(Z) + 1
    check_optimal_ordering(n)
    if np.shape(condensed) != (n * (n - 1) // 2,):
        raise DataValueError(
            f"the condensed distance matrix of {n} leaves has {n * (n - 1) // 2} entries, "
            f"got shape {np.shape(condensed)}"
        )
    # SciPy's module weighs thirty megabytes, which most runs do without.
    from scipy.cluster.hierarchy import optimal_leaf_ordering

    ordered: NDArray[np.float64] = optimal_leaf_ordering(Z, condensed)
    return ordered


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
    start, size = _loop(_places, n)(Z)
    icoord = np.empty((n - 1, 4))
    dcoord = np.empty((n - 1, 4))
    _loop(_fill_coordinates, n)(Z, start, size, icoord, dcoord)
    return icoord, dcoord


@jit
def _places(linkage: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Of each of the 2 n - 1 clusters: the position of its leftmost leaf, and how many it has."""
    n = len(linkage) + 1
    size = np.ones(2 * n - 1, np.int64)
    for t in range(n - 1):
        size[n + t] = size[np.int64(linkage[t, 0])] + size[np.int64(linkage[t, 1])]
    start = np.zeros(2 * n - 1, np.int64)
    for t in range(n - 2, -1, -1):
        left = np.int64(linkage[t, 0])
        start[left] = start[n + t]
        start[np.int64(linkage[t, 1])] = start[n + t] + size[left]
    return start, size


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

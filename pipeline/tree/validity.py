"""Kernel: whether a matrix is a linkage matrix, and whether its heights are in order."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clustergrid.storage.errors import DataValueError

__all__ = ["check_linkage", "is_monotonic", "merges_of"]


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
        whole number, and where the number of leaves is not `n`. The message names the first row
        that has the problem. As in SciPy, a count may be wrong as long as it is possible.

    Examples
    --------
    >>> check_linkage([[0, 1, 1.0, 2], [2, 3, 2.0, 3]]).shape
    (2, 4)
    >>> check_linkage([[0, 1, 1.0, 2], [2, 0, 2.0, 3]])
    Traceback (most recent call last):
    ...
    clustergrid.storage.errors.DataValueError: linkage uses cluster 0 more than once: row 1 is \
[2.0, 0.0, 2.0, 3.0]
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
    used = ids.astype(np.int64)
    uses = np.bincount(used.ravel())
    if uses.max() > 1:
        is_again = np.ones(used.size, np.bool_)
        is_again[np.unique(used, return_index=True)[1]] = False
        cluster = int(used.ravel()[np.argmax(is_again)])
        refuse(is_again.reshape(-1, 2).any(axis=1), f"uses cluster {cluster} more than once")
    if n is not None and n != n_leaves:
        raise DataValueError(
            f"{name} has {n_leaves} leaves, but {n} observations are to be ordered by it"
        )
    return linkage


def merges_of(Z: ArrayLike) -> NDArray[np.float64]:
    """Return a checked linkage matrix, or no merges, which is the tree of one leaf.

    Raises
    ------
    DataValueError
        As in `check_linkage`.

    Examples
    --------
    >>> merges_of(np.empty((0, 4))).shape
    (0, 4)
    """
    if np.shape(Z) == (0, 4):
        return np.empty((0, 4))
    return check_linkage(Z)


def is_monotonic(Z: ArrayLike) -> bool:
    """Whether no height is less than that of the merge before, as SciPy's ``is_monotonic``.

    Heights of centroid and median may not be.

    Raises
    ------
    DataValueError
        It is no linkage matrix.

    Examples
    --------
    >>> is_monotonic([[0, 1, 1.0, 2], [2, 3, 2.0, 3]]), is_monotonic([[0, 1, 2.0, 2], [2, 3, 1, 3]])
    (True, False)
    """
    heights = check_linkage(Z)[:, 2]
    return bool((heights[1:] >= heights[:-1]).all())

"""Kernel: whether a matrix is a linkage matrix, and whether its heights are in order."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clustergrid.storage.errors import DataValueError

__all__ = ["check_linkage"]


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

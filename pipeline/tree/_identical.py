"""Kernel: identical leaves taken out of a tree before it is ordered, and put back.

Identical observations are at distance 0 of one another and at the same distance of all others. So
whichever way the merges among them are turned, and wherever their cluster is entered and left, it
adds nothing: the tree in which each such cluster is one leaf has the same least sum.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clustergrid.pipeline._jit import jit
from clustergrid.pipeline.hierarchy.labels import Duplicates
from clustergrid.pipeline.tree._places import loop
from clustergrid.storage.errors import DataValueError

__all__ = ["distinct_tree", "turned_like"]


def distinct_tree(linkage: NDArray[np.float64], duplicates: Duplicates) -> NDArray[np.float64]:
    """Return the tree of the observations that are kept.

    Parameters
    ----------
    linkage
        ``(n - 1, 4)``: as `linkage_matrix` makes it, the merges of identical observations first.
    duplicates
        Which m of the n observations are kept, and what the others are identical to.

    Returns
    -------
    ndarray
        ``(m - 1, 4) float64``: the last ``m - 1`` merges, of leaves that are numbered as the kept
        ones are, with the number of leaves below.

    Raises
    ------
    DataValueError
        One of the first merges is of observations that are not identical.

    Examples
    --------
    >>> duplicates = Duplicates(
    ...     kept=np.array([0, 2]), duplicate_of=np.array([0]), row=np.array([1])
    ... )
    >>> Z = np.array([[0.0, 1.0, 0.0, 2.0], [2.0, 3.0, 5.0, 3.0]])
    >>> distinct_tree(Z, duplicates).tolist()
    [[1.0, 0.0, 5.0, 2.0]]
    """
    n = len(linkage) + 1
    number = np.full(2 * n - 1, -1)
    number[duplicates.kept] = np.arange(len(duplicates.kept))
    number[duplicates.row] = number[duplicates.duplicate_of]
    distinct = np.zeros((len(duplicates.kept) - 1, 4))
    wrong = loop(_fill_distinct, n)(linkage, len(duplicates.row), number, distinct)
    if wrong >= 0:
        raise DataValueError(
            f"the first {len(duplicates.row)} merges must be of identical observations, and merge "
            f"{wrong} is of clusters {linkage[wrong, :2].astype(np.int64).tolist()}"
        )
    return distinct


def turned_like(
    linkage: NDArray[np.float64], before: NDArray[np.float64], after: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return a tree whose last merges are swapped where those of another one were.

    Parameters
    ----------
    linkage
        ``(n - 1, 4)``.
    before, after
        ``(m - 1, 4)``, m at most n: the other tree, as it was and with children swapped.
    """
    ordered = linkage.copy()
    swapped = np.flatnonzero(before[:, 0] != after[:, 0]) + len(linkage) - len(before)
    ordered[swapped, :2] = linkage[swapped, 1::-1]
    return ordered


@jit
def _fill_distinct(
    linkage: NDArray[np.float64],
    n_identical: int,
    number: NDArray[np.int64],
    distinct: NDArray[np.float64],
) -> int:
    """Fill the tree of distinct leaves; return the merge that is wrong, or -1.

    `number`, of each cluster, holds the numbers of the leaves, and gets the others'.
    """
    n = len(linkage) + 1
    n_distinct = len(distinct) + 1
    size = np.ones(2 * n_distinct - 1)
    for t in range(n - 1):
        one = number[np.int64(linkage[t, 0])]
        other = number[np.int64(linkage[t, 1])]
        if t < n_identical:
            if one != other:
                return t
            number[n + t] = one
            continue
        merge = t - n_identical
        cluster = n_distinct + merge
        number[n + t] = cluster
        size[cluster] = size[one] + size[other]
        distinct[merge, 0] = one
        distinct[merge, 1] = other
        distinct[merge, 2] = linkage[t, 2]
        distinct[merge, 3] = size[cluster]
    return -1

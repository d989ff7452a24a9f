"""Kernel: the tree turned so that neighbouring leaves are near."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from clustergrid.storage.errors import DataValueError

__all__ = ["MAX_LEAVES_ORDERED_OPTIMALLY", "check_optimal_ordering", "optimal_leaf_ordering"]

MAX_LEAVES_ORDERED_OPTIMALLY = 4000
"""Leaves up to which `optimal_leaf_ordering` ends in about a minute."""


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


def optimal_leaf_ordering(Z: NDArray[np.float64], condensed: NDArray[Any]) -> NDArray[np.float64]:
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
    from scipy.cluster.hierarchy import optimal_leaf_ordering as by_scipy

    ordered: NDArray[np.float64] = by_scipy(Z, condensed)
    return ordered

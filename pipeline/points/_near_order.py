"""Kernel helper: an order of points in which neighbours in space mostly are neighbours."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["near_order"]

_SAMPLED = 256
"""Points that tell along which feature a part is cut."""


def near_order(rows: NDArray[np.floating[Any]], leaf: int) -> NDArray[np.int64]:
    """Order points as the leaves of a k-d tree: halves of halves along the widest feature.

    Parameters
    ----------
    rows
        ``(n, k)``.
    leaf
        Points of a leaf; cuts are at multiples of it.

    Returns
    -------
    numpy.ndarray
        ``(n,)`` the points, leaf by leaf.

    Examples
    --------
    >>> near_order(np.array([[5.0], [0.0], [6.0], [1.0]]), 2).reshape(2, 2).max(axis=1).tolist()
    [3, 2]
    """
    order = np.arange(len(rows))
    waiting = [(0, len(rows))]
    while waiting:
        start, stop = waiting.pop()
        n_leaves = -(-(stop - start) // leaf)
        if n_leaves < 2:
            continue
        part = order[start:stop]
        some = rows[part[:: -(-len(part) // _SAMPLED)]]
        widest = int(np.argmax(some.max(axis=0) - some.min(axis=0)))
        half = n_leaves // 2 * leaf
        order[start:stop] = part[np.argpartition(rows[part, widest], half)]
        waiting += [(start, start + half), (start + half, stop)]
    return order

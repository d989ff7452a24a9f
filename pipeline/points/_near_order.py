"""Kernel helper: orders of points in which neighbours in space mostly are neighbours."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["near_order", "order_in_groups"]

_SAMPLED = 256
"""Points that tell along which feature, or direction, a part is cut."""

_STEPS = 6
"""Of a power iteration: any direction in which points are about as wide as they can be will do."""

_LEAST_SHARE = 8
"""One of so many points of a sample is on either side of a cut, at least."""

Rows = NDArray[np.floating[Any]]


def near_order(rows: Rows, leaf: int) -> NDArray[np.int64]:
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
        some = _some(rows, part)
        widest = int(np.argmax(some.max(axis=0) - some.min(axis=0)))
        half = n_leaves // 2 * leaf
        order[start:stop] = part[np.argpartition(rows[part, widest], half)]
        waiting += [(start, start + half), (start + half, stop)]
    return order


def order_in_groups(rows: Rows, most: int) -> NDArray[np.int64]:
    """Order points so that groups of them stay together, of many features too.

    Parts are cut along the direction in which points vary most, where two groups are farthest apart
    (N. Otsu, A threshold selection method from gray-level histograms, 1979).

    Parameters
    ----------
    rows
        ``(n, k)``.
    most
        Points that are left together; equal ones always are.

    Returns
    -------
    numpy.ndarray
        ``(n,)`` the points.

    Examples
    --------
    >>> rows = np.array([[5.0, 6.0], [1.0, 0.0], [6.0, 5.0], [0.0, 1.0], [1.0, 1.0]])
    >>> order_in_groups(rows, 3).tolist()
    [1, 3, 4, 0, 2]
    """
    order = np.arange(len(rows))
    waiting = [(0, len(rows))]
    while waiting:
        start, stop = waiting.pop()
        if stop - start <= most:
            continue
        part = order[start:stop]
        some = _some(rows, part)
        direction = _widest_direction(some)
        is_behind = rows[part] @ direction > _threshold(some @ direction)
        middle = stop - int(np.count_nonzero(is_behind))
        if start < middle < stop:
            order[start:stop] = np.concatenate([part[~is_behind], part[is_behind]])
            waiting += [(start, middle), (middle, stop)]
    return order


def _some(rows: Rows, part: NDArray[np.int64]) -> Rows:
    return rows[part[:: -(-len(part) // _SAMPLED)]]


def _widest_direction(some: Rows) -> Rows:
    centred = some - some.mean(axis=0)
    direction = centred[np.argmax(np.square(centred).sum(axis=1))]
    for _ in range(_STEPS):
        direction = (centred @ direction) @ centred
        direction /= np.sqrt(np.square(direction).sum()) or 1.0
    return np.asarray(direction)


def _threshold(values: Rows) -> float:
    """Return where to cut values, so that the means of the two parts are far apart."""
    ordered = np.sort(values)
    n = len(ordered)
    n_before = np.arange(1, n)
    sums = np.cumsum(ordered - ordered.mean())[:-1]
    apart = np.square(sums) / (n_before * (n - n_before))
    least = n // _LEAST_SHARE
    cut = least + int(np.argmax(apart[least : n - 1 - least]))
    return float(0.5 * (ordered[cut] + ordered[cut + 1]))

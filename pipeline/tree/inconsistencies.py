"""Kernel: how much higher a merge is than those just below it."""

from __future__ import annotations

from numbers import Integral

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clustergrid.pipeline.tree.validity import merges_of
from clustergrid.storage.errors import DataValueError

__all__ = ["inconsistency"]


def inconsistency(Z: ArrayLike, depth: int = 2) -> NDArray[np.float64]:
    """Compare every merge with those up to `depth` levels below, as SciPy's ``inconsistent``.

    Parameters
    ----------
    Z
        ``(n - 1, 4)``: linkage matrix of n leaves.
    depth
        Levels, the merge's own included; 0, as 1, means the merge alone. Each takes a pass over the
        tree, as long as it is less deep than the tree.

    Returns
    -------
    ndarray
        ``(n - 1, 4) float64``, a row a merge: mean and standard deviation of the heights, how many
        there are, and by how many deviations the merge is above the mean: 0 where none deviates.

    Raises
    ------
    DataValueError
        The depth is no whole number, or negative; `Z` is no linkage matrix.

    Notes
    -----
    Heights are summed as what they are below the merge, where SciPy takes differences of sums of
    squares: nearly equal heights keep their digits.

    Examples
    --------
    >>> inconsistency([[0, 1, 1.0, 2], [2, 3, 3.0, 3]]).round(3).tolist()
    [[1.0, 0.0, 1.0, 0.0], [2.0, 1.414, 2.0, 0.707]]
    """
    if not isinstance(depth, Integral) or depth < 0:
        raise DataValueError(f"depth must be a whole number of at least 0, got {depth}")
    linkage = merges_of(Z)
    n = len(linkage) + 1
    heights = linkage[:, 2]
    children = linkage[:, :2].astype(np.int64) - n
    sides = []
    for child in children.T:
        parent = np.flatnonzero(child >= 0)
        below = child[parent]
        sides.append((parent, below, heights[parent] - heights[below]))
    # Merges that are taken in; how far they are below, in sum; the sum of the squares of that.
    count, drop, square = np.ones(n - 1), np.zeros(n - 1), np.zeros(n - 1)
    for _ in range(1, int(depth)):
        counts, drops, squares = np.ones(n - 1), np.zeros(n - 1), np.zeros(n - 1)
        for parent, below, step in sides:
            counts[parent] += count[below]
            drops[parent] += drop[below] + count[below] * step
            squares[parent] += square[below] + step * (2 * drop[below] + count[below] * step)
        is_whole = np.array_equal(counts, count)
        count, drop, square = counts, drops, squares
        if is_whole:
            break
    above = drop / count
    variance = (square - drop * above) / np.maximum(count - 1, 1)
    deviation = np.sqrt(np.maximum(variance, 0.0))
    coefficient = np.divide(above, deviation, out=np.zeros(n - 1), where=deviation > 0)
    return np.stack([heights - above, deviation, count, coefficient], axis=1)

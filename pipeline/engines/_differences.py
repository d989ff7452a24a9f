"""Kernel: sums over the differences of some pairs, where products lost digits to cancellation."""

from __future__ import annotations

import numpy as np

from clustergrid.pipeline._jit import jit

__all__ = ["quadratic_forms", "squared_differences"]


@jit
def squared_differences(
    left: np.ndarray,
    right: np.ndarray,
    pairs: np.ndarray,
    weights: np.ndarray,
    sums: np.ndarray,
) -> None:  # pragma: no cover - compiled
    """Add weighted squared differences of some pairs over one block of features, in float64.

    Eight sums run side by side, because a single one would wait for every addition; they are
    added in a fixed order.

    Parameters
    ----------
    left, right
        ``(·, k)`` float64 rows.
    pairs
        ``(m, 2)`` which row at the left and which at the right.
    weights
        ``(k,)`` float64 of the features.
    sums
        ``(m,)`` float64.
    """
    k = left.shape[1]
    whole = k - k % 8
    lanes = np.empty(8)
    for pair in range(pairs.shape[0]):
        one, other = left[pairs[pair, 0]], right[pairs[pair, 1]]
        lanes[:] = 0.0
        for f in range(0, whole, 8):
            for lane in range(8):
                difference = one[f + lane] - other[f + lane]
                lanes[lane] += weights[f + lane] * (difference * difference)
        for f in range(whole, k):
            difference = one[f] - other[f]
            lanes[0] += weights[f] * (difference * difference)
        sums[pair] += ((lanes[0] + lanes[1]) + (lanes[2] + lanes[3])) + (
            (lanes[4] + lanes[5]) + (lanes[6] + lanes[7])
        )


@jit
def quadratic_forms(
    left: np.ndarray, right: np.ndarray, pairs: np.ndarray, matrix: np.ndarray, sums: np.ndarray
) -> None:  # pragma: no cover - compiled
    """Add ``(x - y) @ matrix @ (x - y)`` of some pairs, features in their order."""
    k = left.shape[1]
    difference = np.empty(k)
    for pair in range(pairs.shape[0]):
        one, other = left[pairs[pair, 0]], right[pairs[pair, 1]]
        for f in range(k):
            difference[f] = one[f] - other[f]
        total = 0.0
        for f in range(k):
            inner = 0.0
            for g in range(k):
                inner += matrix[f, g] * difference[g]
            total += difference[f] * inner
        sums[pair] += total

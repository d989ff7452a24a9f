"""Kernel: what surrounds a matrix product: operands, distances, and what cancelled.

Each loop does in one pass over memory what NumPy would do in five. Operands and recomputed sums are
made in float64 whatever the types of the arrays are.
"""

from __future__ import annotations

import numpy as np

from clustergrid.pipeline._jit import jit

__all__ = [
    "centred_rows",
    "finish_centred",
    "finish_unit",
    "quadratic_forms",
    "squared_differences",
    "unit_rows",
]

FLAGGED = -1.0
"""Written in place of distances that are to be computed again; no distance is negative."""


@jit
def centred_rows(
    values: np.ndarray, centre: np.ndarray, factors: np.ndarray, out: np.ndarray
) -> None:  # pragma: no cover - compiled
    """Write ``(values - centre) * factors`` to `out`; `centre` and `factors` are of features."""
    for i in range(out.shape[0]):
        for f in range(out.shape[1]):
            out[i, f] = (values[i, f] - centre[f]) * factors[f]


@jit
def unit_rows(
    values: np.ndarray,
    means: np.ndarray,
    lengths: np.ndarray,
    factors: np.ndarray,
    out: np.ndarray,
) -> None:  # pragma: no cover - compiled
    """Write ``(values - mean) / length * factors``; `means` and `lengths` are of rows."""
    for i in range(out.shape[0]):
        mean, length = means[i], lengths[i]
        for f in range(out.shape[1]):
            out[i, f] = (values[i, f] - mean) / length * factors[f]


@jit
def finish_centred(
    products: np.ndarray,
    left_squares: np.ndarray,
    right_squares: np.ndarray,
    two: np.floating,
    bound: np.floating,
    smallest: np.floating,
    scale: np.floating,
    root: bool,
    is_diagonal: bool,
    out: np.ndarray,
    top: int,
    left: int,
) -> tuple[int, bool]:  # pragma: no cover - compiled
    """Make distances of products of centred rows; say how many are flagged, and if all are finite.

    Pairs whose squared distance is below `bound` times the sum of both squared norms have lost
    digits to cancellation, and those below `smallest` may have lost them to the range of the
    type: they are flagged. `scale` is what the rows had been multiplied by. A `two` of the
    products' type, and norms of it, keep the arithmetic in that type.
    """
    flagged, finite = 0, True
    for i in range(products.shape[0]):
        row = out[top + i]
        first = i + 1 if is_diagonal else 0
        for j in range(first, products.shape[1]):
            norms = left_squares[i] + right_squares[j]
            squared = norms - two * products[i, j]
            distance = np.sqrt(squared) / scale if root else squared / scale / scale
            lost = (squared <= bound * norms) | (squared < smallest)
            row[left + j] = FLAGGED if lost else distance
            flagged += lost
            # Of an infinity or a NaN this is NaN.
            finite &= squared - squared == 0.0
    return flagged, finite


@jit
def finish_unit(
    products: np.ndarray,
    one: np.floating,
    bound: np.floating,
    is_diagonal: bool,
    out: np.ndarray,
    top: int,
    left: int,
) -> tuple[int, bool]:  # pragma: no cover - compiled
    """Make ``1 - product`` of unit rows, at most 2; flag those below `bound`.

    Numbers are of the products' type.
    """
    flagged, finite = 0, True
    for i in range(products.shape[0]):
        row = out[top + i]
        first = i + 1 if is_diagonal else 0
        for j in range(first, products.shape[1]):
            distance = one - products[i, j]
            lost = distance <= bound
            row[left + j] = FLAGGED if lost else min(distance, one + one)
            flagged += lost
            finite &= distance - distance == 0.0
    return flagged, finite


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

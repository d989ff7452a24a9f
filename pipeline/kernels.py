"""Kernel: the inner loops of distances and of matrix statistics (NumPy in, NumPy out).

Every loop adds the features of a pair one after another in their order, so a result is the same
whatever tile or chunk it was computed in. The loops run along the second index of a transposed
operand, where neighbouring pairs share a vector register; no sum is reassociated.
"""

from __future__ import annotations

import numpy as np

from clustergrid.pipeline._jit import jit

__all__ = [
    "STATISTICS",
    "add_absolute_differences",
    "add_products",
    "add_squared_differences",
    "block_statistics",
    "copy_both_ways",
    "finish_products_euclidean",
    "finish_products_unit",
    "max_absolute_differences",
    "recompute_flagged",
]

STATISTICS = ("count", "mean", "m2", "minimum", "maximum", "infinite", "remainder")
"""Columns of what `block_statistics` returns; the remainder is what a mean lost to rounding."""


@jit
def add_squared_differences(
    left: np.ndarray, right: np.ndarray, accumulator: np.ndarray
) -> None:  # pragma: no cover - compiled
    """Add ``(left[i] - right[:, j]) ** 2`` over features; `right` is transposed, ``(k, bj)``."""
    for i in range(left.shape[0]):
        row = accumulator[i]
        for f in range(left.shape[1]):
            x = left[i, f]
            feature = right[f]
            for j in range(feature.shape[0]):
                difference = x - feature[j]
                row[j] += difference * difference


@jit
def add_absolute_differences(
    left: np.ndarray, right: np.ndarray, accumulator: np.ndarray
) -> None:  # pragma: no cover - compiled
    """Add ``abs(left[i] - right[:, j])`` over features; `right` is transposed, ``(k, bj)``."""
    for i in range(left.shape[0]):
        row = accumulator[i]
        for f in range(left.shape[1]):
            x = left[i, f]
            feature = right[f]
            for j in range(feature.shape[0]):
                row[j] += abs(x - feature[j])


@jit
def max_absolute_differences(
    left: np.ndarray, right: np.ndarray, accumulator: np.ndarray
) -> None:  # pragma: no cover - compiled
    """Keep the largest ``abs(left[i] - right[:, j])``; `right` is transposed, ``(k, bj)``."""
    for i in range(left.shape[0]):
        row = accumulator[i]
        for f in range(left.shape[1]):
            x = left[i, f]
            feature = right[f]
            for j in range(feature.shape[0]):
                row[j] = max(row[j], abs(x - feature[j]))


@jit
def add_products(
    left: np.ndarray, right: np.ndarray, accumulator: np.ndarray
) -> None:  # pragma: no cover - compiled
    """Add ``left[i] * right[:, j]`` over features; `right` is transposed, ``(k, bj)``."""
    for i in range(left.shape[0]):
        row = accumulator[i]
        for f in range(left.shape[1]):
            x = left[i, f]
            feature = right[f]
            for j in range(feature.shape[0]):
                row[j] += x * feature[j]


@jit
def finish_products_euclidean(
    products: np.ndarray,
    left: np.ndarray,
    right: np.ndarray,
    bound: float,
    smallest: float,
    flagged: np.ndarray,
) -> None:  # pragma: no cover - compiled
    """Turn products of centred rows into squared distances, in place.

    `left` and `right` are the rows' squared norms. Pairs whose squared distance is below `bound`
    times the sum of both norms have lost digits to cancellation, and those below `smallest` may
    have lost them to the range of the type: they are flagged.
    """
    for i in range(products.shape[0]):
        for j in range(products.shape[1]):
            norms = left[i] + right[j]
            squared = norms - 2.0 * products[i, j]
            flagged[i, j] = squared <= bound * norms or squared < smallest
            products[i, j] = max(squared, 0.0)


@jit
def finish_products_unit(
    products: np.ndarray, bound: float, flagged: np.ndarray
) -> None:  # pragma: no cover - compiled
    """Turn products of unit rows into ``1 - product``, in place; flag those below `bound`."""
    for i in range(products.shape[0]):
        for j in range(products.shape[1]):
            distance = 1.0 - products[i, j]
            flagged[i, j] = distance <= bound
            products[i, j] = min(max(distance, 0.0), 2.0)


@jit
def recompute_flagged(
    left: np.ndarray, right: np.ndarray, flagged: np.ndarray, accumulator: np.ndarray
) -> None:  # pragma: no cover - compiled
    """Add squared differences of the flagged pairs over one block of features, in float64.

    Eight sums run side by side, because a single one would wait for every addition; they are
    added in a fixed order.
    """
    k = left.shape[1]
    whole = k - k % 8
    lanes = np.empty(8)
    for i in range(flagged.shape[0]):
        for j in range(flagged.shape[1]):
            if not flagged[i, j]:
                continue
            lanes[:] = 0.0
            for f in range(0, whole, 8):
                for lane in range(8):
                    difference = left[i, f + lane] - right[j, f + lane]
                    lanes[lane] += difference * difference
            for f in range(whole, k):
                difference = left[i, f] - right[j, f]
                lanes[0] += difference * difference
            accumulator[i, j] += ((lanes[0] + lanes[1]) + (lanes[2] + lanes[3])) + (
                (lanes[4] + lanes[5]) + (lanes[6] + lanes[7])
            )


def block_statistics(block: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Count, mean, sum of squared deviations, minimum, maximum and infinities of a block.

    Parameters
    ----------
    block
        ``(r, c)`` float64, C-contiguous. NaN are left out, as pandas leaves them out.

    Returns
    -------
    rows, columns
        ``(r, 7)`` and ``(c, 7)`` float64, columns as in `STATISTICS`.
    """
    missing = np.isnan(block)
    if not missing.any():
        infinite = np.isinf(block)
        if not infinite.any():
            return _axis_statistics(block, 1), _axis_statistics(block, 0)
    present = ~missing
    return _axis_statistics(block, 1, present), _axis_statistics(block, 0, present)


def _axis_statistics(block: np.ndarray, axis: int, present: np.ndarray | None = None) -> np.ndarray:
    """Statistics along one axis, of the values that are present."""
    where = np.True_ if present is None else present
    statistics = np.empty((block.shape[1 - axis], len(STATISTICS)))
    count = np.full(len(statistics), float(block.shape[axis]))
    if present is not None:
        count = np.count_nonzero(present, axis=axis).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = block.sum(axis=axis, where=where) / np.maximum(count, 1.0)
        deviation = block - np.expand_dims(mean, axis)
        remainder = deviation.sum(axis=axis, where=where) / np.maximum(count, 1.0)
        np.square(deviation, out=deviation)
        squares = deviation.sum(axis=axis, where=where)
        statistics[:, 2] = np.maximum(squares - count * remainder * remainder, 0.0)
        statistics[:, 6] = remainder
    statistics[:, 0] = count
    statistics[:, 1] = mean
    statistics[:, 3] = block.min(axis=axis, where=where, initial=np.inf)
    statistics[:, 4] = block.max(axis=axis, where=where, initial=-np.inf)
    statistics[:, 5] = 0 if present is None else np.isinf(block).sum(axis=axis)
    return statistics


@jit
def copy_both_ways(
    tile: np.ndarray, square: np.ndarray, top: int, left: int
) -> None:  # pragma: no cover - compiled
    """Copy a tile to ``square[top:, left:]``, and its transpose to ``square[left:, top:]``.

    In small blocks: a whole column of the square would take a cache line for every value.
    """
    edge = 32
    for first in range(0, tile.shape[0], edge):
        last = min(first + edge, tile.shape[0])
        for near in range(0, tile.shape[1], edge):
            far = min(near + edge, tile.shape[1])
            for i in range(first, last):
                for j in range(near, far):
                    square[top + i, left + j] = tile[i, j]
            for j in range(near, far):
                for i in range(first, last):
                    square[left + j, top + i] = tile[i, j]

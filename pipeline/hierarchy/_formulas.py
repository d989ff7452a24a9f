"""Kernel: the Lance-Williams formulas, for a row at once and for a merge that a row missed.

Both evaluate in float64 and in one order, so that a distance is the same to the bit in either row
that has it, however it came there. The order is SciPy's, except that the square of a centroid's
distance that rounding made negative counts as zero, where SciPy gets a NaN; and except for ward of
squares, which takes a root for each merge instead of each distance.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clustergrid.pipeline._jit import inline, jit

__all__ = ["CODES", "WARD", "WARD_OF_SQUARES", "Log", "combine_entries", "combine_rows"]

# Codes instead of names: the kernels branch on an integer, outside of their loops.
COMPLETE, AVERAGE, WEIGHTED, CENTROID, MEDIAN, WARD, WARD_OF_SQUARES = 1, 2, 3, 4, 5, 6, 7
CODES = {
    "complete": COMPLETE,
    "average": AVERAGE,
    "weighted": WEIGHTED,
    "centroid": CENTROID,
    "median": MEDIAN,
    "ward": WARD,
}
"""What kernels call the methods. Ward has another formula where squares of distances are stored."""


class Log(NamedTuple):
    """Merges in their order: those of slots `x` and `y` become that of slot `y`.

    Parameters
    ----------
    x, y
        ``(m,) uint32``: a signed index would be checked for being negative, in the innermost loop.
    size_x, size_y
        ``(m,) float64``: observations in the two clusters.
    height
        ``(m,) float64``: the distance between them, or its square.
    """

    x: NDArray[np.uint32]
    y: NDArray[np.uint32]
    size_x: NDArray[np.float64]
    size_y: NDArray[np.float64]
    height: NDArray[np.float64]


@inline
def _average(to_x: float, to_y: float, size_x: float, size_y: float) -> float:
    return (size_x * to_x + size_y * to_y) / (size_x + size_y)


@inline
def _ward(
    to_x: float, to_y: float, size_x: float, size_y: float, size: float, height: float
) -> float:
    # Not `1.0 / ...`, whose check for zero would keep the loop from being vectorized.
    share = np.divide(1.0, size_x + size_y + size)
    return float(
        np.sqrt(
            (size + size_x) * share * to_x * to_x
            + (size + size_y) * share * to_y * to_y
            - size * share * height * height
        )
    )


@inline
def _ward_of_squares(
    to_x: float, to_y: float, size_x: float, size_y: float, size: float, height: float
) -> float:
    weighed = (size + size_x) * to_x + (size + size_y) * to_y - size * height
    return float(np.divide(weighed, size_x + size_y + size))


@jit
def combine_rows(
    row_x: NDArray[Any],
    row_y: NDArray[Any],
    sizes: NDArray[np.float64],
    size_x: float,
    size_y: float,
    height: float,
    method: int,
) -> None:
    """Replace `row_y` by the distances to the union of two clusters, at `height` of each other.

    ``sizes[i]`` is how many observations the cluster of column ``i`` has. What columns of
    clusters hold that are no more means nothing, before and after.
    """
    n = len(row_y)
    both = size_x + size_y
    if method == COMPLETE:
        for i in range(n):
            row_y[i] = row_x[i] if row_x[i] > row_y[i] else row_y[i]
    elif method == AVERAGE:
        for i in range(n):
            row_y[i] = _average(np.float64(row_x[i]), np.float64(row_y[i]), size_x, size_y)
    elif method == WEIGHTED:
        for i in range(n):
            row_y[i] = 0.5 * (np.float64(row_x[i]) + np.float64(row_y[i]))
    elif method == CENTROID:
        shift = size_x * size_y * height * height / both
        for i in range(n):
            to_x = np.float64(row_x[i])
            to_y = np.float64(row_y[i])
            squared = ((size_x * to_x * to_x + size_y * to_y * to_y) - shift) / both
            row_y[i] = np.sqrt(max(squared, 0.0))
    elif method == MEDIAN:
        shift = 0.25 * height * height
        for i in range(n):
            to_x = np.float64(row_x[i])
            to_y = np.float64(row_y[i])
            row_y[i] = np.sqrt(max(0.5 * (to_x * to_x + to_y * to_y) - shift, 0.0))
    elif method == WARD_OF_SQUARES:
        for i in range(n):
            row_y[i] = _ward_of_squares(
                np.float64(row_x[i]), np.float64(row_y[i]), size_x, size_y, sizes[i], height
            )
    else:
        for i in range(n):
            row_y[i] = _ward(
                np.float64(row_x[i]), np.float64(row_y[i]), size_x, size_y, sizes[i], height
            )


@jit
def combine_entries(
    row: NDArray[Any], log: Log, start: int, stop: int, size: float, method: int
) -> None:
    """Bring a row, of a cluster of `size` observations, up to date with a part of the log.

    For complete, average, weighted, and ward of squares.
    """
    if method == COMPLETE:
        for t in range(start, stop):
            y = log.y[t]
            row[y] = max(row[log.x[t]], row[y])
    elif method == AVERAGE:
        for t in range(start, stop):
            y = log.y[t]
            row[y] = _average(
                np.float64(row[log.x[t]]), np.float64(row[y]), log.size_x[t], log.size_y[t]
            )
    elif method == WEIGHTED:
        for t in range(start, stop):
            y = log.y[t]
            row[y] = 0.5 * (np.float64(row[log.x[t]]) + np.float64(row[y]))
    else:
        for t in range(start, stop):
            y = log.y[t]
            row[y] = _ward_of_squares(
                np.float64(row[log.x[t]]),
                np.float64(row[y]),
                log.size_x[t],
                log.size_y[t],
                size,
                log.height[t],
            )

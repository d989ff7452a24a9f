"""Kernel: the Lance-Williams formulas, for a table in SciPy's way, for rounds in the quickest.

A table is merged in SciPy's order of evaluation, in float64, so that distances are SciPy's to the
bit; except that the square of a centroid's distance that rounding made negative counts as zero,
where SciPy gets a NaN.

Rounds combine a row at once, or an entry for a merge that its row missed; both give the same bits,
so a distance is the same in either row that has it, however it came there. They multiply by shares
instead of dividing by sizes, and take a root for each merge of ward instead of each distance:
heights differ from SciPy's in the last bits, but not those of complete.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clustergrid.pipeline._jit import inline, jit
from clustergrid.pipeline.hierarchy._codes import (
    AVERAGE,
    CENTROID,
    COMPLETE,
    MEDIAN,
    WARD,
    WEIGHTED,
)

__all__ = [
    "Log",
    "combine_entries",
    "combine_logged_rows",
    "combine_rows",
    "log_merges",
]


class Log(NamedTuple):
    """Merges of rounds in their order: those of slots `x` and `y` become that of slot `y`.

    Parameters
    ----------
    x, y
        ``(m,) uint32``: a signed index would be checked for being negative, in the innermost loop.
    weight_x, weight_y
        ``(m,) float64``: of average and weighted the shares of the two clusters, which add up to
        one; of ward how many observations they have.
    height
        ``(m,) float64``: the distance between them; of ward its square.
    """

    x: NDArray[np.uint32]
    y: NDArray[np.uint32]
    weight_x: NDArray[np.float64]
    weight_y: NDArray[np.float64]
    height: NDArray[np.float64]


@inline
def _ward(
    to_x: float, to_y: float, size_x: float, size_y: float, size: float, height: float
) -> float:
    # Of squares. Not `/`, whose check for zero would keep the loop from being vectorized.
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
            row_y[i] = (size_x * np.float64(row_x[i]) + size_y * np.float64(row_y[i])) / both
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
    else:
        for i in range(n):
            to_x = np.float64(row_x[i])
            to_y = np.float64(row_y[i])
            share = np.divide(1.0, both + sizes[i])
            row_y[i] = np.sqrt(
                (sizes[i] + size_x) * share * to_x * to_x
                + (sizes[i] + size_y) * share * to_y * to_y
                - sizes[i] * share * height * height
            )


@jit
def log_merges(log: Log, start: int, stop: int, sizes: NDArray[np.float64], method: int) -> None:
    """Fill in the weights of logged merges, whose clusters have `sizes`."""
    for t in range(start, stop):
        size_x, size_y = sizes[log.x[t]], sizes[log.y[t]]
        if method == WARD:
            log.weight_x[t], log.weight_y[t] = size_x, size_y
        elif method == AVERAGE:
            log.weight_x[t] = size_x / (size_x + size_y)
            log.weight_y[t] = size_y / (size_x + size_y)
        else:
            log.weight_x[t], log.weight_y[t] = 0.5, 0.5


@jit
def combine_logged_rows(
    row_x: NDArray[Any],
    row_y: NDArray[Any],
    log: Log,
    t: int,
    sizes: NDArray[np.float64],
    method: int,
) -> None:
    """Replace `row_y` by the distances to the union of the clusters of merge `t`.

    ``sizes[i]`` is how many observations the cluster of column ``i`` has at that time.
    """
    weight_x, weight_y, height = log.weight_x[t], log.weight_y[t], log.height[t]
    n = len(row_y)
    if method == COMPLETE:
        for i in range(n):
            row_y[i] = max(row_x[i], row_y[i])
    elif method == WARD:
        for i in range(n):
            row_y[i] = _ward(
                np.float64(row_x[i]), np.float64(row_y[i]), weight_x, weight_y, sizes[i], height
            )
    else:
        for i in range(n):
            row_y[i] = weight_x * np.float64(row_x[i]) + weight_y * np.float64(row_y[i])


@jit
def combine_entries(
    row: NDArray[Any], log: Log, start: int, stop: int, size: float, method: int
) -> None:
    """Bring a row, of a cluster of `size` observations, up to date with a part of the log."""
    if method == COMPLETE:
        for t in range(start, stop):
            y = log.y[t]
            row[y] = max(row[log.x[t]], row[y])
    elif method == WARD:
        for t in range(start, stop):
            y = log.y[t]
            row[y] = _ward(
                np.float64(row[log.x[t]]),
                np.float64(row[y]),
                log.weight_x[t],
                log.weight_y[t],
                size,
                log.height[t],
            )
    else:
        for t in range(start, stop):
            y = log.y[t]
            row[y] = log.weight_x[t] * np.float64(row[log.x[t]]) + log.weight_y[t] * np.float64(
                row[y]
            )

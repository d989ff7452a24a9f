"""Kernel: the inner loops of matrix statistics, and the copy of a tile both ways."""

from __future__ import annotations

import numpy as np

from clustergrid.pipeline._jit import jit

__all__ = [
    "STATISTICS",
    "block_statistics",
    "copy_both_ways",
]

STATISTICS = ("count", "mean", "m2", "minimum", "maximum", "infinite", "remainder")
"""Columns of what `block_statistics` returns; the remainder is what a mean lost to rounding."""


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

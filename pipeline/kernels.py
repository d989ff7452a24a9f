"""Kernel: the inner loops of matrix statistics, and the copy of a tile both ways."""

from __future__ import annotations

import numpy as np

from clustergrid.pipeline._jit import jit
from clustergrid.storage.grid import strips

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
    found = _finite_statistics(block)
    if found is not None:
        return found
    present = ~np.isnan(block)
    return _axis_statistics(block, 1, present), _axis_statistics(block, 0, present)


def _finite_statistics(block: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Statistics along both axes; None: not every value is finite.

    In strips of rows that stay in a processor's cache. Those down the columns need the means
    first, so the strips are read twice.
    """
    r, c = block.shape
    rows, columns = np.zeros((r, len(STATISTICS))), np.zeros((c, len(STATISTICS)))
    minimum, maximum = np.full(c, np.inf), np.full(c, -np.inf)
    total = deviations = squares = None
    parts = list(strips(r, c))
    scratch = np.empty((max(strip.stop - strip.start for strip in parts) + 1, c))
    with np.errstate(invalid="ignore", over="ignore"):
        for strip in parts:
            part, own = block[strip], scratch[: strip.stop - strip.start + 1]
            np.minimum(minimum, part.min(axis=0), out=minimum)
            np.maximum(maximum, part.max(axis=0), out=maximum)
            rows[strip] = _row_statistics(part, own[1:])
            own[1:] = part
            total = _add_rows(total, own)
        if total is None or not (np.isfinite(minimum).all() and np.isfinite(maximum).all()):
            return None
        mean = total / r
        for strip in parts:
            own = scratch[: strip.stop - strip.start + 1]
            np.subtract(block[strip], mean, out=own[1:])
            deviations = _add_rows(deviations, own)
            np.square(own[1:], out=own[1:])
            squares = _add_rows(squares, own)
        assert deviations is not None
        assert squares is not None
        remainder = deviations / r
        columns[:, 2] = np.maximum(squares - r * remainder * remainder, 0.0)
    columns[:, 0], columns[:, 1], columns[:, 6] = r, mean, remainder
    columns[:, 3], columns[:, 4] = minimum, maximum
    return rows, columns


def _row_statistics(strip: np.ndarray, scratch: np.ndarray) -> np.ndarray:
    """Statistics of finite rows, by way of an array of their shape."""
    c = strip.shape[1]
    mean = strip.sum(axis=1) / c
    deviation = np.subtract(strip, mean[:, None], out=scratch)
    remainder = deviation.sum(axis=1) / c
    squares = np.square(deviation, out=deviation).sum(axis=1)
    statistics = np.zeros((len(strip), len(STATISTICS)))
    statistics[:, 0], statistics[:, 1], statistics[:, 6] = c, mean, remainder
    statistics[:, 2] = np.maximum(squares - c * remainder * remainder, 0.0)
    statistics[:, 3], statistics[:, 4] = strip.min(axis=1), strip.max(axis=1)
    return statistics


def _add_rows(total: np.ndarray | None, strip: np.ndarray) -> np.ndarray:
    """Add the rows from the second on, one after another: the first is free for the total.

    NumPy sums whole columns in this order too, so strips change no bit.
    """
    if total is None:
        return np.asarray(strip[1:].sum(axis=0))
    strip[0] = total
    return np.asarray(strip.sum(axis=0))


def _axis_statistics(block: np.ndarray, axis: int, where: np.ndarray) -> np.ndarray:
    """Statistics along one axis, of the values that are present."""
    statistics = np.empty((block.shape[1 - axis], len(STATISTICS)))
    count = np.count_nonzero(where, axis=axis).astype(np.float64)
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
    statistics[:, 5] = np.isinf(block).sum(axis=axis)
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

"""Kernel: a small picture of a large one, a byte a pixel."""

from __future__ import annotations

import numpy as np

__all__ = ["levels_of", "shrunk"]

_MOST_READ = 2_000
_PERCENTILES = (2.0, 98.0)


def shrunk(values: np.ndarray, most: int) -> np.ndarray:
    """Shrink an image to at most `most` pixels along each axis.

    Parameters
    ----------
    values
        ``(p, q)`` float64, NaN where there is nothing to show.
    most
        Of the small image.

    Returns
    -------
    numpy.ndarray
        ``(p', q')`` float64: means of rectangles, without what is not to be shown; NaN where that
        is nothing. Of a very large image some rows and columns are left out.

    Examples
    --------
    >>> shrunk(np.array([[1.0, 3.0, 5.0, np.nan]]), 2)
    array([[2., 5.]])
    """
    steps = [max(1, n // _MOST_READ) for n in values.shape]
    some = np.asarray(values, np.float64)[:: steps[0], :: steps[1]]
    starts = [np.unique(np.arange(min(n, most)) * n // min(n, most)) for n in some.shape]
    shown = np.isfinite(some)

    def sums(array: np.ndarray) -> np.ndarray:
        by_rows = np.add.reduceat(array, starts[0], axis=0)
        return np.asarray(np.add.reduceat(by_rows, starts[1], axis=1))

    counts = sums(shown.astype(np.float64))
    total = sums(np.where(shown, some, 0.0))
    return np.where(counts > 0, total / np.maximum(counts, 1.0), np.nan)


def levels_of(
    values: np.ndarray, vmin: float | None = None, vmax: float | None = None
) -> tuple[np.ndarray, float, float]:
    """Put values into 255 levels.

    Parameters
    ----------
    values
        ``(p, q)`` float64, NaN where there is nothing to show.
    vmin, vmax
        What the first and the last level stand for; by default, percentiles 2 and 98.

    Returns
    -------
    levels
        ``(p, q)`` uint8: 1 to 255, and 0 where there is nothing to show.
    low, high
        What the levels stand for.

    Examples
    --------
    >>> levels_of(np.array([[0.0, 5.0, 10.0, np.nan]]), 0.0, 10.0)
    (array([[  1, 128, 255,   0]], dtype=uint8), 0.0, 10.0)
    """
    shown = values[np.isfinite(values)]
    low, high = np.percentile(shown, _PERCENTILES) if shown.size else (0.0, 1.0)
    low, high = float(low if vmin is None else vmin), float(high if vmax is None else vmax)
    if not high > low:
        high = low + 1.0
    share = np.clip((np.nan_to_num(values, nan=low) - low) / (high - low), 0.0, 1.0)
    levels = np.where(np.isfinite(values), 1 + np.rint(254 * share), 0).astype(np.uint8)
    return levels, low, high

"""Kernel: average ranks of rows, for rank correlations.

The ranks are those of `scipy.stats.rankdata`, multiples of one half, so nothing is rounded. NumPy
sorts (with vector instructions, and without the lock); one compiled pass over the sorted order
gives tied values the mean of their positions.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from clustergrid.pipeline._jit import jit

__all__ = ["rank_rows", "sorted_rows"]

_SORTED_AT_ONCE = 2**15
"""Values whose order is held at a time: within a processor's cache, unless one row is longer."""


def rank_rows(values: np.ndarray) -> np.ndarray:
    """Average ranks of each row: equal to ``scipy.stats.rankdata(values, axis=1)``, bit for bit.

    Parameters
    ----------
    values
        ``(b, k)`` float64 without NaN. Zeros of either sign are equal.

    Returns
    -------
    numpy.ndarray
        ``(b, k)`` float64, from 1 to k. Beside it, memory for the order of one row is used.

    Examples
    --------
    >>> rank_rows(np.array([[3.0, 1.0, 3.0, -2.0]]))
    array([[3.5, 2. , 3.5, 1. ]])
    """
    ranks = np.empty(values.shape, dtype=np.float64)
    for rows, order in sorted_rows(values):
        _fill_ranks(values[rows], order, ranks[rows])
    return ranks


def sorted_rows(values: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Orders that sort the rows, NaN last, for a few rows at a time.

    Yields
    ------
    rows, order
        Which rows, and ``(rows, k)`` indices as of `numpy.argsort`; ties are in no certain order.
    """
    n, k = values.shape
    step = max(_SORTED_AT_ONCE // max(k, 1), 1)
    for start in range(0, n, step):
        rows = slice(start, min(start + step, n))
        yield rows, np.argsort(values[rows], axis=1)


@jit
def _fill_ranks(
    values: np.ndarray, order: np.ndarray, ranks: np.ndarray
) -> None:  # pragma: no cover - compiled
    for i in range(values.shape[0]):
        row, sorting, out = values[i], order[i], ranks[i]
        k = row.shape[0]
        first = 0
        while first < k:
            # An unsigned index is not looked at for being counted from the end.
            feature = np.uintp(sorting[first])
            value = row[feature]
            last = first + 1
            while last < k and row[np.uintp(sorting[last])] == value:
                last += 1
            # Positions first + 1 to last, counted from one.
            rank = 0.5 * (first + 1 + last)
            out[feature] = rank
            for position in range(first + 1, last):
                out[np.uintp(sorting[position])] = rank
            first = last

"""Kernel: statistics of compressed sparse rows and of their columns, from what is stored.

The zeros that are not stored have a part in every mean and every deviation, but all the same one:
they are counted, not looked at.
"""

from __future__ import annotations

import numpy as np

from clustergrid.pipeline._jit import jit
from clustergrid.pipeline.kernels import STATISTICS

__all__ = ["compressed_statistics"]


def compressed_statistics(
    data: np.ndarray, indices: np.ndarray, indptr: np.ndarray, n_columns: int
) -> tuple[np.ndarray, np.ndarray]:
    """Compute what `block_statistics` computes of a dense block.

    Parameters
    ----------
    data, indices, indptr
        Of `n` rows, as `scipy.sparse.csr_array` has them; values are float64.
    n_columns
        Columns of the matrix.

    Returns
    -------
    rows, columns
        ``(n, 7)`` and ``(n_columns, 7)`` float64, columns as in `STATISTICS`.
    """
    n = len(indptr) - 1
    rows = np.repeat(np.arange(n), np.diff(indptr))
    return _along(data, rows, n, n_columns), _along(data, indices, n_columns, n)


def _along(data: np.ndarray, groups: np.ndarray, n_groups: int, size: int) -> np.ndarray:
    """Statistics of groups of `size` values each, of which `data` are stored."""
    statistics = np.empty((n_groups, len(STATISTICS)))
    _add_up(data, groups, size, statistics)
    return statistics


@jit
def _add_up(
    data: np.ndarray, groups: np.ndarray, size: int, statistics: np.ndarray
) -> None:  # pragma: no cover - compiled
    stored = np.zeros(statistics.shape[0], np.int64)
    statistics[:] = 0.0
    statistics[:, 0] = size
    statistics[:, 3] = np.inf
    statistics[:, 4] = -np.inf
    for e in range(data.shape[0]):
        x, g = data[e], groups[e]
        stored[g] += 1
        if np.isnan(x):
            statistics[g, 0] -= 1.0
            continue
        if np.isinf(x):
            statistics[g, 5] += 1.0
        statistics[g, 1] += x
        statistics[g, 3] = min(statistics[g, 3], x)
        statistics[g, 4] = max(statistics[g, 4], x)
    for g in range(statistics.shape[0]):
        mean = statistics[g, 1] / max(statistics[g, 0], 1.0)
        n_zeros = size - stored[g]
        statistics[g, 1] = mean
        statistics[g, 2] = n_zeros * mean * mean
        statistics[g, 6] = -n_zeros * mean
        if n_zeros > 0:
            statistics[g, 3] = min(statistics[g, 3], 0.0)
            statistics[g, 4] = max(statistics[g, 4], 0.0)
    for e in range(data.shape[0]):
        x, g = data[e], groups[e]
        if not np.isnan(x):
            deviation = x - statistics[g, 1]
            statistics[g, 2] += deviation * deviation
            statistics[g, 6] += deviation
    for g in range(statistics.shape[0]):
        # What the mean lost to rounding, and the squares with it.
        count = statistics[g, 0]
        remainder = statistics[g, 6] / max(count, 1.0)
        squares = statistics[g, 2] - count * remainder * remainder
        statistics[g, 2] = squares if np.isnan(squares) else max(squares, 0.0)
        statistics[g, 6] = remainder

"""Kernel: the engines behind two functions, one for a square matrix, one for SciPy's vector.

=========================================  ====================================  =================
method                                     engine                                 entries read
=========================================  ====================================  =================
single                                     minimum spanning tree                  n^2
complete, average, weighted, ward          nearest-neighbour chain                some 2 n^2
centroid, median                           cached global minima                   some 3 n^2
=========================================  ====================================  =================

All work in place on a square matrix, whose rows are contiguous: memory is the square and a few
vectors.
"""

from __future__ import annotations

from math import isqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clustergrid.pipeline._jit import jit
from clustergrid.pipeline.hierarchy._chain import cluster_by_chain
from clustergrid.pipeline.hierarchy._generic import cluster_by_minima
from clustergrid.pipeline.hierarchy._spanning import cluster_by_spanning_tree
from clustergrid.pipeline.hierarchy._table import SCANS_A_PIECE, Report
from clustergrid.pipeline.hierarchy.methods import REDUCIBLE_METHODS, Merges, Start, check_method
from clustergrid.storage.errors import DataTypeError, DataValueError

__all__ = ["cluster_condensed", "cluster_square", "weigh_identical"]

_TILE = 64
_DTYPES = (np.dtype(np.float32), np.dtype(np.float64))


def cluster_square(
    square: NDArray[Any],
    method: str,
    *,
    start: Start | None = None,
    threads: int = 1,
    progress: Report | None = None,
) -> Merges:
    """Merge all rows of a square distance matrix, which is worked on in place and destroyed.

    Parameters
    ----------
    square
        ``(n, n) float32 or float64``, C-contiguous, symmetric, finite off its diagonal (whatever
        is on the diagonal). For ward, centroid and median these are Euclidean distances, not
        their squares. Arithmetic is in float64, storage in the square's dtype. Where clusters
        are given, these are the distances between them, as SciPy has them in the middle of a
        tree: of ward ``sqrt(2 |A| |B| / (|A| + |B|))`` times that of the means.
    method
        One of `METHODS`.
    start
        The clusters that the rows are; by default each is one observation.
    threads
        How many threads work. The merges are the same to the bit for any number.
    progress
        Called between bounded pieces of the work with how many merges are done and of how many.
        What it raises ends the clustering, as Ctrl-C does.

    Returns
    -------
    Merges
        The ``n - 1`` merges of rows, for `start.expand` or `linkage_matrix`.

    Raises
    ------
    DataValueError
        If `method` is unknown, the shape is not square, `start` has another number of clusters,
        or no finite distance is found.
    DataTypeError
        If `square` is neither float32 nor float64.
    """
    check_method(method)
    _check_square(square)
    n = len(square)
    if start is not None and len(start.sizes) != n:
        raise DataValueError(f"a square of {n} rows has {n} clusters, got {len(start.sizes)}")
    members = None if start is None else start.sizes
    if n == 1:
        return Merges.empty(0)
    report = progress if progress is not None else _no_report
    if method == "single":
        return cluster_by_spanning_tree(square, report)
    engine = cluster_by_chain if method in REDUCIBLE_METHODS else cluster_by_minima
    return engine(square, method, members, report)


def cluster_condensed(
    condensed: NDArray[Any], method: str, *, progress: Report | None = None
) -> Merges:
    """Merge all observations of a condensed distance matrix, in SciPy's order.

    Parameters
    ----------
    condensed
        ``(n (n - 1) / 2,)``; float32 and float64 are kept, anything else becomes float64. It is
        left as it is: the work is done on a square matrix, twice as large.
    method, progress
        As for `cluster_square`.

    Raises
    ------
    DataValueError
        If `method` is unknown, no number of observations has that many distances, or one of them
        is not finite.
    """
    check_method(method)
    condensed = np.ascontiguousarray(condensed)
    if condensed.dtype not in _DTYPES:
        condensed = condensed.astype(np.float64)
    n = _n_observations(condensed)
    square = np.empty((n, n), condensed.dtype)
    rows_a_piece = max(1, SCANS_A_PIECE // (4 * n * _TILE)) * _TILE
    for start in range(0, n, rows_a_piece):
        if not _fill_rows(condensed, square, start, min(start + rows_a_piece, n)):
            raise DataValueError("The condensed distance matrix must contain only finite values.")
        if progress is not None:
            progress(0, n - 1)
    return cluster_square(square, method, progress=progress)


def weigh_identical(square: NDArray[Any], method: str, sizes: NDArray[np.int64]) -> None:
    """Turn distances between observations into those between clusters of identical ones, in place.

    Only ward's differ: they grow with the clusters.

    Parameters
    ----------
    square
        ``(n, n) float32 or float64``.
    method
        One of `METHODS`.
    sizes
        ``(n,) int64``: how many identical observations each row stands for.
    """
    if method == "ward":
        _scale_for_ward(square, sizes.astype(np.float64))


def _no_report(done: int, total: int) -> None:
    pass


def _check_square(square: NDArray[Any]) -> None:
    if square.dtype not in _DTYPES:
        raise DataTypeError(f"a square of float32 or float64 is needed, got {square.dtype}")
    if square.ndim != 2 or square.shape[0] != square.shape[1] or square.shape[0] == 0:
        raise DataValueError(f"a square matrix is needed, got shape {square.shape}")
    if not (square.flags.c_contiguous and square.flags.writeable):
        raise DataValueError(
            "the square must be C-contiguous and writeable: it is worked on in place"
        )


def _n_observations(condensed: NDArray[Any]) -> int:
    if condensed.ndim != 1:
        raise DataValueError(
            f"a condensed distance matrix has one dimension, got shape {condensed.shape}"
        )
    if condensed.size == 0:
        raise DataValueError(
            "The number of observations cannot be determined on an empty distance matrix."
        )
    n = (1 + isqrt(1 + 8 * condensed.size)) // 2
    if n * (n - 1) // 2 != condensed.size:
        raise DataValueError(
            "The number of observations cannot be determined on a condensed distance matrix of "
            f"length {condensed.size}: {n} observations have {n * (n - 1) // 2} distances, "
            f"{n + 1} have {n * (n + 1) // 2}."
        )
    return n


@jit
def _fill_rows(condensed: NDArray[Any], square: NDArray[Any], start: int, stop: int) -> bool:
    """Fill rows and columns `start` to `stop` on their upper side; False if not all finite."""
    n = len(square)
    finite = True
    for top in range(start, stop, _TILE):
        bottom = min(top + _TILE, stop)
        for left in range(top, n, _TILE):
            right = min(left + _TILE, n)
            for i in range(top, bottom):
                # Distance (i, j) is at shift + j.
                shift = i * n - i * (i + 1) // 2 - i - 1
                for j in range(max(left, i + 1), right):
                    value = condensed[shift + j]
                    finite &= np.isfinite(value)
                    square[i, j] = value
                    square[j, i] = value
    return finite


@jit
def _scale_for_ward(square: NDArray[Any], members: NDArray[np.float64]) -> None:
    n = len(square)
    for i in range(n):
        row = square[i]
        twice = 2.0 * members[i]
        for j in range(n):
            row[j] = row[j] * np.sqrt(np.divide(twice * members[j], members[i] + members[j]))

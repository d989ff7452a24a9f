"""Kernel: the engines behind two functions, one for a square matrix, one for SciPy's vector.

=================================  ====================================================  =========
method                             engine                                                threads
=================================  ====================================================  =========
single                             minimum spanning tree                                 one
complete, average, weighted, ward  rounds of reciprocal nearest neighbours, then the     all
                                   nearest-neighbour chain on what they leave
centroid, median                   cached global minima                                  one
=================================  ====================================================  =========

All work in place on a square matrix, whose rows are contiguous: memory is the square and some
vectors. The square is filled and searched by all threads.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from clustergrid.pipeline._jit import jit
from clustergrid.pipeline.hierarchy._chain import Chain
from clustergrid.pipeline.hierarchy._codes import CODES
from clustergrid.pipeline.hierarchy._generic import GlobalMinima
from clustergrid.pipeline.hierarchy._record import Record, Report
from clustergrid.pipeline.hierarchy._rounds import merge_by_rounds
from clustergrid.pipeline.hierarchy._spanning import merge_by_spanning_tree
from clustergrid.pipeline.hierarchy._square import (
    Searched,
    fill_square,
    n_observations,
    search_square,
)
from clustergrid.pipeline.hierarchy._table import finish, open_table
from clustergrid.pipeline.hierarchy.methods import REDUCIBLE_METHODS, Merges, Start, check_method
from clustergrid.storage.errors import DataTypeError, DataValueError

__all__ = ["Report", "cluster_condensed", "cluster_square", "weigh_identical"]

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
        Called between bounded pieces of the work with how many merges are done, of how many, and
        the greatest height among them. What it raises ends the clustering, as Ctrl-C does.

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
    if n == 1:
        return Merges.empty(0)
    sizes = np.ones(n) if start is None else start.sizes.astype(np.float64)
    record = Record(n, progress)
    searched = search_square(square, threads, record.tell)
    _merge_all(searched, sizes, method, threads, record)
    return record.merges


def cluster_condensed(
    condensed: NDArray[Any], method: str, *, threads: int = 1, progress: Report | None = None
) -> Merges:
    """Merge all observations of a condensed distance matrix, in SciPy's order.

    Parameters
    ----------
    condensed
        ``(n (n - 1) / 2,)``; float32 and float64 are kept, anything else becomes float64. It is
        left as it is: the work is done on a square matrix, twice as large.
    method, threads, progress
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
    record = Record(n_observations(condensed), progress)
    searched = fill_square(condensed, threads, record.tell)
    _merge_all(searched, np.ones(len(searched.square)), method, threads, record)
    return record.merges


def _merge_all(
    searched: Searched, sizes: NDArray[np.float64], method: str, threads: int, record: Record
) -> None:
    if method == "single":
        merge_by_spanning_tree(searched.square, record, is_tied=searched.is_tied)
        return
    code = CODES[method]
    if method not in REDUCIBLE_METHODS:
        table = open_table(searched.square, sizes)
        finish(table, GlobalMinima(table), code, record)
        return
    # Where distances tie, several trees are right; the chain makes that of SciPy.
    if searched.is_tied or (method == "ward" and not searched.has_squares):
        table = open_table(searched.square, sizes)
    else:
        table = merge_by_rounds(searched, sizes, code, threads, record)
    finish(table, Chain(table), code, record)


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


def _check_square(square: NDArray[Any]) -> None:
    if square.dtype not in _DTYPES:
        raise DataTypeError(f"a square of float32 or float64 is needed, got {square.dtype}")
    if square.ndim != 2 or square.shape[0] != square.shape[1] or square.shape[0] == 0:
        raise DataValueError(f"a square matrix is needed, got shape {square.shape}")
    if not (square.flags.c_contiguous and square.flags.writeable):
        raise DataValueError(
            "the square must be C-contiguous and writeable: it is worked on in place"
        )


@jit
def _scale_for_ward(square: NDArray[Any], members: NDArray[np.float64]) -> None:
    n = len(square)
    for i in range(n):
        row = square[i]
        twice = 2.0 * members[i]
        for j in range(n):
            row[j] = row[j] * np.sqrt(np.divide(twice * members[j], members[i] + members[j]))

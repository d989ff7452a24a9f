"""Kernel: the square that engines work on, filled from SciPy's vector and searched by all threads.

A strip of rows is filled and searched for nearest neighbours while the processor's cache has it.
Its part left of the diagonal is read from the vector's columns in tiles, so the vector is read
twice; rows are written once, in their order, so that memory which is touched for the first time is
touched by one thread, page after page. Writing each distance to both of its places instead reads
the vector once, but touches a page for every row of a tile at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import isqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clustergrid.pipeline._jit import jit
from clustergrid.pipeline.hierarchy._minimum import LANES, LISTED, nearest_few, not_finite
from clustergrid.pipeline.hierarchy._threads import in_threads
from clustergrid.storage.errors import DataValueError

__all__ = ["Searched", "fill_square", "n_observations", "search_square"]

_STRIP = 64
_TILE = 32  # columns of the vector that are read side by side; divides a strip


@dataclass(frozen=True, slots=True, kw_only=True)
class Searched:
    """A symmetric matrix with an infinite diagonal, and a few nearest neighbours of every row.

    Parameters
    ----------
    square
        ``(n, n)``.
    slots, distances, bounds
        ``(n, LISTED) int64``, ``(n, LISTED) float64``, ``(n,) float64``: as `nearest_few` tells
        of every row.
    has_squares
        Whether the type also holds the squares of all distances, none of them rounded to zero or
        to infinity, and in the same order, as none is negative.
    """

    square: NDArray[Any]
    slots: NDArray[np.int64]
    distances: NDArray[np.float64]
    bounds: NDArray[np.float64]
    has_squares: bool

    @property
    def is_tied(self) -> bool:
        """Whether a row has two nearest neighbours."""
        second = np.minimum(self.distances[:, 1], self.bounds)
        return bool((self.distances[:, 0] == second).any())


def fill_square(condensed: NDArray[Any], threads: int, pause: Callable[[], None]) -> Searched:
    """Make the square of a condensed distance matrix.

    Raises
    ------
    DataValueError
        A distance is not finite.
    """
    n = n_observations(condensed)
    square = np.empty((n, n), condensed.dtype)
    found = _search(square, threads, pause, partial(_fill_rows, condensed, square))
    if found is None:
        raise DataValueError("The condensed distance matrix must contain only finite values.")
    return found


def search_square(square: NDArray[Any], threads: int, pause: Callable[[], None]) -> Searched:
    """Search the rows of a symmetric matrix, whose diagonal is made infinite.

    Raises
    ------
    DataValueError
        A distance is not finite.
    """
    np.fill_diagonal(square, np.inf)
    found = _search(square, threads, pause, None)
    if found is None:
        raise not_finite()
    return found


def _search(
    square: NDArray[Any],
    threads: int,
    pause: Callable[[], None],
    fill: Callable[[int, int], None] | None,
) -> Searched | None:
    """Search rows, once they are filled; None if an entry off the diagonal is not finite."""
    n = len(square)
    slots, distances = np.empty((n, LISTED), np.int64), np.empty((n, LISTED))
    bounds = np.empty(n)

    def strip(start: int) -> tuple[bool, bool]:
        stop = min(start + _STRIP, n)
        if fill is not None:
            fill(start, stop)
        return _search_rows(square, slots, distances, bounds, start, stop)

    strips = in_threads(strip, range(0, n, _STRIP), threads=threads, pause=pause)
    if not all(is_finite for is_finite, _ in strips):
        return None
    return Searched(
        square=square,
        slots=slots,
        distances=distances,
        bounds=bounds,
        has_squares=all(has_squares for _, has_squares in strips),
    )


def n_observations(condensed: NDArray[Any]) -> int:
    """Return of how many observations a vector has the distances.

    Raises
    ------
    DataValueError
        Of none, or it is no vector.

    Examples
    --------
    >>> n_observations(np.ones(6))
    4
    """
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
def _fill_rows(condensed: NDArray[Any], square: NDArray[Any], start: int, stop: int) -> None:
    """Fill the rows `start`, a multiple of `_STRIP`, to `stop`."""
    n = len(square)
    # Distance (j, i), j < i, is at shifts[j] + i. Unsigned: a signed index would be checked.
    shifts = np.empty(_TILE, np.uint64)
    for left in range(0, start, _TILE):
        for j in range(_TILE):
            shifts[j] = (left + j) * n - (left + j) * (left + j + 1) // 2 - (left + j) - 1
        for i in range(start, stop):
            some = square[i, left : left + _TILE]
            for j in range(_TILE):
                some[j] = condensed[shifts[j] + np.uint64(i)]
    for i in range(start, stop):
        for j in range(start, i):
            square[i, j] = square[j, i]
        square[i, i] = np.inf
        first = i * n - i * (i + 1) // 2
        square[i, i + 1 :] = condensed[first : first + n - i - 1]


@jit
def _search_rows(
    square: NDArray[Any],
    slots: NDArray[np.int64],
    distances: NDArray[np.float64],
    bounds: NDArray[np.float64],
    start: int,
    stop: int,
) -> tuple[bool, bool]:
    """Find nearest neighbours.

    Returns whether all entries are finite but for the diagonal, and whether so are their squares,
    none of which is zero where the entry is not, and none that of a negative entry.
    """
    n = len(square)
    lanes = np.empty(LANES, square.dtype)
    none_closed = np.zeros(n, square.dtype)
    is_finite, has_squares = True, True
    smallest = np.finfo(square.dtype).tiny
    for i in range(start, stop):
        row = square[i]
        bounds[i] = nearest_few(row, none_closed, lanes, slots[i], distances[i])
        n_finite = 0
        n_squares = 0
        for j in range(n):
            value = row[j]
            squared = value * value
            n_finite += np.abs(value) < np.inf
            n_squares += (squared < np.inf) & (((squared >= smallest) & (value > 0)) | (value == 0))
        is_finite &= n_finite == n - 1
        has_squares &= n_squares == n - 1
    return is_finite, has_squares

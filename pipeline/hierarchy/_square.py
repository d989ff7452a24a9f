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
from clustergrid.pipeline.hierarchy._minimum import LANES, minimum, not_finite
from clustergrid.pipeline.hierarchy._threads import in_threads
from clustergrid.storage.errors import DataValueError

__all__ = ["Searched", "fill_square", "n_observations", "search_square"]

_STRIP = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Searched:
    """A symmetric matrix with an infinite diagonal, and the nearest neighbour of every row.

    Parameters
    ----------
    square
        ``(n, n)``.
    nearest
        ``(n,) float64``: the least distance in each row.
    neighbor
        ``(n,) int64``: the first column that has it.
    is_tied
        Whether in some row another column has it, too.
    """

    square: NDArray[Any]
    nearest: NDArray[np.float64]
    neighbor: NDArray[np.int64]
    is_tied: bool


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
    nearest, neighbor = np.empty(n), np.empty(n, np.int64)

    def strip(start: int) -> tuple[bool, bool]:
        stop = min(start + _STRIP, n)
        if fill is not None:
            fill(start, stop)
        return _search_rows(square, nearest, neighbor, start, stop)

    strips = in_threads(strip, range(0, n, _STRIP), threads=threads, pause=pause)
    if not all(is_finite for is_finite, _ in strips):
        return None
    is_tied = any(is_tied for _, is_tied in strips)
    return Searched(square=square, nearest=nearest, neighbor=neighbor, is_tied=is_tied)


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
    """Fill the rows `start` to `stop`, at most `_STRIP`."""
    n = len(square)
    tile = np.empty((_STRIP, _STRIP), square.dtype)
    for left in range(0, stop, _STRIP):
        right = min(left + _STRIP, stop)
        # Columns `left` to `right` of the strip are rows of the vector.
        for j in range(left, right):
            # Distance (j, i) is at shift + i.
            shift = j * n - j * (j + 1) // 2 - j - 1
            first = max(start, j + 1)
            some = condensed[shift + first : shift + stop]
            for i in range(len(some)):
                tile[first - start + i, j - left] = some[i]
        for i in range(start, stop):
            last = min(right, i)
            for j in range(left, last):
                square[i, j] = tile[i - start, j - left]
    for i in range(start, stop):
        square[i, i] = np.inf
        shift = i * n - i * (i + 1) // 2
        square[i, i + 1 :] = condensed[shift : shift + n - i - 1]


@jit
def _search_rows(
    square: NDArray[Any],
    nearest: NDArray[np.float64],
    neighbor: NDArray[np.int64],
    start: int,
    stop: int,
) -> tuple[bool, bool]:
    """Find nearest neighbours.

    Returns whether every row is finite but for its diagonal, and whether a row has more than one.
    """
    n = len(square)
    lanes = np.empty(LANES, square.dtype)
    none_closed = np.zeros(n, square.dtype)
    is_finite, is_tied = True, False
    for i in range(start, stop):
        row = square[i]
        least, neighbor[i] = minimum(row, none_closed, lanes)
        nearest[i] = least
        n_finite = 0
        n_least = 0
        for j in range(n):
            n_finite += np.abs(row[j]) < np.inf
            n_least += row[j] == least
        is_finite &= n_finite == n - 1
        is_tied |= n_least > 1
    return is_finite, is_tied

"""Kernel: a square of distances, filled from tiles, and then put into another order in place.

Tiles are of clusters that are neighbours, whose rows may be anywhere in the end. To put every
distance there at once, both ways, took three times as long as to put tiles side by side and to move
whole rows afterwards: each of two hundred neighbours of a column was another page.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clustergrid.pipeline._jit import jit

__all__ = ["move_columns", "move_rows", "put_both_ways"]

_TOGETHER = 32
"""Distances at either side of a block that is put in place, and turned, in the cache."""


@jit
def put_both_ways(
    distances: NDArray[np.float64], begin: int, first: int, square: NDArray[np.float64]
) -> None:
    """Put distances of the clusters from `begin` on to those from `first` on into a square.

    Of two clusters the distance is taken that the first one has.

    Parameters
    ----------
    distances
        ``(a, b)``.
    begin, first
        Rows, and columns, of the square.
    square
        ``(m, m)``.
    """
    height, width = distances.shape
    for top in range(0, height, _TOGETHER):
        bottom = min(top + _TOGETHER, height)
        for left in range(0, width, _TOGETHER):
            right = min(left + _TOGETHER, width)
            for a in range(top, bottom):
                i = begin + a
                for b in range(left, right):
                    j = first + b
                    if j > i:
                        square[i, j] = distances[a, b]
                    elif j == i:
                        square[i, i] = 0.0
            for b in range(left, right):
                j = first + b
                for a in range(top, bottom):
                    i = begin + a
                    if j > i:
                        square[j, i] = distances[a, b]


@jit
def move_columns(
    square: NDArray[np.float64], places: NDArray[np.int64], start: int, stop: int
) -> None:
    """Move column ``j`` to column ``places[j]``, of the rows from `start` to `stop`."""
    row = np.empty(square.shape[1])
    for i in range(start, stop):
        row[:] = square[i]
        for j in range(len(places)):
            square[i, places[j]] = row[j]


@jit
def move_rows(
    square: NDArray[np.float64], places: NDArray[np.int64], start: int, stop: int
) -> None:
    """Move row ``i`` to row ``places[i]``, of the columns from `start` to `stop`.

    Every row takes the place of the next one, until that of the first is taken.
    """
    held = np.empty(stop - start)
    is_moved = np.zeros(len(places), np.bool_)
    for first in range(len(places)):
        if is_moved[first]:
            continue
        held[:] = square[first, start:stop]
        i = first
        while not is_moved[i]:
            is_moved[i] = True
            i = places[i]
            for column in range(start, stop):
                value = square[i, column]
                square[i, column] = held[column - start]
                held[column - start] = value

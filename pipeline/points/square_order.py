"""Driver: the rows and columns of a square in memory, put into another order."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from clustergrid.pipeline.hierarchy._threads import in_threads
from clustergrid.pipeline.points._both_ways import move_columns, move_rows
from clustergrid.storage.grid import slabs

__all__ = ["reorder_square"]

_ENTRIES_A_PIECE = 2**23
"""Of the square, some milliseconds."""


def reorder_square(
    square: NDArray[np.float64],
    places: NDArray[np.int64],
    *,
    threads: int,
    pause: Callable[[], None],
) -> None:
    """Move row and column ``i`` of a square to row and column ``places[i]``, in place.

    Parameters
    ----------
    square
        ``(m, m)``.
    places
        A permutation of ``range(m)``.
    threads
        Of this process.
    pause
        Told between pieces of the work.

    Examples
    --------
    >>> square = np.array([[0.0, 1.0, 2.0], [1.0, 0.0, 5.0], [2.0, 5.0, 0.0]])
    >>> reorder_square(square, np.array([2, 0, 1]), threads=1, pause=lambda: None)
    >>> square.tolist()
    [[0.0, 5.0, 1.0], [5.0, 0.0, 2.0], [1.0, 2.0, 0.0]]
    """
    m = len(square)
    if np.array_equal(places, np.arange(m)):
        return
    pieces = list(slabs(m, max(1, _ENTRIES_A_PIECE // max(1, m))))
    for move in (move_columns, move_rows):
        in_threads(partial(_move, move, square, places), pieces, threads=threads, pause=pause)


def _move(
    move: Callable[..., None],
    square: NDArray[np.float64],
    places: NDArray[np.int64],
    piece: slice,
) -> None:
    move(square, places, piece.start, piece.stop)

"""Kernel helper: distances between some leaves, from whatever holds or computes them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from clustergrid.pipeline._jit import jit
from clustergrid.storage.errors import DataValueError

__all__ = [
    "ENTRIES_ASKED",
    "MOST_LEAVES_WITHOUT_COMPILER",
    "Advance",
    "Blocks",
    "Source",
    "condensed_places",
    "source_of",
]

Advance = Callable[[int], None]
"""Called with how much more is done."""

Blocks = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[Any]]
"""Returns the distances ``(r, c)`` between observations ``(r,)`` and observations ``(c,)``."""

MOST_LEAVES_WITHOUT_COMPILER = 1024
"""Trees whose order is found with NumPy sooner than the compiler is loaded."""

ENTRIES_ASKED = 2**24
"""Distances that a function is asked for at a time, at most."""

_PAIRS_AT_ONCE = 64
_ROWS_A_PIECE = 128
_COLUMNS_A_TILE = 64


class Source(Protocol):
    """Where distances come from."""

    def square(
        self, leaves: NDArray[np.int64], pool: Executor | None, advance: Advance
    ) -> NDArray[np.float64]:
        """Return a square of which the lower triangle holds the distances between `leaves`.

        `advance` is told of entries as they are there, diagonal included.
        """
        ...

    def pairs(self, i: NDArray[np.int64], j: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the distances of some pairs."""
        ...


def condensed_places(i: Any, j: Any, n: int) -> Any:
    """Return where the distances of pairs ``i != j`` are in SciPy's condensed order.

    Examples
    --------
    >>> condensed_places(np.array([0, 2, 1]), np.array([1, 0, 3]), 4).tolist()
    [0, 1, 4]
    """
    low, high = np.minimum(i, j), np.maximum(i, j)
    return low * n - low * (low + 1) // 2 + high - low - 1


@dataclass(frozen=True, slots=True)
class _Held:
    """Distances in memory: a flat square, or a condensed vector."""

    values: NDArray[Any]
    n: int

    @property
    def is_square(self) -> bool:
        return len(self.values) == self.n**2

    def square(
        self, leaves: NDArray[np.int64], pool: Executor | None, advance: Advance
    ) -> NDArray[np.float64]:
        square = np.empty((len(leaves), len(leaves)))
        if self.n <= MOST_LEAVES_WITHOUT_COMPILER:
            row, column = np.tril_indices(len(leaves), -1)
            found = self.pairs(leaves[row], leaves[column])
            _refuse_not_finite(found)
            square[row, column] = found
            advance(_entries(0, len(leaves)))
            return square
        order = np.argsort(leaves)
        starts = range(0, len(leaves), _ROWS_A_PIECE)
        read = partial(
            _read_rows, self.values, self.n, self.is_square, leaves[order], order, square
        )
        # All have to be read before the first is turned.
        for done, work in enumerate((read, partial(_turn_rows, self.is_square, leaves, square))):
            worked = map(work, starts) if pool is None else pool.map(work, starts)
            for start, are_finite in zip(starts, worked, strict=True):
                if not are_finite:
                    raise _not_finite()
                # Half for either; of an odd number the second half is the larger.
                n_entries = _entries(start, min(start + _ROWS_A_PIECE, len(leaves)))
                advance((n_entries + done) // 2)
        return square

    def pairs(self, i: NDArray[np.int64], j: NDArray[np.int64]) -> NDArray[np.float64]:
        if self.is_square:
            places = np.maximum(i, j) * self.n + np.minimum(i, j)
        else:
            places = condensed_places(i, j, self.n)
        return np.asarray(self.values[places], np.float64)


@dataclass(frozen=True, slots=True)
class _Computed:
    """Distances that a function computes when they are asked for."""

    blocks: Blocks

    def square(
        self, leaves: NDArray[np.int64], pool: Executor | None, advance: Advance
    ) -> NDArray[np.float64]:
        del pool  # the function may have threads of its own
        square = np.empty((len(leaves), len(leaves)))
        rows_at_once = max(1, ENTRIES_ASKED // len(leaves))
        for start in range(0, len(leaves), rows_at_once):
            stop = min(start + rows_at_once, len(leaves))
            square[start:stop, :stop] = self._block(leaves[start:stop], leaves[:stop])
            advance(_entries(start, stop))
        return square

    def pairs(self, i: NDArray[np.int64], j: NDArray[np.int64]) -> NDArray[np.float64]:
        found = np.empty(len(i))
        for start in range(0, len(i), _PAIRS_AT_ONCE):
            some = slice(start, start + _PAIRS_AT_ONCE)
            found[some] = np.diagonal(self._block(i[some], j[some]))
        return found

    def _block(self, i: NDArray[np.int64], j: NDArray[np.int64]) -> NDArray[Any]:
        block = np.asarray(self.blocks(i, j))
        if block.shape != (len(i), len(j)):
            raise DataValueError(
                f"distances of {len(i)} and {len(j)} observations must have shape "
                f"{(len(i), len(j))}, got {block.shape}"
            )
        _refuse_not_finite(block)
        return block


def source_of(distances: NDArray[Any] | Blocks, n: int) -> Source:
    """Return where the distances of n observations come from.

    Raises
    ------
    DataValueError
        They are an array of another shape, or not finite.
    """
    if callable(distances):
        return _Computed(distances)
    distances = np.asarray(distances)
    if distances.shape == (n, n):
        return _Held(distances.reshape(-1), n)
    if distances.shape == (n * (n - 1) // 2,):
        return _Held(distances, n)
    raise DataValueError(
        f"the distances of {n} leaves are condensed, {n * (n - 1) // 2} entries, or a square, "
        f"got shape {distances.shape}"
    )


def _entries(first: int, stop: int) -> int:
    """Entries of some rows of a lower triangle, diagonal included."""
    return (stop * (stop + 1) - first * (first + 1)) // 2


def _refuse_not_finite(values: NDArray[Any]) -> None:
    if not np.isfinite(values).all():
        raise _not_finite()


def _not_finite() -> DataValueError:
    return DataValueError("optimal ordering takes finite distances, and some are NaN or infinite")


@jit
def _read_rows(
    values: NDArray[Any],
    n: int,
    is_square: bool,
    observations: NDArray[np.int64],
    rows: NDArray[np.int64],
    square: NDArray[np.float64],
    first: int,
) -> bool:
    """Copy some observations' distances to those before (a square) or after them (condensed).

    They are read in the order in which they lie: each observation's into the row of its leaf,
    before or behind the diagonal. False if not all are finite.
    """
    finite = True
    for at in range(first, min(first + _ROWS_A_PIECE, len(rows))):
        a, row = observations[at], square[rows[at]]
        if is_square:
            begin, start, stop = a * n, 0, at
        else:
            begin, start, stop = a * n - a * (a + 1) // 2 - a - 1, at + 1, len(rows)
        for other in range(start, stop):
            value = values[begin + observations[other]]
            finite &= np.isfinite(value)
            row[rows[other]] = value
    return finite


@jit
def _turn_rows(
    is_square: bool, leaves: NDArray[np.int64], square: NDArray[np.float64], first: int
) -> bool:
    """Bring what is behind the diagonal before it, in some rows: tile by tile, for the cache."""
    stop = min(first + _ROWS_A_PIECE, len(leaves))
    for begin in range(0, stop, _COLUMNS_A_TILE):
        for row in range(max(first, begin + 1), stop):
            a = leaves[row]
            for column in range(begin, min(begin + _COLUMNS_A_TILE, row)):
                if (leaves[column] > a) == is_square:
                    square[row, column] = square[column, row]
    return True

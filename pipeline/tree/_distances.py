"""Kernel helper: distances between some leaves, from whatever holds or computes them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from clustergrid.storage.errors import DataValueError

__all__ = ["Blocks", "Source", "condensed_places", "source_of"]

Blocks = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[Any]]
"""Returns the distances ``(r, c)`` between observations ``(r,)`` and observations ``(c,)``."""

_ENTRIES_AT_ONCE = 2**24
_PAIRS_AT_ONCE = 64
_ROWS_A_PIECE = 256


class Source(Protocol):
    """Where distances come from."""

    def square(self, leaves: NDArray[np.int64], pause: Callable[[], None]) -> NDArray[np.float64]:
        """Return a square of which the lower triangle holds the distances between `leaves`."""
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
    """Distances in memory, each at the place that a pair of leaves has."""

    values: NDArray[Any]
    places: Callable[[Any, Any], Any]

    def square(self, leaves: NDArray[np.int64], pause: Callable[[], None]) -> NDArray[np.float64]:
        square = np.empty((len(leaves), len(leaves)))
        for row in range(1, len(leaves)):
            found = self.values[self.places(leaves[row], leaves[:row])]
            _refuse_not_finite(found)
            square[row, :row] = found
            if row % _ROWS_A_PIECE == 0:
                pause()
        return square

    def pairs(self, i: NDArray[np.int64], j: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.asarray(self.values[self.places(i, j)], np.float64)


@dataclass(frozen=True, slots=True)
class _Computed:
    """Distances that a function computes when they are asked for."""

    blocks: Blocks

    def square(self, leaves: NDArray[np.int64], pause: Callable[[], None]) -> NDArray[np.float64]:
        square = np.empty((len(leaves), len(leaves)))
        rows_at_once = max(1, _ENTRIES_AT_ONCE // len(leaves))
        for start in range(0, len(leaves), rows_at_once):
            stop = min(start + rows_at_once, len(leaves))
            square[start:stop, :stop] = self._block(leaves[start:stop], leaves[:stop])
            pause()
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
        return _Held(distances.reshape(-1), lambda i, j: i * n + j)
    if distances.shape == (n * (n - 1) // 2,):
        return _Held(distances, lambda i, j: condensed_places(i, j, n))
    raise DataValueError(
        f"the distances of {n} leaves are condensed, {n * (n - 1) // 2} entries, or a square, "
        f"got shape {distances.shape}"
    )


def _refuse_not_finite(values: NDArray[Any]) -> None:
    if not np.isfinite(values).all():
        raise DataValueError(
            "optimal ordering takes finite distances, and some are NaN or infinite"
        )

"""Driver: products of sparse rows with a block of others, by whichever way is faster.

The features are walked in blocks, so that what is made of the right rows stays in a processor's
cache while all left rows pass by. Blocks, and ways, cannot be seen in a product: see
``_compressed.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Protocol

import numpy as np

from clustergrid.pipeline.engines import _compressed
from clustergrid.pipeline.engines._centred import CompressedRows
from clustergrid.storage.grid import slabs

__all__ = ["sparse_products"]

_PANEL_FEATURES = 1024
_COLUMN_ENTRIES = 2**16
"""Entries of right rows by columns, 10 bytes each."""
# Left rows whose sums with a block of right rows stay in the cache, if they are finished at once.
_ROWS_AT_ONCE = 128
# Right rows that a vector kernel works on while the other one meets one common entry ...
_PANEL_SPEED = 7.0
# ... and common entries that take as long as finding those of one feature.
_LOOKUP = 8.0

Entries = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, int]
"""Of rows in a block of features: ``data``, ``indices``, starts, stops, and the first feature."""


def sparse_products(
    left: CompressedRows, right: CompressedRows, n_features: int
) -> Iterator[tuple[slice, np.ndarray]]:
    """Multiply left rows with a block of right rows.

    Parameters
    ----------
    left, right
        ``(n, k)`` and ``(m, k)``, ``m`` at most 65,536.
    n_features
        ``k``.

    Yields
    ------
    part, products
        Some left rows, and their products in float64, ``(rows, at least m)``; columns beyond the
        right rows mean nothing. The array is used again for the next rows.
    """
    way: _Way = _Panels(right) if _prefers_panels(left, right, n_features) else _Columns(right)
    edges = np.array([*range(0, n_features, way.width(n_features)), n_features])
    left_cuts = _compressed.cut_rows(left.indices, left.indptr, edges)
    right_cuts = _compressed.cut_rows(right.indices, right.indptr, edges)
    height = min(len(left), _ROWS_AT_ONCE) if len(edges) == 2 else len(left)
    n_panels = -(-len(right) // _compressed.PANEL_ROWS)
    accumulator = np.empty((height, n_panels * _compressed.PANEL_ROWS))
    for block, (first, last) in enumerate(pairwise(edges.tolist())):
        starts, stops = right_cuts[block], right_cuts[block + 1]
        way.take((right.data, right.indices, starts, stops, first), last - first)
        for part in slabs(len(left), height):
            sums = accumulator[: part.stop - part.start]
            if first == 0:
                sums[:] = 0.0
            starts, stops = left_cuts[block, part], left_cuts[block + 1, part]
            way.add((left.data, left.indices, starts, stops, first), sums)
            if last == n_features:
                yield part, sums


def _prefers_panels(left: CompressedRows, right: CompressedRows, n_features: int) -> bool:
    """Whether all right rows at once are faster than common entries one by one."""
    right_entries = np.bincount(right.indices, minlength=n_features)
    common = int(right_entries[left.indices].sum())
    n_left = len(left.data)
    return common + _LOOKUP * n_left > n_left * len(right) / _PANEL_SPEED


class _Way(Protocol):
    """What is made of the right rows, and multiplied with the left ones."""

    def width(self, n_features: int) -> int:
        """Features of a block."""
        ...

    def take(self, right: Entries, width: int) -> None:
        """Go on to a block of features."""
        ...

    def add(self, left: Entries, sums: np.ndarray) -> None:
        """Add the products of some left rows in these features."""
        ...


class _Columns:
    """Right rows compressed by columns."""

    def __init__(self, right: CompressedRows) -> None:
        self._n_entries = max(1, len(right.data))
        self._columns = np.empty(0), np.empty(0), np.empty(0)

    def width(self, n_features: int) -> int:
        return max(_PANEL_FEATURES, _COLUMN_ENTRIES * n_features // self._n_entries)

    def take(self, right: Entries, width: int) -> None:
        self._columns = _compressed.by_columns(*right, width)

    def add(self, left: Entries, sums: np.ndarray) -> None:
        _compressed.add_products(*left, *self._columns, sums)


class _Panels:
    """Right rows dense and transposed, a panel of some of them after another."""

    def __init__(self, right: CompressedRows) -> None:
        self._n_panels = -(-len(right) // _compressed.PANEL_ROWS)
        self._dtype = _smallest_dtype(right.data)
        self._panels = np.empty((0, 0, 0), self._dtype)

    def width(self, n_features: int) -> int:
        del n_features
        return _PANEL_FEATURES

    def take(self, right: Entries, width: int) -> None:
        if self._panels.shape[1] < width:
            shape = self._n_panels, width, _compressed.PANEL_ROWS
            self._panels = np.empty(shape, self._dtype)
        _compressed.fill_panels(*right, self._panels)

    def add(self, left: Entries, sums: np.ndarray) -> None:
        shape = len(sums), self._n_panels, _compressed.PANEL_ROWS
        _compressed.add_panel_products(*left, self._panels, sums.reshape(shape))


def _smallest_dtype(values: np.ndarray) -> type[np.floating]:
    """Half as much to read where float32 holds the values exactly."""
    with np.errstate(over="ignore"):
        exact = np.array_equal(values.astype(np.float32), values)
    return np.float32 if exact else np.float64

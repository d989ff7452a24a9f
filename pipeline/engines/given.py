"""Driver: what a tile task is given: the matrix, the metric, and what was found out beforehand."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from clustergrid.pipeline.engines.sparse import SparseInput
from clustergrid.pipeline.keywords import MetricKeywords
from clustergrid.pipeline.metrics import Engine, Function, Metric, get_metric
from clustergrid.pipeline.normalize import Normalization
from clustergrid.storage.grid import BLOCK_ROWS, band_rows, slabs, strips
from clustergrid.storage.source import MatrixSource
from clustergrid.storage.sparse import CompressedParts, SparseSource, as_sparse, dense_block

__all__ = ["DistanceInput", "RecentOperands", "blocks_of", "holds_booleans", "loaded"]


class _Slab:
    """Operands of the blocks of some rows; the first thread that wants them makes them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._operands: dict[int, Any] | None = None

    def operands(self, rows: slice, make: Callable[[slice], Any]) -> dict[int, Any]:
        with self._lock:
            if self._operands is None:
                self._operands = {block.start: make(block) for block in blocks_of(rows)}
            return self._operands


class RecentOperands:
    """Operands for the next tile, for all threads of a process: of a band, and the last right."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._left: dict[int, _Slab] = {}
        self._right: dict[int, _Slab] = {}
        self._tile_edge = 1

    def of_tile(
        self, rows: slice, columns: slice, make: Callable[[slice], Any]
    ) -> tuple[dict[int, Any], dict[int, Any]]:
        """Left and right operands of a tile, by where their blocks of rows begin."""
        with self._lock:
            known = self._right | self._left
            left = known.get(rows.start) or _Slab()
            right = left if rows == columns else known.get(columns.start) or _Slab()
            self._left.pop(rows.start, None)
            self._left[rows.start] = left
            self._tile_edge = max(self._tile_edge, rows.stop - rows.start)  # of all but the last
            if len(self._left) > band_rows(self._tile_edge):
                del self._left[next(iter(self._left))]
            self._right = {columns.start: right}
        return left.operands(rows, make), right.operands(columns, make)


@dataclass(frozen=True, kw_only=True, eq=False)
class DistanceInput:
    """All that a tile task needs to know besides its place.

    Attributes
    ----------
    source
        The matrix, ``(n, k)``: observations in rows.
    normalization
        Applied to every block that is read.
    name
        Name of the metric, or a function.
    keywords
        Of the metric, those that follow from the data included.
    engine
        As `engine_for` chose.
    dtype
        Name of the distances' type: float32 or float64.
    centre
        ``(k,)`` subtracted from the operands of a product; None: nothing.
    weights
        ``(k,)`` of the features in sums of squares and products; None: all are one.
    squares
        ``(n,)`` squared lengths of the rows that products are made of, before `scale`.
    totals
        ``(n, 2)`` mean (or sum) and sum of squares of every row, as the metric wants them.
    features_at_once
        Features of a slab that is held in memory; a multiple of `BLOCK_FEATURES`.
    scale
        Power of two that the operands of a centred product are multiplied by.
    transform
        ``(k, k)`` that centred rows are multiplied by first, so that Euclidean distances of them
        are the wanted ones; None: nothing.
    sparse
        What the engine ``sparse`` needs, and no other.
    """

    source: MatrixSource
    normalization: Normalization
    name: str | Function
    engine: Engine
    dtype: str
    totals: np.ndarray
    features_at_once: int
    keywords: MetricKeywords = field(default_factory=MetricKeywords)
    centre: np.ndarray | None = None
    weights: np.ndarray | None = None
    squares: np.ndarray | None = None
    scale: float = 1.0
    transform: np.ndarray | None = None
    sparse: SparseInput | None = None

    @cached_property
    def metric(self) -> Metric:
        """The metric with its keywords."""
        return get_metric(self.name, self.keywords)

    @property
    def n_features(self) -> int:
        """Of the whole matrix."""
        return self.source.shape[1]

    @property
    def is_whole(self) -> bool:
        """Whether all features are held at once."""
        return self.n_features <= self.features_at_once

    @property
    def is_boolean(self) -> bool:
        """Whether the values that are compared are booleans."""
        return holds_booleans(self.source, self.normalization)

    @property
    def compressed(self) -> SparseSource | None:
        """The matrix, where bits are packed from what it stores; None: from dense blocks."""
        if self.engine != "counts" or self.normalization.axis is not None:
            return None
        return as_sparse(self.source)

    @cached_property
    def recent(self) -> RecentOperands:
        """What the tasks of this process need not make again."""
        return RecentOperands()

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what is made again where it is wanted."""
        again = ("metric", "recent")
        return {name: value for name, value in self.__dict__.items() if name not in again}

    def slabs(self) -> list[slice]:
        """Slabs of features that are held at once."""
        return list(slabs(self.n_features, self.features_at_once))

    def values(self, rows: slice, features: slice) -> np.ndarray:
        """Read normalized values, float64 and C-contiguous."""
        block = self.source.read(rows, features)
        return self.normalization.apply(block, rows, features)

    def raw_values(self, rows: slice, features: slice) -> np.ndarray:
        """Read normalized values, C-contiguous; float32 where nothing is done to them."""
        block = self.source.read(rows, features)
        if self.normalization.axis is None and block.dtype == np.float32:
            return np.ascontiguousarray(block)
        return self.normalization.apply(block, rows, features)

    def some_values(self, rows: slice, indices: np.ndarray, features: slice) -> np.ndarray:
        """Read normalized values of some rows of a block, float64 and C-contiguous."""
        block = self.source.read(rows, features)[indices]
        return self.normalization.apply(block, rows.start + indices, features)

    def strips(self, rows: slice, features: slice) -> Iterator[tuple[slice, np.ndarray]]:
        """Read normalized values, float64, some rows at a time, which stay in the cache.

        Yields
        ------
        tuple
            Rows of the matrix, and their values, C-contiguous.
        """
        block = self.source.read(rows, features)
        for part in strips(*block.shape):
            place = slice(rows.start + part.start, rows.start + part.stop)
            yield place, self.normalization.apply(block[part], place, features)

    def unit_values(self, rows: slice, features: slice) -> np.ndarray:
        """Read rows of length one, float64."""
        return self.of_length_one(self.values(rows, features), rows)

    def of_length_one(self, values: np.ndarray, rows: slice) -> np.ndarray:
        """Bring rows that were read to length one, as the metric wants it."""
        means, lengths = self.means_and_lengths(rows)
        values = values - means[:, None]
        values /= lengths[:, None]
        return values

    def means_and_lengths(self, rows: slice | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return what unit rows are made with: subtracted from each, and what it is divided by."""
        totals = self.totals[rows]
        means = totals[:, 0] if self.metric.totals == "deviations" else np.zeros(len(totals))
        return np.ascontiguousarray(means), np.sqrt(totals[:, 1])


@dataclass(frozen=True, slots=True)
class _LoadedRows:
    """The rows of one tile, under the numbers that they have in the matrix, read when wanted."""

    source: MatrixSource
    parts: tuple[slice, ...]
    values: dict[int, np.ndarray] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, int]:
        return self.source.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.source.dtype

    @property
    def chunks(self) -> tuple[int, int]:
        return self.shape

    def read(self, rows: slice, columns: slice) -> np.ndarray:
        for part in self.parts:
            if part.start <= rows.start and rows.stop <= part.stop:
                if part.start not in self.values:
                    self.values[part.start] = self.source.read(part, slice(0, self.shape[1]))
                values = self.values[part.start]
                return values[rows.start - part.start : rows.stop - part.start, columns]
        raise IndexError(f"rows {rows.start} to {rows.stop} are not of this tile")

    def transpose(self) -> MatrixSource:
        raise TypeError("the rows of a tile have no transpose")


@dataclass(frozen=True, slots=True)
class _LoadedEntries:
    """The same, as a sparse matrix stores them."""

    shape: tuple[int, int]
    dtype: np.dtype[Any]
    parts: tuple[tuple[slice, CompressedParts], ...]

    @property
    def chunks(self) -> tuple[int, int]:
        return self.shape

    @property
    def n_stored(self) -> int:
        return sum(len(data) for _, (data, _, _) in self.parts)

    def read(self, rows: slice, columns: slice) -> np.ndarray:
        return dense_block(self.read_compressed(rows), self.shape[1], columns)

    def read_compressed(self, rows: slice) -> CompressedParts:
        for part, (data, indices, indptr) in self.parts:
            if part.start <= rows.start and rows.stop <= part.stop:
                pointers = indptr[rows.start - part.start : rows.stop - part.start + 1]
                entries = slice(int(pointers[0]), int(pointers[-1]))
                return data[entries], indices[entries], pointers - pointers[0]
        raise IndexError(f"rows {rows.start} to {rows.stop} are not of this tile")

    def transpose(self) -> SparseSource:
        raise TypeError("the rows of a tile have no transpose")


def holds_booleans(source: MatrixSource, normalization: Normalization) -> bool:
    """Whether a matrix, normalized, holds booleans."""
    return source.dtype == np.bool_ and normalization.axis is None


def loaded(given: DistanceInput, rows: slice, columns: slice) -> DistanceInput:
    """Read a tile's rows once: blocks of a chunk would each decompress the whole of it."""
    parts, compressed = _different(rows, columns), given.compressed
    source: MatrixSource = _LoadedRows(given.source, tuple(parts))
    if compressed is not None:
        stored = [(part, compressed.read_compressed(part)) for part in parts]
        source = _LoadedEntries(given.source.shape, given.source.dtype, tuple(stored))
    return replace(given, source=source)


def _different(rows: slice, columns: slice) -> list[slice]:
    return [rows] if rows == columns else [rows, columns]


def blocks_of(rows: slice) -> Iterator[slice]:
    """Blocks of `BLOCK_ROWS`, counted from row 0 of the matrix, that make up some rows."""
    for block in slabs(rows.stop - rows.start, BLOCK_ROWS):
        yield slice(rows.start + block.start, rows.start + block.stop)

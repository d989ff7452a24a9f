"""Driver: statistics of a matrix in one pass, and the normalization that follows from them.

The matrix is read once in blocks of fixed size, counted from its corner. Each block's moments are
merged in the blocks' order (Chan, Golub and LeVeque 1983), so means and deviations are the same
to the bit whatever the chunks and however many tasks ran at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace

import numpy as np

from clustergrid.pipeline.execution import Executor
from clustergrid.pipeline.kernels import STATISTICS, block_statistics
from clustergrid.pipeline.monitor import Progress
from clustergrid.pipeline.sparse_statistics import sparse_statistics
from clustergrid.pipeline.spec import check_normalization
from clustergrid.storage.grid import READ_BLOCK, slabs
from clustergrid.storage.source import MatrixSource
from clustergrid.storage.sparse import as_sparse

__all__ = [
    "AxisStatistics",
    "MatrixStatistics",
    "Normalization",
    "matrix_statistics",
    "normalized_statistics",
]

STATISTICS_BLOCK = READ_BLOCK
"""Rows and columns of one block of the statistics pass."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AxisStatistics:
    """Statistics of every row (or of every column), NaN left out.

    Attributes
    ----------
    count
        ``(n,)`` values that are not NaN.
    mean, m2
        ``(n,)`` float64: the mean, and the sum of squared deviations from it.
    minimum, maximum
        ``(n,)`` float64; infinite where there is no value.
    infinite
        ``(n,)`` values that are infinite.
    """

    count: np.ndarray
    mean: np.ndarray
    m2: np.ndarray
    minimum: np.ndarray
    maximum: np.ndarray
    infinite: np.ndarray

    def to_array(self) -> np.ndarray:
        """Return ``(6, n)`` float64: the attributes in their order, for a store."""
        return np.stack([np.asarray(getattr(self, each.name), np.float64) for each in fields(self)])

    @classmethod
    def from_array(cls, values: np.ndarray) -> AxisStatistics:
        """Make statistics of what `to_array` gave."""
        count, mean, m2, minimum, maximum, infinite = values
        return cls(
            count=count.astype(np.int64),
            mean=mean,
            m2=m2,
            minimum=minimum,
            maximum=maximum,
            infinite=infinite.astype(np.int64),
        )

    @property
    def standard_deviation(self) -> np.ndarray:
        """``(n,)`` sample standard deviations (ddof = 1, as pandas), NaN below two values.

        Exactly zero for constant values, whose mean may be off by a rounding.
        """
        degrees = np.where(self.count > 1, self.count - 1, np.nan)
        deviation: np.ndarray = np.sqrt(self.m2 / degrees)
        deviation[(self.minimum == self.maximum) & (self.count > 1)] = 0.0
        return deviation


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MatrixStatistics:
    """What one pass over the matrix tells of its rows and of its columns."""

    rows: AxisStatistics
    columns: AxisStatistics

    def axis(self, axis: int) -> AxisStatistics:
        """Statistics of the rows (0) or of the columns (1)."""
        return self.columns if axis else self.rows

    def transpose(self) -> MatrixStatistics:
        """Return the statistics of the transposed matrix."""
        return MatrixStatistics(rows=self.columns, columns=self.rows)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Normalization:
    """``(value - shift) / scale`` along one axis of the matrix; nothing where axis is None.

    Attributes
    ----------
    axis
        0: every row has a shift and a scale; 1: every column; None: values stay.
    shift, scale
        ``(n,)`` float64.
    argument
        The argument that asked for it, for errors.
    """

    axis: int | None = None
    shift: np.ndarray | None = None
    scale: np.ndarray | None = None
    argument: str = ""

    def apply(
        self, block: np.ndarray, rows: slice | np.ndarray, columns: slice | np.ndarray
    ) -> np.ndarray:
        """Normalize the block ``[rows, columns]`` of the matrix, in float64.

        Returns the block itself where nothing is to be done and it is float64 already.
        """
        if self.axis is None or self.shift is None or self.scale is None:
            return np.ascontiguousarray(block, dtype=np.float64)
        part = rows if self.axis == 0 else columns
        shift, scale = self.shift[part], self.scale[part]
        if self.axis == 0:
            shift, scale = shift[:, None], scale[:, None]
        with np.errstate(divide="ignore", invalid="ignore"):
            normalized: np.ndarray = np.subtract(block, shift, dtype=np.float64, order="C")
            normalized /= scale
        return normalized

    def transpose(self) -> Normalization:
        """Return the same normalization of the transposed matrix."""
        axis = None if self.axis is None else 1 - self.axis
        return replace(self, axis=axis)

    @classmethod
    def z_score(cls, statistics: MatrixStatistics, axis: int) -> Normalization:
        """Subtract the mean and divide by the sample standard deviation."""
        along = statistics.axis(axis)
        return cls(axis=axis, shift=along.mean, scale=along.standard_deviation, argument="z_score")

    @classmethod
    def standard_scale(cls, statistics: MatrixStatistics, axis: int) -> Normalization:
        """Subtract the minimum and divide by the range."""
        along = statistics.axis(axis)
        with np.errstate(invalid="ignore"):  # rows of infinities
            scale = along.maximum - along.minimum
        return cls(axis=axis, shift=along.minimum, scale=scale, argument="standard_scale")

    @classmethod
    def from_arguments(
        cls, statistics: MatrixStatistics, z_score: int | None, standard_scale: int | None
    ) -> Normalization:
        """Make the normalization that seaborn's two arguments ask for.

        Raises
        ------
        DataValueError
            A ValueError: both are given, or one is neither 0 nor 1.
        """
        check_normalization(z_score, standard_scale)
        if z_score is not None:
            return cls.z_score(statistics, z_score)
        if standard_scale is not None:
            return cls.standard_scale(statistics, standard_scale)
        return cls()


def _statistics_of(
    source: MatrixSource, block: tuple[slice, slice]
) -> tuple[slice, slice, np.ndarray, np.ndarray]:
    values = np.ascontiguousarray(source.read(*block), dtype=np.float64)
    return *block, *block_statistics(values)


def matrix_statistics(
    source: MatrixSource, executor: Executor, progress: Progress
) -> MatrixStatistics:
    """Read the matrix once and return the statistics of its rows and columns.

    Parameters
    ----------
    source
        The matrix, ``(n, k)``.
    executor
        Where the blocks are read; the result does not depend on it.
    progress
        Told of every finished block, as stage ``"statistics"``.
    """
    sparse = as_sparse(source)
    if sparse is not None:
        return _merge_in_order(sparse_statistics(sparse, executor, progress))
    n, k = source.shape
    row_slabs, column_slabs = list(slabs(n, STATISTICS_BLOCK)), list(slabs(k, STATISTICS_BLOCK))
    by_rows = np.empty((len(column_slabs), n, len(STATISTICS)))
    by_columns = np.empty((len(row_slabs), k, len(STATISTICS)))
    blocks = [(rows, columns) for rows in row_slabs for columns in column_slabs]
    with progress.stage("statistics", total=n * k * source.dtype.itemsize, unit="bytes") as stage:
        for rows, columns, of_rows, of_columns in executor.map(
            _statistics_of, executor.share(source), blocks, name="statistics"
        ):
            by_rows[columns.start // STATISTICS_BLOCK, rows] = of_rows
            by_columns[rows.start // STATISTICS_BLOCK, columns] = of_columns
            stage.advance(len(of_rows) * len(of_columns) * source.dtype.itemsize)
    return MatrixStatistics(rows=_merge(by_rows), columns=_merge(by_columns))


@dataclass(frozen=True)
class _NormalizedSource:
    """A matrix as tasks see it once it is normalized."""

    source: MatrixSource
    normalization: Normalization

    dtype = np.dtype(np.float64)

    @property
    def shape(self) -> tuple[int, int]:
        return self.source.shape

    @property
    def chunks(self) -> tuple[int, int]:
        return self.source.chunks

    def read(self, rows: slice, columns: slice) -> np.ndarray:
        return self.normalization.apply(self.source.read(rows, columns), rows, columns)

    def transpose(self) -> _NormalizedSource:
        return _NormalizedSource(self.source.transpose(), self.normalization.transpose())


def normalized_statistics(
    source: MatrixSource,
    statistics: MatrixStatistics,
    normalization: Normalization,
    executor: Executor,
    progress: Progress,
) -> MatrixStatistics:
    """Return the statistics of the normalized matrix; where it is normalized, from another pass."""
    if normalization.axis is None:
        return statistics
    return matrix_statistics(_NormalizedSource(source, normalization), executor, progress)


def _merge_in_order(
    blocks: Iterable[tuple[slice, np.ndarray, np.ndarray]],
) -> MatrixStatistics:
    """Put the statistics of blocks of whole rows together, one block after another."""
    of_rows, merged = [], np.empty((0, 0))
    for _, rows, columns in blocks:
        of_rows.append(rows)
        if len(merged):
            _merge_into(merged, columns)
        else:
            merged = columns.copy()
    return MatrixStatistics(rows=_finished(np.concatenate(of_rows)), columns=_finished(merged))


def _merge(partial: np.ndarray) -> AxisStatistics:
    """Merge ``(blocks, n, 7)`` statistics in the order of the blocks."""
    merged = partial[0].copy()
    for other in partial[1:]:
        _merge_into(merged, other)
    return _finished(merged)


def _merge_into(merged: np.ndarray, other: np.ndarray) -> None:
    count = merged[:, 0] + other[:, 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(count > 0, other[:, 0] / count, 0.0)
        # With what the means lost to rounding: far from zero that is most of a difference.
        difference = (other[:, 1] - merged[:, 1]) + (other[:, 6] - merged[:, 6])
        merged[:, 2] += other[:, 2] + difference * difference * merged[:, 0] * share
        moved = merged[:, 6] + difference * share
        mean = merged[:, 1] + moved
        merged[:, 6] = (merged[:, 1] - mean) + moved
        merged[:, 1] = mean
    merged[:, 0] = count
    merged[:, 3] = np.minimum(merged[:, 3], other[:, 3])
    merged[:, 4] = np.maximum(merged[:, 4], other[:, 4])
    merged[:, 5] += other[:, 5]


def _finished(merged: np.ndarray) -> AxisStatistics:
    return AxisStatistics(
        count=merged[:, 0].astype(np.int64),
        mean=np.where(merged[:, 0] > 0, merged[:, 1], np.nan),
        m2=merged[:, 2],
        minimum=merged[:, 3],
        maximum=merged[:, 4],
        infinite=merged[:, 5].astype(np.int64),
    )

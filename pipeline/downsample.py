"""Driver: the picture's pixels from one pass over the matrix, in any row and column order.

Every value is added to the pixel that its row's and column's places in the clustered matrix fall
into, so the reordered matrix is never made. A pixel is a rectangle of whole cells, and its value
their mean. With a pixel for every cell, the image is the reordered matrix itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clustergrid.pipeline._jit import jit
from clustergrid.pipeline.execution import Executor
from clustergrid.pipeline.footprint import MOST_PARTIAL_IMAGES
from clustergrid.pipeline.monitor import Progress
from clustergrid.pipeline.normalize import MatrixStatistics, Normalization
from clustergrid.storage.grid import READ_BLOCK, round_up, slabs
from clustergrid.storage.source import ArraySource, MatrixSource

__all__ = ["Cells", "ReducedImage", "pixel_edges", "reduce_image", "value_limits"]

_BLOCK = READ_BLOCK
_HISTOGRAM_BINS = 2**16
_SMALL_CELLS = 2**18


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ReducedImage:
    """An image of the clustered matrix.

    Attributes
    ----------
    values
        ``(p, q)`` float64: the mean of each pixel's cells, NaN where there is none to show.
    row_edges, column_edges
        ``(p + 1,)`` and ``(q + 1,)`` int64: pixel ``(a, b)`` covers the cells
        ``[row_edges[a], row_edges[a + 1]) x [column_edges[b], column_edges[b + 1])``.
    """

    values: np.ndarray
    row_edges: np.ndarray
    column_edges: np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cells:
    """The cells to show: normalized values, without the masked ones."""

    source: MatrixSource
    normalization: Normalization
    mask: MatrixSource | None = None

    def values(self, rows: slice, columns: slice) -> np.ndarray:
        """Return a block in float64, NaN where masked."""
        block = self.source.read(rows, columns)
        values = self.normalization.apply(block, rows, columns)
        if self.mask is None:
            return values
        return np.where(self.mask.read(rows, columns), np.nan, values)


def pixel_edges(cells: int, pixels: int) -> np.ndarray:
    """Cut `cells` into `pixels` runs whose lengths differ by at most one.

    Examples
    --------
    >>> pixel_edges(10, 4).tolist()
    [0, 3, 5, 8, 10]
    >>> pixel_edges(3, 8).tolist()
    [0, 1, 2, 3]
    """
    pixels = max(1, min(cells, pixels))
    return -(-np.arange(pixels + 1, dtype=np.int64) * cells // pixels)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Scatter:
    cells: Cells
    row_pixel: np.ndarray
    column_pixel: np.ndarray
    shape: tuple[int, int]


@jit
def _scatter(
    values: np.ndarray,
    row_pixel: np.ndarray,
    column_pixel: np.ndarray,
    total: np.ndarray,
    count: np.ndarray,
) -> None:  # pragma: no cover - compiled
    """Add every value that is not NaN to its pixel."""
    for i in range(values.shape[0]):
        pixel_total = total[row_pixel[i]]
        pixel_count = count[row_pixel[i]]
        for j in range(values.shape[1]):
            value = values[i, j]
            if value == value:
                pixel_total[column_pixel[j]] += value
                pixel_count[column_pixel[j]] += 1


def _scatter_small(
    values: np.ndarray,
    row_pixel: np.ndarray,
    column_pixel: np.ndarray,
    total: np.ndarray,
    count: np.ndarray,
) -> None:
    """Do the same with NumPy, which needs no compiler, and some memory a value."""
    shown = ~np.isnan(values)
    pixel = (row_pixel[:, None] * total.shape[1] + column_pixel[None, :])[shown]
    count += np.bincount(pixel, minlength=count.size).reshape(count.shape)
    np.add.at(total.reshape(-1), pixel, values[shown])


def _partial_image(work: _Scatter, rows: slice) -> tuple[slice, np.ndarray, np.ndarray]:
    total = np.zeros(work.shape)
    count = np.zeros(work.shape, dtype=np.int64)
    n_columns = work.cells.source.shape[1]
    for part in slabs(rows.stop - rows.start, _BLOCK):
        block_rows = slice(rows.start + part.start, rows.start + part.stop)
        for columns in slabs(n_columns, _BLOCK):
            values = work.cells.values(block_rows, columns)
            # Both add the same values in the same order.
            scatter = _scatter if values.size > _SMALL_CELLS else _scatter_small
            scatter(values, work.row_pixel[block_rows], work.column_pixel[columns], total, count)
    return rows, total, count


def reduce_image(
    cells: Cells,
    row_order: np.ndarray,
    column_order: np.ndarray,
    shape: tuple[int, int],
    *,
    executor: Executor,
    progress: Progress,
) -> ReducedImage:
    """Reduce the clustered matrix to an image.

    Parameters
    ----------
    cells
        The matrix, ``(n, k)``.
    row_order, column_order
        ``(n,)`` and ``(k,)`` int: which row (column) stands where.
    shape
        Pixels wanted; an axis with fewer cells gets a pixel a cell.
    executor, progress
        Where the pass runs, and who is told, as stage ``"downsample"``. The image does not depend
        on the executor: partial images are added in their order.
    """
    n, k = cells.source.shape
    row_edges, column_edges = pixel_edges(n, shape[0]), pixel_edges(k, shape[1])
    total = np.zeros((len(row_edges) - 1, len(column_edges) - 1))
    count = np.zeros(total.shape, dtype=np.int64)
    work = _Scatter(
        cells=cells,
        row_pixel=_pixel_of(row_order, row_edges),
        column_pixel=_pixel_of(column_order, column_edges),
        shape=(total.shape[0], total.shape[1]),
    )
    step = round_up(-(-n // MOST_PARTIAL_IMAGES), _BLOCK)
    waiting: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    due = 0
    row_bytes = k * cells.source.dtype.itemsize
    with progress.stage("downsample", total=n, unit="rows", unit_bytes=row_bytes) as stage:
        for rows, part_total, part_count in executor.map(
            _partial_image, executor.share(work), slabs(n, step), name="downsample"
        ):
            waiting[rows.start // step] = (part_total, part_count)
            while due in waiting:
                part_total, part_count = waiting.pop(due)
                total += part_total
                count += part_count
                due += 1
            stage.advance(rows.stop - rows.start)
    with np.errstate(invalid="ignore"):
        values = total / np.where(count > 0, count, np.nan)
    return ReducedImage(values=values, row_edges=row_edges, column_edges=column_edges)


def _pixel_of(order: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Pixel of each original row: the pixel of its place in the order."""
    pixel = np.empty(len(order), dtype=np.int64)
    pixel[np.asarray(order)] = np.repeat(np.arange(len(edges) - 1), np.diff(edges))
    return pixel


def value_limits(
    cells: Cells,
    statistics: MatrixStatistics,
    *,
    robust: bool,
    executor: Executor,
    progress: Progress,
) -> tuple[float, float]:
    """Least and greatest value to show, or the 2nd and 98th percentile.

    In memory the percentiles are NumPy's. Otherwise they come from a histogram of 65,536 bins
    over the range, so each is off by at most that part of the range. Infinities are left out.

    Returns
    -------
    tuple of float
        NaN where there is nothing to show.
    """
    needs_pass = cells.mask is not None or bool(statistics.rows.infinite.any())
    if isinstance(cells.source, ArraySource) and (robust or needs_pass):
        values = cells.values(slice(0, cells.source.shape[0]), slice(0, cells.source.shape[1]))
        values = values[np.isfinite(values)]
        if not values.size:
            return np.nan, np.nan
        if robust:
            low, high = np.percentile(values, [2, 98])
            return float(low), float(high)
        return float(values.min()), float(values.max())
    if not needs_pass:
        low, high = _limits_from_statistics(cells.normalization, statistics)
    else:
        low, high = _limits_from_pass(cells, executor, progress)
    if robust and low < high:
        return _robust_limits(cells, low, high, executor, progress)
    return low, high


def _limits_from_statistics(
    normalization: Normalization, statistics: MatrixStatistics
) -> tuple[float, float]:
    axis = normalization.axis or 0
    along = statistics.axis(axis)
    low, high = along.minimum, along.maximum
    if normalization.axis is not None:
        with np.errstate(divide="ignore", invalid="ignore"):
            low = (low - normalization.shift) / normalization.scale
            high = (high - normalization.shift) / normalization.scale
    low, high = low[np.isfinite(low)], high[np.isfinite(high)]
    if not len(low) or not len(high):
        return np.nan, np.nan
    return float(low.min()), float(high.max())


def _extremes(cells: Cells, rows: slice) -> tuple[float, float]:
    low, high = np.inf, -np.inf
    for columns in slabs(cells.source.shape[1], _BLOCK):
        values = cells.values(rows, columns)
        finite = np.isfinite(values)
        low = min(low, float(np.min(values, initial=np.inf, where=finite)))
        high = max(high, float(np.max(values, initial=-np.inf, where=finite)))
    return low, high


def _limits_from_pass(cells: Cells, executor: Executor, progress: Progress) -> tuple[float, float]:
    n, k = cells.source.shape
    low, high = np.inf, -np.inf
    row_bytes = k * cells.source.dtype.itemsize
    with progress.stage("limits", total=n, unit="rows", unit_bytes=row_bytes) as stage:
        for part in executor.map(_extremes, executor.share(cells), slabs(n, _BLOCK), name="limits"):
            low, high = min(low, part[0]), max(high, part[1])
            stage.advance(min(_BLOCK, n - stage.done))
    return (low, high) if low <= high else (np.nan, np.nan)


@dataclass(frozen=True, slots=True)
class _Histogram:
    cells: Cells
    edges: np.ndarray

    def of(self, rows: slice) -> np.ndarray:
        counts = np.zeros(len(self.edges) - 1, dtype=np.int64)
        for columns in slabs(self.cells.source.shape[1], _BLOCK):
            values = self.cells.values(rows, columns)
            counts += np.histogram(values[np.isfinite(values)], bins=self.edges)[0]
        return counts


def _robust_limits(
    cells: Cells, low: float, high: float, executor: Executor, progress: Progress
) -> tuple[float, float]:
    edges = np.linspace(low, high, _HISTOGRAM_BINS + 1)
    counts = np.zeros(_HISTOGRAM_BINS, dtype=np.int64)
    n, k = cells.source.shape
    row_bytes = k * cells.source.dtype.itemsize
    with progress.stage("quantiles", total=n, unit="rows", unit_bytes=row_bytes) as stage:
        for part in executor.map(
            _Histogram.of,
            executor.share(_Histogram(cells, edges)),
            slabs(n, _BLOCK),
            name="quantiles",
        ):
            counts += part
            stage.advance(min(_BLOCK, n - stage.done))
    cumulative = np.concatenate([[0], np.cumsum(counts)])
    wanted = np.array([0.02, 0.98]) * (cumulative[-1] - 1) + 0.5
    below, above = np.interp(wanted, cumulative, edges)
    return float(below), float(above)

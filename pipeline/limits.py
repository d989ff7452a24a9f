"""Driver: the limits of a picture's colours: extremes, or the 2nd and the 98th percentile."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clustergrid.pipeline.cells import Cells
from clustergrid.pipeline.execution import Executor
from clustergrid.pipeline.grouped import GroupedWork
from clustergrid.pipeline.image_plan import EXACT_CELLS, ImageWork
from clustergrid.pipeline.monitor import Progress
from clustergrid.pipeline.normalize import MatrixStatistics, Normalization
from clustergrid.pipeline.quantiles import Search, count_bits
from clustergrid.storage.grid import slabs

__all__ = ["value_limits"]

_SHARES = (0.02, 0.98)


def value_limits(
    cells: Cells,
    statistics: MatrixStatistics,
    *,
    robust: bool,
    executor: Executor,
    progress: Progress,
) -> tuple[float, float]:
    """Least and greatest value to show, or the 2nd and 98th percentile. Infinities are left out.

    Up to two million values the percentiles are NumPy's. Of more they come from counts of leading
    bits (`clustergrid.pipeline.quantiles`): those of float32 that is not normalized are exact, and
    others are off by at most 0.01 % of the values in rank. They depend neither on the chunks nor
    on the executor.

    Returns
    -------
    tuple of float
        NaN where there is nothing to show.
    """
    needs_pass = cells.mask is not None or bool(statistics.rows.infinite.any())
    if robust:
        return _percentiles(cells, executor, progress)
    if needs_pass:
        return _extremes(cells, executor, progress)
    return _limits_from_statistics(cells.normalization, statistics)


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


def _merge_extremes(found: tuple[np.ndarray, ...], other: tuple[np.ndarray, ...]) -> None:
    np.fmin(found[0], other[0], out=found[0])
    np.fmax(found[1], other[1], out=found[1])


def _extremes_of(cells: Cells, rows: slice) -> tuple[np.ndarray, ...]:
    low, high = np.full(1, np.nan), np.full(1, np.nan)
    for region in _regions(cells, rows):
        values = cells.values(*region)
        finite = values[np.isfinite(values)]
        if len(finite):
            _merge_extremes((low, high), (finite.min(), finite.max()))
    return low, high


def _extremes(cells: Cells, executor: Executor, progress: Progress) -> tuple[float, float]:
    low, high = np.full(1, np.nan), np.full(1, np.nan)
    work = _cut(cells)
    with progress.stage(
        "limits", total=cells.shape[0], unit="rows", unit_bytes=cells.row_bytes
    ) as stage:
        extremes = GroupedWork(
            function=_extremes_of,
            merge=_merge_extremes,
            shared=executor.share(cells),
            groups=work.groups,
            name="limits",
            on_item=lambda rows: stage.advance(rows.stop - rows.start),
        )
        for _, found in executor.merge_groups(extremes):
            _merge_extremes((low, high), found)
    return float(low[0]), float(high[0])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Counted:
    """What a pass counts."""

    cells: Cells
    digits: int
    prefixes: np.ndarray

    def of(self, rows: slice) -> tuple[np.ndarray, ...]:
        """Count the values of some rows."""
        found: tuple[np.ndarray, ...] = ()
        is_plain = self.cells.are_single and self.cells.mask is None
        for region in _regions(self.cells, rows):
            values = self.cells.source.read(*region) if is_plain else self.cells.values(*region)
            if self.cells.are_single and not is_plain:
                values = values.astype(np.float32)
            found = count_bits(values, self.digits, self.prefixes, found)
        return found


def _merge_counts(found: tuple[np.ndarray, ...], other: tuple[np.ndarray, ...]) -> None:
    np.add(found[0], other[0], out=found[0])
    np.minimum(found[1], other[1], out=found[1])
    np.maximum(found[2], other[2], out=found[2])


def _percentiles(cells: Cells, executor: Executor, progress: Progress) -> tuple[float, float]:
    n, k = cells.shape
    if n * k <= EXACT_CELLS:
        with progress.stage("quantiles", total=1, unit="blocks"):
            values = cells.everything()
            values = values[np.isfinite(values)]
            if not len(values):
                return np.nan, np.nan
            low, high = np.quantile(values, _SHARES)
            return float(low), float(high)
    search = Search(_SHARES, np.dtype(np.float32 if cells.are_single else np.float64))
    work = _cut(cells)
    while not search.is_finished:
        counted = _Counted(cells=cells, digits=search.digits, prefixes=search.prefixes)
        name = f"quantiles-{search.digits + 1}" if search.digits else "quantiles"
        with progress.stage(name, total=n, unit="rows", unit_bytes=cells.row_bytes) as stage:
            whole: tuple[np.ndarray, ...] | None = None
            counts = GroupedWork(
                function=_Counted.of,
                merge=_merge_counts,
                shared=executor.share(counted),
                groups=work.groups,
                name=name,
                on_item=lambda rows: stage.advance(rows.stop - rows.start),
            )
            for _, found in executor.merge_groups(counts):
                if whole is None:
                    whole = tuple(array.copy() for array in found)
                else:
                    _merge_counts(whole, found)
        assert whole is not None
        search.take(*whole)
    low, high = search.quantiles
    return low, high


def _cut(cells: Cells) -> ImageWork:
    """Bands of rows, and what is read of them at once."""
    # A task's counts are some megabytes, as an image is.
    side = 2**10
    return ImageWork(shape=cells.shape, pixels=(min(side, cells.shape[0]), side))


def _regions(cells: Cells, rows: slice) -> list[tuple[slice, slice]]:
    at_once = _cut(cells).read_at_once(cells.source.chunks, cells.source.dtype.itemsize)
    return [
        (slice(rows.start + down.start, rows.start + down.stop), across)
        for down in slabs(rows.stop - rows.start, at_once[0])
        for across in slabs(cells.shape[1], at_once[1])
    ]

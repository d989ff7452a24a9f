"""Driver: the stages bound to one matrix, from statistics to trees and pixels.

`Stages` knows where the matrix is (memory or a store), where tasks run, and how much memory there
is; each method is one stage of the design, and gives a plain NumPy result. The picture and the
command are made of these.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from clustergrid.pipeline.bound_matrix import BoundMatrix
from clustergrid.pipeline.checks import (
    refuse_not_finite,
    refuse_one_observation,
    undefined_rows,
)
from clustergrid.pipeline.digests import array_digest
from clustergrid.pipeline.distance import (
    DistanceInput,
    UndefinedRowsError,
    compute_distances,
    distance_input,
    fill_square,
    read_square,
    write_distances,
)
from clustergrid.pipeline.downsample import Cells, ReducedImage, reduce_image, value_limits
from clustergrid.pipeline.duplicates import find_duplicates
from clustergrid.pipeline.hierarchy import Duplicates
from clustergrid.pipeline.hierarchy.small import condensed_of
from clustergrid.pipeline.metrics import SMALL_OBSERVATIONS, Function
from clustergrid.pipeline.order import check_optimal_ordering
from clustergrid.pipeline.order import optimal_ordering as order_optimally
from clustergrid.pipeline.planning import plan_run
from clustergrid.pipeline.precomputed import (
    check_square,
    hold_in_memory,
    put_at_rest,
    square_distances,
)
from clustergrid.pipeline.reorder import reordered_matrix
from clustergrid.pipeline.run_plan import check_scratch, planned_matrix
from clustergrid.pipeline.spec import (
    AXIS_NAMES,
    AxisSpec,
    RunSpec,
)
from clustergrid.pipeline.square import is_precomputed, refuse_normalized
from clustergrid.pipeline.tiling import Tiling
from clustergrid.pipeline.trees import merge_square
from clustergrid.storage.condensed import (
    CondensedDistances,
    DistanceDescription,
    allocate_condensed,
    create_condensed,
    open_condensed,
    write_tile,
)
from clustergrid.storage.errors import DataValueError
from clustergrid.storage.grid import TriangleGrid
from clustergrid.storage.identity import labels_along
from clustergrid.storage.source import ArraySource, MatrixSource

__all__ = ["Stages"]


class Stages(BoundMatrix):
    """The stages bound to one matrix; see `BoundMatrix` for its parameters."""

    def __init__(self, matrix: xr.DataArray, **kwargs: Any) -> None:
        super().__init__(matrix, **kwargs)
        self._linkages: dict[tuple[int, AxisSpec], np.ndarray] = {}
        self._is_checked = False  # distances that the matrix holds

    def distances(self, axis: int, *, metric: str | Function) -> CondensedDistances:
        """Distances between all rows (0) or all columns (1).

        Raises
        ------
        ValueError
            Values are not finite, or a row has no distance under the metric.
        MemoryLimitError
            They do not fit the memory, and there is no store.
        """
        spec = AxisSpec(metric=metric, dtype=self.dtype)
        if is_precomputed(metric):
            return self._kept_precomputed(axis, self._precomputed(axis, spec, tree=False))
        given, tiling = self._distance_input(axis, spec, tree=False)
        if self.store is not None:
            return self._stored_distances(axis, given, tiling)
        grid = self._grid(axis, tiling)
        edge = grid.tile_edge
        condensed = allocate_condensed(
            n=grid.n, tile_edge=edge, dtype=self.dtype, about=self._about(axis, given.metric)
        )

        def take(rows: slice, columns: slice, tile: np.ndarray) -> None:
            write_tile(condensed, rows.start // edge, columns.start // edge, tile)

        compute_distances(
            given,
            grid,
            take,
            executor=self.executor,
            progress=self._progress,
            name=f"distance-{AXIS_NAMES[axis]}",
        )
        return condensed

    def linkage(
        self, axis: int, *, method: str, metric: str | Function, optimal_ordering: bool = False
    ) -> np.ndarray:
        """Exact tree of the rows (0) or the columns (1).

        Parameters
        ----------
        axis
            0 or 1.
        method, metric
            As in SciPy; the metric may be a function of two vectors, which is called for every
            pair.
        optimal_ordering
            Turn the leaves so that neighbours are near.

        Returns
        -------
        numpy.ndarray
            ``(n - 1, 4)`` float64, SciPy's linkage matrix.

        Raises
        ------
        ValueError
            The method or metric is unknown or does not go with the other; there is one
            observation; values are not finite; a row has no distance under the metric.
        MemoryLimitError
            The square of the distances does not fit the memory.
        """
        spec = AxisSpec(
            method=method, metric=metric, optimal_ordering=optimal_ordering, dtype=self.dtype
        )
        if optimal_ordering:
            check_optimal_ordering(self.shape[axis])
        if (axis, spec) not in self._linkages:
            self._linkages[axis, spec] = self._compute_linkage(axis, spec)
        return self._linkages[axis, spec]

    def _compute_linkage(self, axis: int, spec: AxisSpec) -> np.ndarray:
        n, duplicates = self.shape[axis], None
        if is_precomputed(spec.metric):
            checked = self._precomputed(axis, spec)
            if (1 - axis, spec) in self._linkages:
                return self._linkages[1 - axis, spec]
            name = f"read-{AXIS_NAMES[axis]}"
            square = read_square(checked, np.arange(n), progress=self._progress, name=name)
        else:
            given, tiling = self._distance_input(axis, spec)
            duplicates = self._duplicates(axis, given, spec)
            kept = np.arange(n) if duplicates is None else duplicates.kept
            square = self._square(axis, given, tiling, kept)
        condensed = condensed_of(square) if spec.optimal_ordering else None
        linkage = merge_square(
            square,
            spec.method,
            duplicates,
            n,
            progress=self._progress,
            name=f"linkage-{AXIS_NAMES[axis]}",
        )
        return linkage if condensed is None else order_optimally(linkage, condensed)

    def _duplicates(self, axis: int, given: DistanceInput, spec: AxisSpec) -> Duplicates | None:
        # A function of the user's need not call identical rows identical.
        if callable(spec.metric) or spec.optimal_ordering:
            return None
        if given.source.shape[0] <= SMALL_OBSERVATIONS:
            return None
        name = f"duplicates-{AXIS_NAMES[axis]}"
        duplicates = find_duplicates(
            given.source, self._pass_executor(name), self._progress, name=name
        )
        # A tree needs two different observations to be computed at all.
        return None if duplicates is None or len(duplicates.kept) < 2 else duplicates

    def _square(
        self, axis: int, given: DistanceInput, tiling: Tiling, kept: np.ndarray
    ) -> np.ndarray:
        if self.store is not None:
            condensed = self._stored_distances(axis, given, tiling)
            return read_square(
                condensed, kept, progress=self._progress, name=f"read-{AXIS_NAMES[axis]}"
            )
        square = np.empty((len(kept), len(kept)), dtype=self.dtype)
        compute_distances(
            given,
            self._grid(axis, tiling),
            partial(fill_square, square, kept),
            executor=self.executor,
            progress=self._progress,
            name=f"distance-{AXIS_NAMES[axis]}",
        )
        return square

    def _precomputed(self, axis: int, spec: AxisSpec, *, tree: bool = True) -> CondensedDistances:
        """Check the distances that the matrix holds; rows and columns have the same."""
        refuse_normalized(self._z_score, self._standard_scale)
        grid = self._grid(axis, self._tiling(axis, spec, tree=tree))
        given = (self.matrix, self.source, self.statistics)
        if not self._is_checked:
            name = f"distance-{AXIS_NAMES[axis]}"
            executor = self._pass_executor(name, tile_edge=grid.tile_edge)
            check_square(*given, grid=grid, executor=executor, progress=self._progress, name=name)
            self._is_checked = True
        return square_distances(*given, grid=grid, dtype=self.dtype)

    def _kept_precomputed(self, axis: int, checked: CondensedDistances) -> CondensedDistances:
        """Distances that outlive this object: in the store, or in memory if not where they were."""
        if self.store is None:
            return hold_in_memory(checked) if self.is_copied else checked
        return put_at_rest(
            checked,
            self.store,
            f"condensed_{AXIS_NAMES[axis]}",
            executor=self.executor,
            progress=self._progress,
        )

    def _distance_input(
        self, axis: int, spec: AxisSpec, *, tree: bool = True
    ) -> tuple[DistanceInput, Tiling]:
        tiling = self._tiling(axis, spec, tree=tree)
        refuse_not_finite(self.matrix, self.statistics, self.normalization, axis)
        source, statistics, normalization = self.source, self.statistics, self.normalization
        name = f"distance-{AXIS_NAMES[axis]}"
        if axis == 1:
            source, statistics = source.transpose(), statistics.transpose()
            normalization = normalization.transpose()
        try:
            given = distance_input(
                source,
                statistics,
                normalization,
                spec.metric,
                dtype=np.dtype(self.dtype),
                features_at_once=tiling.features_at_once,
                executor=self._pass_executor(name, metric=spec.metric),
                progress=self._progress,
                name=name,
            )
        except UndefinedRowsError as error:
            raise undefined_rows(self.matrix, axis, error) from None
        return given, tiling

    def _tiling(self, axis: int, spec: AxisSpec, *, tree: bool) -> Tiling:
        """Plan the distances of an axis before the matrix is read, which may take hours."""
        refuse_one_observation(self.matrix, axis)
        other = AxisSpec(cluster=False)
        matrix = planned_matrix(self.matrix, self.is_copied)
        planned = plan_run(
            RunSpec(row=spec if axis == 0 else other, column=spec if axis == 1 else other),
            self.shape,
            self.matrix.dtype.itemsize,
            self.resources,
            in_memory=self.store is None,
            ingest=matrix.ingest,
            trees=tree,
            pictures=0,
            matrix_bytes_held=self.matrix_bytes_held,
            chunks=matrix.chunks,
            source_chunks=matrix.source_chunks,
        )
        tiling = planned.tiling(axis)
        if self.is_copied and self.store is None and "source" not in self.__dict__:
            check_scratch(planned)
        return tiling

    def _about(self, axis: int, metric: str | Function) -> DistanceDescription:
        """Say what distances of the rows (0) or columns (1) are of."""
        dim = self.matrix.dims[axis]
        return DistanceDescription(
            metric=metric if isinstance(metric, str) else getattr(metric, "__name__", "function"),
            dim=str(dim),
            labels=labels_along(self.matrix, dim),
        )

    def _grid(self, axis: int, tiling: Tiling) -> TriangleGrid:
        n = self.shape[axis]
        return TriangleGrid(n=n, tile_edge=min(tiling.tile_edge, n))

    def _stored_distances(
        self, axis: int, given: DistanceInput, tiling: Tiling
    ) -> CondensedDistances:
        """Put the distances at rest; a run directory does this so that it can be resumed."""
        assert self.store is not None
        grid = self._grid(axis, tiling)
        path = f"condensed_{AXIS_NAMES[axis]}"
        condensed = create_condensed(
            self.store,
            path,
            n=grid.n,
            tile_edge=grid.tile_edge,
            dtype=self.dtype,
            about=self._about(axis, given.metric),
            overwrite=True,
        )
        write_distances(
            given,
            condensed,
            self.store,
            path,
            executor=self.executor,
            progress=self._progress,
            name=f"distance-{AXIS_NAMES[axis]}",
        )
        return open_condensed(self.store, path)

    def _cells(self, mask: MatrixSource | None) -> Cells:
        return Cells(source=self.source, normalization=self.normalization, mask=mask)

    def limits(self, *, robust: bool = False, mask: Any = None) -> tuple[float, float]:
        """Least and greatest normalized value, or the 2nd and 98th percentile.

        Parameters
        ----------
        robust
            Percentiles: exact for a matrix in memory, else within 1/65,536 of the range.
        mask
            ``(n, k)`` bool array or DataArray: cells to leave out.
        """
        return value_limits(
            self._cells(self._mask_source(mask)),
            self.statistics,
            robust=robust,
            executor=self._pass_executor("limits") if mask is None else self.executor,
            progress=self._progress,
        )

    def reduced_image(
        self,
        row_order: np.ndarray,
        column_order: np.ndarray,
        shape: tuple[int, int],
        mask: Any = None,
    ) -> ReducedImage:
        """Image of the clustered, normalized matrix in at most `shape` pixels, from one pass.

        Parameters
        ----------
        row_order, column_order
            ``(n,)`` and ``(k,)`` int: which row (column) stands where.
        shape
            Pixels wanted along each axis.
        mask
            ``(n, k)`` bool array or DataArray, in the order of the data: cells to leave out.
        """
        rows, columns = np.asarray(row_order, np.int64), np.asarray(column_order, np.int64)
        executor = self.executor
        if mask is None:
            orders = array_digest(rows, columns)
            executor = self._pass_executor("downsample", shape=list(shape), orders=orders)
        return reduce_image(
            self._cells(self._mask_source(mask)),
            rows,
            columns,
            shape,
            executor=executor,
            progress=self._progress,
        )

    def _mask_source(self, mask: Any) -> MatrixSource | None:
        if mask is None:
            return None
        if mask.shape != self.shape:
            raise DataValueError("Mask must have the same shape as data.")
        if isinstance(mask, xr.DataArray) and not isinstance(mask.variable._data, np.ndarray):
            return self._ingest(mask, "mask")
        return ArraySource(np.asarray(mask, dtype=bool))

    def reordered(self, row_order: np.ndarray, column_order: np.ndarray) -> xr.DataArray:
        """Return the normalized matrix in clustered order, lazily."""
        return reordered_matrix(
            self.matrix, np.asarray(row_order), np.asarray(column_order), self.normalization
        )

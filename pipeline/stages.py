"""Driver: the stages bound to one matrix, from statistics to trees and pixels.

`Stages` knows where the matrix is (memory or a store), where tasks run, and how much memory there
is; each method is one stage of the design, and gives a plain NumPy result. The picture and the
command are made of these.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from clustergrid.pipeline._jit import load_compiler
from clustergrid.pipeline.bound_matrix import BoundMatrix
from clustergrid.pipeline.checks import (
    holds_others_than_booleans,
    refuse_hopeless,
    refuse_not_finite,
    refuse_one_observation,
    refuse_turned_labels,
    undefined_features,
    undefined_pair,
    undefined_rows,
    warn_of_booleans,
)
from clustergrid.pipeline.distance import (
    compute_distances,
    fill_condensed,
    fill_square,
    read_square,
    write_distances,
)
from clustergrid.pipeline.duplicates import find_duplicates
from clustergrid.pipeline.engines.base import (
    UndefinedFeaturesError,
    UndefinedPairError,
    UndefinedRowsError,
)
from clustergrid.pipeline.execution import available_cores
from clustergrid.pipeline.hierarchy import Duplicates
from clustergrid.pipeline.hierarchy.small import condensed_of
from clustergrid.pipeline.keywords import MetricKeywords
from clustergrid.pipeline.leftovers import remove_leftovers
from clustergrid.pipeline.metrics import Function, Metric
from clustergrid.pipeline.normalize import Normalization
from clustergrid.pipeline.operands import distance_input
from clustergrid.pipeline.ordering import order_leaves
from clustergrid.pipeline.planning import Plan, StagePlan, plan_run
from clustergrid.pipeline.points.prepared import remove_points
from clustergrid.pipeline.precomputed import (
    check_square,
    hold_in_memory,
    put_at_rest,
    square_distances,
)
from clustergrid.pipeline.records import Records
from clustergrid.pipeline.row_distances import RowDistances
from clustergrid.pipeline.run_plan import check_scratch, planned_matrix, refuse_unseen
from clustergrid.pipeline.spec import AXIS_NAMES, AxisSpec, RunSpec
from clustergrid.pipeline.square import is_precomputed, refuse_normalized
from clustergrid.pipeline.tiles import DistanceInput
from clustergrid.pipeline.tiling import Tiling
from clustergrid.pipeline.tree_engine import tiles_choice
from clustergrid.pipeline.trees import merge_square
from clustergrid.storage.arrays import remove_array
from clustergrid.storage.condensed import (
    CondensedDistances,
    DistanceDescription,
    allocate_condensed,
    create_condensed,
    open_condensed,
)
from clustergrid.storage.grid import TriangleGrid
from clustergrid.storage.identity import labels_along

__all__ = ["Stages"]


class Stages(BoundMatrix):
    """The stages bound to one matrix; see `BoundMatrix` for its parameters.

    Attributes
    ----------
    made_from
        The engine of the last tree that was made of each axis.
    """

    def __init__(self, matrix: xr.DataArray, **kwargs: Any) -> None:
        super().__init__(matrix, **kwargs)
        self._linkages: dict[tuple[int, AxisSpec], np.ndarray] = {}
        self.made_from: dict[int, str] = {}
        self._is_checked = False  # distances that the matrix holds
        self._is_warned = False  # of values that are no booleans

    def distances(
        self, axis: int, *, metric: str | Function, metric_kws: MetricKeywords | None = None
    ) -> CondensedDistances:
        """Distances between all rows (0) or all columns (1).

        Raises
        ------
        ValueError
            Values are not finite, or a row has no distance under the metric.
        MemoryLimitError
            They do not fit the memory, and there is no store.
        """
        spec = AxisSpec(metric=metric, metric_kws=metric_kws or MetricKeywords(), dtype=self.dtype)
        tiling = self._plan(axis, spec, tree=False).tiling(axis)
        if is_precomputed(metric):
            return self._kept_precomputed(axis, self._precomputed(axis, tiling))
        with self._tiles_of(axis):
            given = self._distance_input(axis, spec, tiling)
            return self._distances(axis, spec.found_metric, given, tiling)

    def _distances(
        self, axis: int, asked: Metric, given: DistanceInput, tiling: Tiling
    ) -> CondensedDistances:
        if self.store is not None:
            return self._stored_distances(axis, asked, given, tiling)
        grid = self._grid(axis, tiling)
        condensed = allocate_condensed(
            n=grid.n,
            tile_edge=grid.tile_edge,
            dtype=self.dtype,
            about=self._about(axis, given.metric),
        )
        fill_condensed(
            given,
            condensed,
            executor=self.executor,
            progress=self._progress,
            name=f"distance-{AXIS_NAMES[axis]}",
        )
        return condensed

    def linkage(
        self,
        axis: int,
        *,
        method: str,
        metric: str | Function,
        metric_kws: MetricKeywords | None = None,
        optimal_ordering: bool = False,
        engine: str | None = None,
    ) -> np.ndarray:
        """Exact tree of the rows (0) or the columns (1).

        Parameters
        ----------
        axis
            0 or 1.
        method, metric
            As in SciPy; the metric may be a function of two vectors, which is called for every
            pair.
        metric_kws
            Keywords of the metric.
        optimal_ordering
            Turn the leaves so that neighbours are nearest in sum; see `linkage` in ``api.py``.
        engine
            What the tree is made from, of `clustergrid.pipeline.tree_engine.ENGINES`; None: what
            is best.

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
            No engine, or not the one that was asked for, fits the memory.
        """
        spec = AxisSpec(
            method=method,
            metric=metric,
            metric_kws=metric_kws or MetricKeywords(),
            optimal_ordering=optimal_ordering,
            dtype=self.dtype,
            engine=engine,
        )
        if (axis, spec) not in self._linkages:
            self._linkages[axis, spec] = self._compute_linkage(axis, spec)
        return self._linkages[axis, spec]

    def _compute_linkage(self, axis: int, spec: AxisSpec) -> np.ndarray:
        n, duplicates = self.shape[axis], None
        planned = self._plan(axis, spec, tree=True)
        tree, tiling = planned.tree(axis), planned.tiling(axis)
        assert tree is not None
        engine = self.made_from[axis] = tree.made_from
        if engine != "scipy":
            # While distances are computed.
            load_compiler()
        if is_precomputed(spec.metric):
            checked = self._precomputed(axis, tiling)
            if (1 - axis, spec) in self._linkages:
                return self._linkages[1 - axis, spec]
            if engine == "tiles":
                return self._tree_from_tiles(axis, spec, checked, tree)
            name = f"read-{AXIS_NAMES[axis]}"
            square = read_square(checked, np.arange(n), progress=self._progress, name=name)
        else:
            with self._tiles_of(axis):
                given = self._distance_input(axis, spec, tiling)
                if engine == "tiles":
                    tiles = self._distances(axis, spec.found_metric, given, tiling)
                    return self._tree_from_tiles(axis, spec, tiles, tree)
                duplicates = self._duplicates(axis, given, spec, engine)
                if engine == "data":
                    return self._tree_from_rows(axis, spec, given, tree, duplicates)
                kept = np.arange(n) if duplicates is None else duplicates.kept
                square = self._square(axis, spec.found_metric, given, tiling, kept)
        condensed = condensed_of(square, square.dtype) if spec.optimal_ordering else None
        linkage = merge_square(
            square,
            spec.method,
            duplicates,
            n,
            engine=engine,
            progress=self._progress,
            name=f"linkage-{AXIS_NAMES[axis]}",
        )
        del square  # which is as large as what ordering takes
        if condensed is None:
            return linkage
        return self._ordered(axis, linkage, condensed, duplicates)

    def _ordered(
        self,
        axis: int,
        linkage: np.ndarray,
        distances: np.ndarray | RowDistances,
        duplicates: Duplicates | None,
    ) -> np.ndarray:
        """Turn the leaves of a tree so that neighbours are nearest in sum."""
        name = f"ordering-{AXIS_NAMES[axis]}"
        return order_leaves(linkage, distances, duplicates, progress=self._progress, name=name)

    def _tree_from_rows(
        self,
        axis: int,
        spec: AxisSpec,
        given: DistanceInput,
        planned: StagePlan,
        duplicates: Duplicates | None,
    ) -> np.ndarray:
        """Make a tree for which no distances are kept; its leaves are ordered by some, of rows."""
        assert planned.tiling is not None
        from clustergrid.pipeline.row_trees import tree_from_rows  # small trees need none of it

        linkage = tree_from_rows(
            given,
            spec.method,
            self._grid(axis, planned.tiling),
            duplicates=duplicates,
            limits=planned.limits,
            at_rest=self._rows_location(axis) if planned.rows_at_rest else None,
            executor=self.executor,
            progress=self._progress,
            name=f"linkage-{AXIS_NAMES[axis]}",
            records=self._tree_records(axis, spec, planned),
        )
        if not spec.optimal_ordering:
            return linkage
        kept = None if duplicates is None else duplicates.kept
        between = RowDistances(given, kept, threads=available_cores())
        return self._ordered(axis, linkage, between, duplicates)

    def _tree_from_tiles(
        self, axis: int, spec: AxisSpec, distances: CondensedDistances, planned: StagePlan
    ) -> np.ndarray:
        """Make a tree of tiles that are read a few times, of which nobody makes a square."""
        from clustergrid.pipeline.row_trees import resumable
        from clustergrid.pipeline.stored.tree import stored_tree

        return stored_tree(
            distances,
            spec.method,
            memory_bytes=planned.tree_bytes,
            threads=self.resources.reading_threads,
            progress=self._progress,
            name=f"linkage-{AXIS_NAMES[axis]}",
            why=tiles_choice(),
            recorded=partial(resumable, records=self._tree_records(axis, spec, planned)),
        )

    def _tree_records(self, axis: int, spec: AxisSpec, planned: StagePlan) -> Records | None:
        """Where a tree that is made from rows or tiles keeps how far it came, as a run does."""
        del axis, spec, planned
        return None

    @contextmanager
    def _tiles_of(self, axis: int) -> Iterator[None]:
        """Name the pair that has no distance; remove ranks, and rows, that are at rest for it."""
        if self.store is not None:
            remove_leftovers(self.store, "points", "ranks")
        try:
            yield
        except UndefinedPairError as error:
            raise undefined_pair(self.matrix, axis, error) from None
        finally:
            # In a run directory also those that a killed run left.
            if self.store is not None or "_scratch" in self.__dict__:
                remove_array(self._scratch, self._resting_name("ranks", axis))
                remove_points(*self._rows_location(axis))

    def _rows_location(self, axis: int) -> tuple[str, str]:
        """Store and name of the rows of an axis, where they are at rest for its tree."""
        return self._scratch, self._resting_name("points", axis)

    def _duplicates(
        self, axis: int, given: DistanceInput, spec: AxisSpec, engine: str
    ) -> Duplicates | None:
        if not spec.found_metric.is_zero_of_equals or engine == "scipy":
            return None
        if spec.method == "single":
            # Its tree is the same to the bit with all observations, from rows and from distances.
            return None
        name = f"duplicates-{AXIS_NAMES[axis]}"
        # Ranks are the source of metrics that compare them.
        executor = self._pass_executor(name, ranks=spec.found_metric.ranks)
        duplicates = find_duplicates(given.source, executor, self._progress, name=name)
        # A tree needs two different observations to be computed at all.
        return None if duplicates is None or len(duplicates.kept) < 2 else duplicates

    def _square(
        self, axis: int, asked: Metric, given: DistanceInput, tiling: Tiling, kept: np.ndarray
    ) -> np.ndarray:
        if self.store is not None:
            condensed = self._stored_distances(axis, asked, given, tiling)
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

    def _precomputed(self, axis: int, tiling: Tiling) -> CondensedDistances:
        """Check the distances that the matrix holds; rows and columns have the same."""
        refuse_normalized(self._z_score, self._standard_scale)
        refuse_turned_labels(self.matrix)
        grid = self._grid(axis, tiling)
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

    def _distance_input(self, axis: int, spec: AxisSpec, tiling: Tiling) -> DistanceInput:
        metric = spec.found_metric
        refuse_not_finite(
            self.matrix, self.statistics, self.normalization, axis, may_miss=metric.missing
        )
        if metric.missing:
            refuse_hopeless(self.matrix, self.statistics, axis, metric)
        self._warn_of_booleans(metric)
        source, statistics, normalization = self.source, self.statistics, self.normalization
        name = f"distance-{AXIS_NAMES[axis]}"
        if axis == 1:
            source, statistics = self.transposed_source, statistics.transpose()
            normalization = normalization.transpose()
        if metric.ranks:
            source, normalization = self._ranked(axis, source, normalization), Normalization()
        try:
            return distance_input(
                source,
                statistics,
                normalization,
                spec.metric,
                spec.metric_kws,
                dtype=np.dtype(self.dtype),
                features_at_once=tiling.features_at_once,
                executor=self._pass_executor(
                    name, metric=spec.metric, metric_kws=spec.metric_kws.to_json()
                ),
                progress=self._progress,
                name=name,
            )
        except UndefinedRowsError as error:
            raise undefined_rows(self.matrix, axis, error) from None
        except UndefinedFeaturesError as error:
            raise undefined_features(self.matrix, axis, error) from None

    def _warn_of_booleans(self, metric: Metric) -> None:
        """Say once that values are taken for booleans that are none."""
        if not metric.is_boolean or self._is_warned:
            return
        if holds_others_than_booleans(self.matrix, self.statistics, self.normalization):
            self._is_warned = True
            warn_of_booleans(metric.name)

    def _plan(self, axis: int, spec: AxisSpec, *, tree: bool) -> Plan:
        """Plan an axis before the matrix is read, which may take hours."""
        refuse_one_observation(self.matrix, axis)
        other = AxisSpec(cluster=False)
        matrix = planned_matrix(self.matrix, self.is_copied)
        run_spec = RunSpec(
            row=spec if axis == 0 else other,
            column=spec if axis == 1 else other,
            z_score=self._z_score,
            standard_scale=self._standard_scale,
        )
        run_spec.check_features(self.shape)
        planned = plan_run(
            run_spec,
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
            is_boolean=self.matrix.dtype == np.bool_,
            is_floating=self.matrix.dtype.kind == "f",
            n_stored=matrix.n_stored,
        )
        is_copied_now = self.is_copied and "source" not in self.__dict__
        rests = spec.found_metric.ranks or any(stage.rows_at_rest for stage in planned.stages)
        if self.store is None:
            refuse_unseen(planned)
            if is_copied_now or rests:
                check_scratch(planned)
        return planned

    def _about(self, axis: int, metric: Metric) -> DistanceDescription:
        """Say what distances of the rows (0) or columns (1) are of."""
        dim = self.matrix.dims[axis]
        return DistanceDescription(
            metric=metric.name,
            keywords=metric.keywords.given,
            dim=str(dim),
            labels=labels_along(self.matrix, dim),
        )

    def _grid(self, axis: int, tiling: Tiling) -> TriangleGrid:
        n = self.shape[axis]
        return TriangleGrid(n=n, tile_edge=min(tiling.tile_edge, n))

    def _stored_distances(
        self, axis: int, asked: Metric, given: DistanceInput, tiling: Tiling
    ) -> CondensedDistances:
        """Put the distances at rest; a run directory does this so that it can be resumed."""
        del asked
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

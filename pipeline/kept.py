"""Driver: the stages of a run, which keep what they made in its directory and find it again."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from clustergrid.pipeline.digests import array_digest
from clustergrid.pipeline.distance import write_distances
from clustergrid.pipeline.downsample import ReducedImage
from clustergrid.pipeline.execution import Executor, available_cores
from clustergrid.pipeline.metrics import Metric, get_metric
from clustergrid.pipeline.normalize import AxisStatistics, MatrixStatistics, matrix_statistics
from clustergrid.pipeline.passes import ResumedExecutor
from clustergrid.pipeline.planning import StagePlan
from clustergrid.pipeline.records import Records
from clustergrid.pipeline.sparse_source import keep_columns
from clustergrid.pipeline.spec import AXIS_NAMES, AxisSpec
from clustergrid.pipeline.square import PRECOMPUTED
from clustergrid.pipeline.stages import Stages
from clustergrid.pipeline.tiles import DistanceInput
from clustergrid.pipeline.tiling import Tiling
from clustergrid.storage.arrays import open_array, write_array
from clustergrid.storage.chunks import stored_entries
from clustergrid.storage.condensed import CondensedDistances, create_condensed, open_condensed
from clustergrid.storage.condensed_chunks import (
    are_labels_whole,
    arrays_of,
    damaged_tiles,
    description_entries,
    noted_tiles,
)
from clustergrid.storage.condensed_tiles import LABELS, StoredTiles
from clustergrid.storage.errors import StorageError
from clustergrid.storage.grid import TriangleGrid
from clustergrid.storage.identity import labels_along
from clustergrid.storage.labels import write_labels
from clustergrid.storage.manifest import Manifest, metadata_entry
from clustergrid.storage.places import as_path, remove_tree
from clustergrid.storage.rundir import RunDirectory, stage_key
from clustergrid.storage.source import MatrixSource
from clustergrid.storage.sparse import as_sparse

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["RunStages", "distance_key", "drop_scratch", "normalization_key"]


_IMAGE = ("image", "image_row_edges", "image_column_edges")
_STATISTICS = ("statistics_row", "statistics_col")


def normalization_key(key: str, z_score: int | None, standard_scale: int | None) -> str:
    """Key of what the stages see: the matrix, normalized."""
    return stage_key(matrix=key, z_score=z_score, standard_scale=standard_scale)


def distance_key(key: str, axis: int, metric: Metric, dtype: str) -> str:
    """Key of the distances of an axis: of what their bits depend on, and nothing else.

    Parameters
    ----------
    key
        Of the normalized matrix.
    axis
        Which one.
    metric
        With its keywords, as `get_metric` gives it.
    dtype
        As in `AxisSpec`.
    """
    return stage_key(
        matrix=key,
        axis=AXIS_NAMES[axis],
        metric=metric.name,
        metric_kws=metric.keywords.to_json(),
        dtype=dtype,
    )


def _noted_array(manifest: Manifest, prefix: str) -> str | None:
    """Name of the array of distances that a manifest holds."""
    names = (file.split("/")[1] for file in manifest.entries if file.startswith("arrays.zarr/"))
    return next((name for name in names if name.startswith(prefix)), None)


def drop_scratch(directory: RunDirectory) -> None:
    """Remove rows and ranks that were at rest for trees, which a killed run leaves behind.

    Parameters
    ----------
    directory
        The run directory, locked.
    """
    for kind in ("points", "ranks"):
        for name in AXIS_NAMES:
            for array in as_path(directory.arrays).glob(f"{kind}-{name}*"):
                remove_tree(array)


class RunStages(Stages):
    """Stages whose results are kept in a run directory, their parts while they are made.

    Parameters
    ----------
    directory
        The run directory, locked.
    matrix_key
        Key of the matrix, before its normalization.
    matrix
        As of `Stages`.
    z_score, standard_scale, **kwargs
        As of `Stages`; the store is the run directory's.
    """

    def __init__(
        self,
        directory: RunDirectory,
        matrix_key: str,
        matrix: xr.DataArray,
        *,
        z_score: int | None = None,
        standard_scale: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            matrix,
            z_score=z_score,
            standard_scale=standard_scale,
            store=directory.arrays,
            **kwargs,
        )
        self.matrix_key = matrix_key
        self.key = normalization_key(matrix_key, z_score, standard_scale)
        self._directory = directory

    def _resting_name(self, kind: str, axis: int) -> str:
        """Return the name that a run has always, which is locked, so that it finds leftovers."""
        return f"{kind}-{AXIS_NAMES[axis]}"

    def _resumed(self, key: str) -> ResumedExecutor:
        return ResumedExecutor(self.executor, self._directory, key, self._progress)

    def _pass_executor(self, name: str, **parts: Any) -> Executor:
        """Keep the parts of a pass, which depend on the normalized matrix and on these."""
        return self._resumed(stage_key(matrix=self.key, passes=name, **parts))

    @cached_property
    def statistics(self) -> MatrixStatistics:
        """Statistics of the matrix as it was given: those at rest, or from one pass."""
        key = stage_key(matrix=self.matrix_key, stage="statistics")
        kept = self._kept_arrays("statistics", key, _STATISTICS)
        if kept is not None:
            self._progress.kept("statistics")
            rows, columns = (AxisStatistics.from_array(values) for values in kept)
            return MatrixStatistics(rows=rows, columns=columns)
        found = matrix_statistics(self.source, self._resumed(key), self._progress)
        self._keep_arrays(
            "statistics", key, _STATISTICS, [found.rows.to_array(), found.columns.to_array()]
        )
        return found

    @cached_property
    def transposed_source(self) -> MatrixSource:
        """The transposed matrix as tasks read it; a sparse one is kept by rows in the run."""
        sparse = as_sparse(self.source)
        if sparse is None:
            return super().transposed_source
        return keep_columns(
            self._directory,
            self.matrix_key,
            sparse,
            memory_bytes=self.resources.copy_bytes,
            progress=self._progress,
        )

    def _keep_arrays(
        self, stage: str, key: str, paths: Sequence[str], values: Sequence[np.ndarray], **facts: Any
    ) -> None:
        """Put a stage's small arrays at rest, a chunk each."""
        group = self._directory.arrays
        self._directory.begin(stage)
        manifest = self._directory.manifest(stage)
        manifest.restore_metadata()  # the group's is noted by other stages too
        manifest.begin(key)
        for path, array in zip(paths, values, strict=True):
            write_array(group, path, array)
            manifest.record(*stored_entries(group, path))
        manifest.record(metadata_entry(group))
        self._directory.finish(
            stage, key, arrays=[("arrays.zarr", path) for path in paths], **facts
        )

    def _kept_arrays(self, stage: str, key: str, paths: Sequence[str]) -> list[np.ndarray] | None:
        if not self._directory.is_finished(stage, key):
            return None
        try:
            return [np.asarray(open_array(self._directory.arrays, path)[:]) for path in paths]
        except (OSError, ValueError):  # a checksum
            return None

    def _stored_distances(
        self, axis: int, asked: Metric, given: DistanceInput, tiling: Tiling
    ) -> CondensedDistances:
        """Compute the tiles that no earlier run left whole."""
        name, grid = AXIS_NAMES[axis], self._grid(axis, tiling)
        stage, group = f"distance-{name}", self._directory.arrays
        # What follows from the data does so again, and is no part of the question.
        key = distance_key(self.key, axis, asked, self.dtype)
        # An array of its own for every key and edge: on a cluster that outlives its driver, a task
        # of a killed run may still write its tile into the array that was there then.
        prefix = f"condensed_{name}_{key[:12]}_"
        path = f"{prefix}{grid.tile_edge}"
        manifest = self._directory.manifest(stage)
        if manifest.key == key:
            path = _noted_array(manifest, prefix) or path
        condensed, kept = self._kept_tiles(stage, manifest, key, path, tiling)
        if condensed is None:
            path = f"{prefix}{grid.tile_edge}"
            condensed = self._begin_distances(axis, given, manifest, key, path, grid)
        tiles = condensed.stored
        if len(kept) == condensed.grid.n_tiles and are_labels_whole(tiles, manifest):
            self._progress.kept(stage)
        else:
            self._directory.begin(stage)
            self._mend_labels(axis, tiles, manifest)
            write_distances(
                given,
                condensed,
                group,
                path,
                finished=kept,
                on_tile=manifest.record,
                executor=self.executor,
                progress=self._progress,
                name=stage,
            )
        # Of what lost its note; the tiles were read with it, and are those that were noted.
        manifest.record(*(e for e in description_entries(tiles) if e.file not in manifest.entries))
        arrays = [("arrays.zarr", array) for array in arrays_of(tiles)]
        self._directory.finish(stage, key, arrays=arrays)
        return open_condensed(group, path)

    def _tree_records(self, axis: int, spec: AxisSpec, planned: StagePlan) -> Records | None:
        """As in `Stages`, in the run directory.

        Not of the memory, which may be what is free at the moment: its limits decide what is asked,
        and each record knows the question that it answers.
        """
        key = distance_key(self.key, axis, spec.found_metric, self.dtype)
        return Records(
            self._directory,
            f"linkage-{AXIS_NAMES[axis]}",
            stage_key(distances=key, method=spec.method, made_from=planned.made_from),
        )

    def _precomputed(self, axis: int, tiling: Tiling) -> CondensedDistances:
        """As in `Stages`; the check is noted, and no distance is copied."""
        metric = get_metric(PRECOMPUTED)
        keys = [distance_key(self.key, a, metric, self.dtype) for a in (0, 1)]
        stages = [f"distance-{name}" for name in AXIS_NAMES]
        if any(map(self._directory.is_finished, stages, keys)):
            self._is_checked = True
            self._progress.kept(stages[axis])
        checked = super()._precomputed(axis, tiling)
        if not self._directory.is_finished(stages[axis], keys[axis]):
            self._directory.begin(stages[axis])
            manifest = self._directory.manifest(stages[axis])
            manifest.restore_metadata()  # the group's is noted by other stages too
            manifest.begin(keys[axis])
            self._remove_arrays(f"condensed_{AXIS_NAMES[axis]}_*")
            self._directory.finish(stages[axis], keys[axis])
        return checked

    def _kept_precomputed(self, axis: int, checked: CondensedDistances) -> CondensedDistances:
        """Distances of a run's own matrix, which is at rest."""
        del axis
        return checked

    def _begin_distances(
        self,
        axis: int,
        given: DistanceInput,
        manifest: Manifest,
        key: str,
        path: str,
        grid: TriangleGrid,
    ) -> CondensedDistances:
        """Make room for the tiles, in place of those of another question."""
        self._directory.begin(f"distance-{AXIS_NAMES[axis]}")
        manifest.restore_metadata()  # the group's is noted by other stages too
        manifest.begin(key)
        self._remove_arrays(f"condensed_{AXIS_NAMES[axis]}_*")
        condensed = create_condensed(
            self._directory.arrays,
            path,
            n=grid.n,
            tile_edge=grid.tile_edge,
            dtype=self.dtype,
            about=self._about(axis, given.metric),
        )
        manifest.record(*description_entries(condensed.stored))
        return condensed

    def _mend_labels(self, axis: int, tiles: StoredTiles, manifest: Manifest) -> None:
        """Write labels again that are not those that were noted."""
        if are_labels_whole(tiles, manifest):
            return
        dim = self.matrix.dims[axis]
        labels, path = labels_along(self.matrix, dim), f"{tiles.path}/{LABELS}"
        assert labels is not None
        write_labels(tiles.store, path, labels, str(dim))
        manifest.record(*stored_entries(tiles.store, path))

    def _remove_arrays(self, pattern: str) -> None:
        for array in as_path(self._directory.arrays).glob(pattern):
            remove_tree(array)

    def _kept_tiles(
        self, stage: str, manifest: Manifest, key: str, path: str, tiling: Tiling
    ) -> tuple[CondensedDistances | None, frozenset[int]]:
        """Tiles of an earlier run that are whole; values do not depend on how they were cut."""
        if manifest.key != key:
            return None, frozenset()
        manifest.restore_metadata()
        try:
            condensed = open_condensed(self._directory.arrays, path, mode="r+")
        except StorageError:
            return None, frozenset()
        noted = noted_tiles(condensed.stored, manifest)
        if not noted or condensed.dtype != self.dtype:
            return None, frozenset()
        with self._progress.stage(
            f"verify-{stage.removeprefix('distance-')}",
            total=len(noted),
            unit="tiles",
            unit_bytes=condensed.grid.tile_edge**2 * condensed.dtype.itemsize,
        ) as verified:
            damaged = damaged_tiles(
                condensed.stored,
                noted,
                entries=manifest.entries,
                threads=available_cores(),
                progress=verified.advance,
            )
        # Tiles that were cut for more memory than there is now could not be finished, nor be read.
        is_complete = not damaged and len(noted) == condensed.grid.n_tiles
        largest = tiling.largest_read_edge if is_complete else tiling.largest_edge
        if condensed.grid.tile_edge > largest:
            return None, frozenset()
        manifest.forget(noted.pop(position) for position in damaged)
        return condensed, frozenset(noted)

    def limits(self, *, robust: bool = False, mask: Any = None) -> tuple[float, float]:
        """As in `Stages`; kept where there is no mask."""
        if mask is not None:
            return super().limits(robust=robust, mask=mask)
        stage = "limits-robust" if robust else "limits"
        key = stage_key(matrix=self.key, stage=stage, way="bits" if robust else "extremes")
        if self._directory.is_finished(stage, key):
            low, high = self._directory.state["stages"][stage]["limits"]
        else:
            low, high = (
                None if np.isnan(limit) else float(limit) for limit in super().limits(robust=robust)
            )
            self._directory.finish(stage, key, limits=[low, high])
        return np.nan if low is None else low, np.nan if high is None else high

    def reduced_image(
        self,
        row_order: np.ndarray,
        column_order: np.ndarray,
        shape: tuple[int, int],
        mask: Any = None,
        aggregate: str = "mean",
        edges: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> ReducedImage:
        """As in `Stages`; kept where there is no mask."""
        if mask is not None:
            return super().reduced_image(row_order, column_order, shape, mask, aggregate, edges)
        decisive = (row_order, column_order, *(edges or ()))
        orders = array_digest(*(np.asarray(each, np.int64) for each in decisive))
        key = stage_key(
            matrix=self.key, stage="image", shape=list(shape), orders=orders, aggregate=aggregate
        )
        kept = self._kept_arrays("image", key, _IMAGE)
        if kept is not None:
            self._progress.kept("downsample")
            values, row_edges, column_edges = kept
            self._progress.show(lambda: values, is_whole=True)
            return ReducedImage(values=values, row_edges=row_edges, column_edges=column_edges)
        image = super().reduced_image(
            row_order, column_order, shape, aggregate=aggregate, edges=edges
        )
        self._keep_arrays(
            "image",
            key,
            _IMAGE,
            [image.values, image.row_edges, image.column_edges],
            aggregate=aggregate,
        )
        self._progress.show(lambda: image.values, is_whole=True)
        return image

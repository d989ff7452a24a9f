"""Driver: the stages of one matrix as a whole: where it is, its statistics, and its picture."""

from __future__ import annotations

import os
import tempfile
import uuid
import weakref
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from clustergrid.pipeline.cells import Cells
from clustergrid.pipeline.checks import labels_of
from clustergrid.pipeline.digests import array_digest
from clustergrid.pipeline.downsample import ReducedImage, reduce_image
from clustergrid.pipeline.execution import Executor, ThreadsExecutor
from clustergrid.pipeline.footprint import Ground
from clustergrid.pipeline.image_plan import SMALL_CELLS, MedianWork, check_aggregate
from clustergrid.pipeline.limits import value_limits
from clustergrid.pipeline.monitor import Progress
from clustergrid.pipeline.normalize import MatrixStatistics, Normalization, matrix_statistics
from clustergrid.pipeline.picture_memory import downsample_footprint, median_work
from clustergrid.pipeline.rank_plan import are_ranks_in_memory
from clustergrid.pipeline.ranking import ranked
from clustergrid.pipeline.refusal import (
    Alternative,
    refuse_small_workers,
    refuse_too_little_memory,
)
from clustergrid.pipeline.reorder import reordered_matrix
from clustergrid.pipeline.resources import Resources
from clustergrid.pipeline.sparse_source import SHIPPED_BYTES, shared_rows, sparse_transpose
from clustergrid.pipeline.spec import AXIS_NAMES, check_normalization, distance_dtype
from clustergrid.pipeline.tile_memory import StoredMatrix
from clustergrid.storage.errors import DataValueError
from clustergrid.storage.identity import matrix_source
from clustergrid.storage.ingest import ingest
from clustergrid.storage.readers.chunking import SMALL_SPARSE_BYTES
from clustergrid.storage.source import ArraySource, MatrixSource
from clustergrid.storage.sparse import SparseArraySource, as_sparse
from clustergrid.storage.sparse_blocks import ingest_blocks, sparse_blocks

__all__ = ["BoundMatrix"]


class BoundMatrix:
    """A matrix, where its tasks run, and what they may use.

    Parameters
    ----------
    matrix
        ``(n, k)`` DataArray as `open_matrix` gives it; never read as a whole unless it is small.
    z_score, standard_scale
        0 (rows), 1 (columns) or None, as in seaborn.
    dtype
        Type of the distances; by default that of the matrix.
    executor
        Where tasks run.
    resources
        Memory and threads.
    store
        Directory in which arrays are put at rest; None: memory, and a temporary directory for a
        matrix that has to be shared with other processes.
    progress
        Who is told.

    Raises
    ------
    ValueError, TypeError
        The normalization or the dtype makes no sense.
    """

    def __init__(
        self,
        matrix: xr.DataArray,
        *,
        z_score: int | None = None,
        standard_scale: int | None = None,
        dtype: object = None,
        executor: Executor,
        resources: Resources,
        store: str | None = None,
        progress: Progress | None = None,
    ) -> None:
        check_normalization(z_score, standard_scale)
        self.matrix = matrix
        self.shape: tuple[int, int] = (matrix.shape[0], matrix.shape[1])
        self.dtype = distance_dtype(matrix.dtype, dtype)
        self.executor = executor
        self.resources = resources
        self.store = store
        self._z_score, self._standard_scale = z_score, standard_scale
        self._progress = progress or Progress()
        self._last_mask: tuple[Any, MatrixSource] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what ends with this process: a client, listeners, and what is at rest for now.

        Whatever is computed of a pickle is computed in threads.
        """
        passing = ("source", "transposed_source", "_scratch", "_own_name")
        kept = {name: value for name, value in self.__dict__.items() if name not in passing}
        return kept | {
            "executor": ThreadsExecutor(),
            "_progress": Progress(),
            "_last_mask": None,
        }

    @property
    def progress(self) -> Progress:
        """Who is told."""
        return self._progress

    @property
    def steps(self) -> dict[str, int | None]:
        """How the matrix is normalized, as in seaborn."""
        return {"z_score": self._z_score, "standard_scale": self._standard_scale}

    @property
    def stored_matrix(self) -> StoredMatrix:
        """What a plan has to know of the matrix as tasks read it."""
        return StoredMatrix(
            shape=self.shape,
            itemsize=self.matrix.dtype.itemsize,
            in_memory=bool(self.matrix_bytes_held),
        )

    @property
    def in_memory(self) -> bool:
        """Whether the matrix is a NumPy array of this process."""
        return isinstance(self.matrix.variable._data, np.ndarray)

    @cached_property
    def source(self) -> MatrixSource:
        """The matrix as tasks read it: in memory, or put at rest first."""
        if self.is_copied:
            return self._ingest(self.matrix, "matrix")
        source: MatrixSource | None = matrix_source(self.matrix)
        sparse = as_sparse(source)
        if sparse is not None:
            return shared_rows(
                sparse,
                in_process=self.executor.in_process,
                scratch=lambda: self._scratch,
                memory_bytes=self.resources.copy_bytes,
                progress=self._progress,
            )
        if source is not None:
            return source
        with self.executor.active():
            return ArraySource(np.asarray(self.matrix.to_numpy()))

    @cached_property
    def transposed_source(self) -> MatrixSource:
        """The transposed matrix as tasks read it: a view, or a sparse one by rows."""
        return sparse_transpose(
            self.source,
            scratch=lambda: self._scratch,
            memory_bytes=self.resources.copy_bytes,
            progress=self._progress,
        )

    @property
    def is_copied(self) -> bool:
        """Whether the matrix is put at rest before tasks read it."""
        if self.in_memory:
            return not self.executor.in_process and self.matrix.nbytes > SHIPPED_BYTES
        if sparse_blocks(self.matrix) is not None:
            return self.matrix.nbytes > SMALL_SPARSE_BYTES
        return matrix_source(self.matrix) is None and self.matrix.nbytes > self._gathered_bytes

    def _ingest(self, matrix: xr.DataArray, path: str) -> MatrixSource:
        """Put a matrix at rest, where every task can read it."""
        with (
            self.executor.active(),
            self._progress.stage(f"ingest-{path}", total=matrix.nbytes, unit="bytes") as stage,
        ):

            def tell(done: int, total: int) -> None:
                stage.advance(matrix.nbytes * done // max(total, done) - stage.done)

            put_at_rest = ingest if sparse_blocks(matrix) is None else ingest_blocks
            return put_at_rest(
                matrix,
                self._scratch,
                path,
                memory_bytes=self.resources.copy_bytes,
                progress=tell,
            )

    @property
    def _gathered_bytes(self) -> int:
        """Largest lazy matrix that is brought into this process rather than put at rest."""
        return self.resources.memory_bytes // 8 if self.executor.in_process else SHIPPED_BYTES

    @property
    def matrix_bytes_held(self) -> int:
        """Bytes of the matrix that are in this process while stages run."""
        if self.in_memory:
            return int(self.matrix.nbytes)
        # As `source` does it.
        source = matrix_source(self.matrix)
        if isinstance(source, SparseArraySource):
            return source.nbytes
        is_gathered = source is None and not self.is_copied
        return int(self.matrix.nbytes) if is_gathered else 0

    @cached_property
    def _scratch(self) -> str:
        """The store, or a directory that goes when this object goes."""
        if self.store is not None:
            return self.store
        if self.resources.elsewhere:
            raise DataValueError(
                "tasks run on other machines, which do not see a temporary directory of this one "
                f"({tempfile.gettempdir()}), and have to read what is put there: give a directory "
                "or a URL that all of them see as store="
            )
        directory = tempfile.TemporaryDirectory(prefix="clustergrid-")
        weakref.finalize(self, directory.cleanup)
        return directory.name

    @property
    def scratch(self) -> str:
        """Where arrays may be at rest for some time."""
        return self._scratch

    @cached_property
    def _own_name(self) -> str:
        return uuid.uuid4().hex[:16]

    def _resting_name(self, kind: str, axis: int) -> str:
        """Where in the store ranks or rows of an axis are, for the time of a stage.

        Nobody else has this name: others may make trees in the same store.
        """
        return f"{kind}-{AXIS_NAMES[axis]}-{self._own_name}"

    def _ranked(
        self, axis: int, source: MatrixSource, normalization: Normalization
    ) -> MatrixSource:
        """Rank every observation of an axis, in memory or at rest."""
        memory_bytes, in_process = self.resources.memory_bytes, self.executor.in_process
        in_memory = are_ranks_in_memory(*source.shape, memory_bytes, in_process=in_process)
        # Not on the executor of passes: what these keep would be the ranks once more.
        return ranked(
            source,
            normalization,
            store=None if in_memory else self._scratch,
            path=self._resting_name("ranks", axis),
            executor=self.executor,
            progress=self._progress,
        )

    def _pass_executor(self, name: str, **parts: Any) -> Executor:
        """Where a pass runs; a run directory keeps its parts, which depend on the named ones."""
        del name, parts
        return self.executor

    @cached_property
    def statistics(self) -> MatrixStatistics:
        """Statistics of the matrix as it was given, from one pass."""
        return matrix_statistics(self.source, self.executor, self._progress)

    @cached_property
    def normalization(self) -> Normalization:
        """What z_score or standard_scale does to a value."""
        if self._z_score is None and self._standard_scale is None:
            return Normalization()
        return Normalization.from_arguments(self.statistics, self._z_score, self._standard_scale)

    def labels(self, axis: int, indices: np.ndarray | Sequence[int]) -> list[str]:
        """Labels of some rows (0) or columns (1), their numbers where there are none."""
        return labels_of(self.matrix, axis, indices)

    def _cells(self, mask: MatrixSource | None) -> Cells:
        return Cells(source=self.source, normalization=self.normalization, mask=mask)

    def limits(self, *, robust: bool = False, mask: Any = None) -> tuple[float, float]:
        """Least and greatest normalized value, or the 2nd and 98th percentile.

        Parameters
        ----------
        robust
            Percentiles: exact up to two million values, else within 0.01 % of the values in rank.
        mask
            ``(n, k)`` bool array or DataArray: cells to leave out.
        """
        return value_limits(
            self._cells(self._mask_source(mask)),
            self.statistics,
            robust=robust,
            executor=self._pass_executor("limits", way="bits") if mask is None else self.executor,
            progress=self._progress,
        )

    def reduced_image(
        self,
        row_order: np.ndarray,
        column_order: np.ndarray,
        shape: tuple[int, int],
        mask: Any = None,
        aggregate: str = "mean",
        edges: tuple[np.ndarray, np.ndarray] | None = None,
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
        aggregate
            What a pixel shows of its cells, of `clustergrid.pipeline.image_plan.AGGREGATES`.
        edges
            First cell of every pixel row and column, and the end, in place of equal pixels: `shape`
            of them.

        Raises
        ------
        ValueError
            There is no such aggregate.
        MemoryLimitError
            The cells of medians do not fit the memory.
        """
        self.refuse_image(aggregate, shape)  # before the matrix is read
        rows, columns = np.asarray(row_order, np.int64), np.asarray(column_order, np.int64)
        executor = self.executor
        if mask is None:
            orders = array_digest(rows, columns, *(edges or ()))
            asked = {"shape": list(shape), "orders": orders, "aggregate": aggregate}
            executor = self._pass_executor("downsample", **asked)
        return reduce_image(
            self._cells(self._mask_source(mask)),
            rows,
            columns,
            shape,
            executor=executor,
            progress=self._progress,
            aggregate=aggregate,
            median_task_bytes=self._median_work(shape).task_bytes,
            edges=edges,
        )

    def refuse_image(self, aggregate: str, shape: tuple[int, int]) -> None:
        """Refuse an image that cannot be made, before anything is computed.

        Parameters
        ----------
        aggregate, shape
            As in `reduced_image`.

        Raises
        ------
        ValueError, MemoryLimitError
            As there.
        """
        check_aggregate(aggregate)
        if self.shape[0] * self.shape[1] <= SMALL_CELLS:
            return
        if aggregate == "median":
            self._median_work(shape).check()
            return
        found = downsample_footprint(self.ground, shape[0] * shape[1], aggregate)
        resources, stage = self.resources, "downsample"
        alone = replace(self.ground, resources=replace(resources, threads=1, driver_cores=1))
        needed = downsample_footprint(alone, shape[0] * shape[1], aggregate).peak_bytes
        others = [Alternative(change="one thread (taskset -c 0)", needed_bytes=needed)]
        can_be_alone = resources.local_threads > 1 and not resources.threads_per_worker
        refuse_too_little_memory(
            {stage: found.peak_bytes}, resources, others if can_be_alone else [], {}
        )
        refuse_small_workers({stage: found.worker_bytes}, resources, [])

    @property
    def ground(self) -> Ground:
        """What is there in every stage."""
        return Ground(
            resources=self.resources,
            matrix=self.stored_matrix,
            matrix_bytes_held=self.matrix_bytes_held,
        )

    def _median_work(self, shape: tuple[int, int]) -> MedianWork:
        """Say what medians would hold, and what there is for them."""
        is_normalized = any(axis is not None for axis in self.steps.values())
        are_single = self.matrix.dtype == np.float32 and not is_normalized
        return median_work(self.ground, shape, are_single=are_single)

    def _mask_source(self, mask: Any) -> MatrixSource | None:
        if mask is None:
            return None
        if mask.shape != self.shape:
            raise DataValueError("Mask must have the same shape as data.")
        if self._last_mask is None or self._last_mask[0] is not mask:
            self._last_mask = mask, self._shared_mask(mask)
        return self._last_mask[1]

    def _shared_mask(self, mask: Any) -> MatrixSource:
        """Bring a mask where tasks read it; limits and images of several sizes ask for the same."""
        if isinstance(mask, xr.DataArray) and not isinstance(mask.variable._data, np.ndarray):
            return self._ingest(mask, "mask")
        values = np.asarray(mask, dtype=bool)
        if self.executor.in_process or values.nbytes <= SHIPPED_BYTES:
            return ArraySource(values)
        return self._ingest(xr.DataArray(values, dims=self.matrix.dims), "mask")

    def reordered(self, row_order: np.ndarray, column_order: np.ndarray) -> xr.DataArray:
        """Return the normalized matrix in clustered order, lazily."""
        return reordered_matrix(
            self.matrix, np.asarray(row_order), np.asarray(column_order), self.normalization
        )

    def write_reordered(
        self,
        path: str | os.PathLike[str],
        row_order: np.ndarray,
        column_order: np.ndarray,
        *,
        pyramid: bool = False,
    ) -> Path:
        """Write the normalized matrix in clustered order to a Zarr store, out of core.

        Two passes within the memory, whatever the orders are. A call that was killed goes on when
        it is made again.

        Parameters
        ----------
        path
            Of the store, which must not be there yet, on a local or shared file system. xarray
            opens it; its labels are in the new order.
        row_order, column_order
            ``(n,)`` and ``(k,)`` int: which row (column) stands where.
        pyramid
            Whether to add levels of lower resolution (`clustergrid.storage.pyramid`).

        Raises
        ------
        StorageError
            An OSError: there is something under that name, or it cannot be written.
        MemoryLimitError
            A chunk does not fit the memory.
        """
        from clustergrid.pipeline.reordered_store import write_store

        orders = np.asarray(row_order, np.int64), np.asarray(column_order, np.int64)
        return write_store(self, path, orders, pyramid=pyramid)

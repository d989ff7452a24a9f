"""Driver: the matrix written in clustered order, out of core, resumed where it stopped.

The first pass writes the pieces of blocks into files, the second one puts them together as whole
chunks (`reorder_plan.py`). Blocks whose file is there, and chunks that the manifest holds, are not
made again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr

from clustergrid.pipeline.execution import Executor, end_if_stopped
from clustergrid.pipeline.monitor import Progress
from clustergrid.pipeline.normalize import Normalization
from clustergrid.pipeline.reorder_plan import ReorderPlan, counts
from clustergrid.pipeline.tree.orders import leaf_places
from clustergrid.storage.arrays import open_array, write_block
from clustergrid.storage.chunks import Chunk, stored_entries
from clustergrid.storage.coordinates import (
    storable_coordinates,
    write_attributes,
    write_coordinate,
)
from clustergrid.storage.errors import StorageError
from clustergrid.storage.identity import labels_along
from clustergrid.storage.ingest import Target
from clustergrid.storage.manifest import Manifest
from clustergrid.storage.pieces import PieceFile
from clustergrid.storage.places import StorePath, remove_tree
from clustergrid.storage.pyramid import PYRAMID
from clustergrid.storage.readers.labels import dimension_names
from clustergrid.storage.regions import KEY, count_values
from clustergrid.storage.source import ArraySource, MatrixSource
from clustergrid.storage.sparse import SparseArraySource

__all__ = ["MATRIX", "Reordering", "reordered_dtype", "write_reordered"]

MATRIX = "matrix"
"""Name of the reordered matrix in its group."""

_DIMS = ("row", "column")


def reordered_dtype(dtype: np.dtype[Any], normalization: Normalization) -> np.dtype[Any]:
    """Type of reordered values: that of the matrix, unless normalizing makes others of them."""
    is_kept = normalization.axis is None or dtype.kind == "f"
    return dtype if is_kept else np.dtype(np.float64)


@dataclass(frozen=True, kw_only=True, eq=False)
class Reordering:
    """What is written.

    Attributes
    ----------
    matrix
        ``(n, k)``, for its labels and names; its values are read from `source`.
    source, normalization
        The values, and what is done to them.
    row_order, column_order
        ``(n,)`` and ``(k,)`` int: which row (column) stands where.
    key
        Of the values in this order.
    """

    matrix: xr.DataArray
    source: MatrixSource
    normalization: Normalization
    row_order: np.ndarray
    column_order: np.ndarray
    key: str

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the values that are written."""
        return reordered_dtype(self.source.dtype, self.normalization)

    @property
    def _in_memory(self) -> bool:
        """Whether any rows and columns are as cheap to read together as any others."""
        return isinstance(self.source, ArraySource | SparseArraySource)

    def plan(self, task_bytes: int) -> ReorderPlan:
        """Cut the work for tasks of some memory."""
        return ReorderPlan(
            shape=self.source.shape,
            itemsize=self.dtype.itemsize,
            source_chunks=None if self._in_memory else self.source.chunks,
            task_bytes=task_bytes,
        )

    @property
    def target_dims(self) -> tuple[str, str]:
        """Names of the dimensions at rest."""
        rows, columns = (None if dim == PYRAMID else dim for dim in self.matrix.dims)
        return dimension_names(rows, columns, _DIMS)

    @property
    def labels(self) -> tuple[Any, ...]:
        """Labels of rows and of columns in their new order; None where there are none."""
        found = (labels_along(self.matrix, dim) for dim in self.matrix.dims)
        orders = (self.row_order, self.column_order)
        return tuple(
            None if labels is None else labels[order]
            for labels, order in zip(found, orders, strict=True)
        )

    @property
    def array_names(self) -> list[str]:
        """Names of all arrays that are written."""
        labelled = zip(self.target_dims, self.labels, strict=True)
        dims = [name for name, labels in labelled if labels is not None]
        return [MATRIX, *dims, *self.coordinates]

    @cached_property
    def coordinates(self) -> dict[str, xr.Variable]:
        """Coordinates besides labels, in their new order, with the names of dimensions at rest."""
        names = dict(zip(self.matrix.dims, self.target_dims, strict=True))
        orders = dict(zip(self.target_dims, (self.row_order, self.column_order), strict=True))
        found = storable_coordinates(self.matrix, {PYRAMID, *self.target_dims})
        return {
            name: xr.Variable([names[dim] for dim in each.dims], each.data, each.attrs).isel(
                orders, missing_dims="ignore"
            )
            for name, each in found.items()
        }


def write_reordered(
    asked: Reordering,
    group: StorePath,
    manifest: Manifest,
    scratch: StorePath,
    *,
    task_bytes: int,
    executor: Executor,
    progress: Progress,
) -> None:
    """Write a matrix in another order to a Zarr group, or what is missing of it.

    Parameters
    ----------
    asked
        What is written, and its key.
    group
        Directory of the Zarr group; the values become its array ``matrix``.
    manifest
        Begun under the key; every chunk is noted in it. Its directory is that of the group.
    scratch
        Directory for pieces; it is removed at the end. What is in it is of the same key.
    task_bytes
        What a task may take.
    executor, progress
        Where tasks run, and who is told, as stage ``"reordered"``.

    Raises
    ------
    MemoryLimitError
        A chunk does not fit the memory of a task.
    StorageError
        The bytes cannot be written.
    """
    plan = asked.plan(task_bytes)
    plan.check()
    target = Target(group, MATRIX, asked.target_dims, manifest)
    # What is not written yet must not look like values.
    fill_value = np.nan if asked.dtype.kind == "f" else 0
    target.create(
        plan.shape, asked.dtype, plan.chunks, name=asked.matrix.name, fill_value=fill_value
    )
    # Of the key too: a task of a killed run, of another order, may still write its pieces.
    pieces = scratch / f"{asked.key[:16]}-{plan.cut}"
    work = _Work.of(asked, plan, str(group), pieces)
    left = [
        region for region in plan.regions if not target.finished.issuperset(work.chunks(region))
    ]
    total = 2 * plan.scratch_bytes
    with progress.stage("reordered", total=total, unit="bytes") as stage:
        pieces.mkdir(parents=True, exist_ok=True)
        missing = [block for block in plan.blocks if not work.file(block).is_whole] if left else []
        kept = total - sum(map(work.region_bytes, left)) - sum(map(work.block_bytes, missing))
        stage.kept += kept
        stage.advance(kept)
        shared = executor.share(work)
        for block in executor.map(_take_apart, shared, missing, name="reorder-blocks"):
            stage.advance(work.block_bytes(block))
        for region, noted in executor.map(_put_together, shared, left, name="reorder-regions"):
            for chunk, counted in noted:
                target.note(chunk, counted)
            stage.advance(work.region_bytes(region))
        for name, coordinate in asked.coordinates.items():
            write_coordinate(target.store, name, coordinate)
            manifest.record(*stored_entries(target.store, name))
        write_attributes(target.store, MATRIX, asked.matrix.attrs, list(asked.coordinates))
        target.finish(asked.labels, {})
        remove_tree(scratch)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Work:
    """What every task reads.

    ``row_place`` says where each row stands; ``row_counts[s, r]`` how many rows of block `s` belong
    to region `r`. Likewise columns.
    """

    source: MatrixSource
    normalization: Normalization
    plan: ReorderPlan
    dtype: np.dtype[Any]
    row_place: np.ndarray
    column_place: np.ndarray
    row_counts: np.ndarray
    column_counts: np.ndarray
    store: str
    key: str
    scratch: StorePath

    @classmethod
    def of(cls, asked: Reordering, plan: ReorderPlan, store: str, scratch: StorePath) -> _Work:
        row_place, column_place = map(leaf_places, (asked.row_order, asked.column_order))
        return cls(
            source=asked.source,
            normalization=asked.normalization,
            plan=plan,
            dtype=asked.dtype,
            row_place=row_place,
            column_place=column_place,
            row_counts=counts(row_place, plan.block_rows, plan.region_rows),
            column_counts=counts(column_place, plan.block_columns, plan.region_columns),
            store=store,
            key=asked.key,
            scratch=scratch,
        )

    def file(self, block: tuple[int, int]) -> PieceFile:
        """File of the pieces of a block: of the first rows of regions, then of the next."""
        lengths = np.outer(self.row_counts[block[0]], self.column_counts[block[1]]).ravel()
        path = self.scratch / f"{block[0]}-{block[1]}.pieces"
        return PieceFile(path=path, lengths=lengths, dtype=self.dtype)

    def block_bytes(self, block: tuple[int, int]) -> int:
        """Of the values of a block."""
        rows, columns = self.plan.block_rows[block[0]], self.plan.block_columns[block[1]]
        return _size(rows, columns) * self.dtype.itemsize

    def region_bytes(self, region: tuple[int, int]) -> int:
        """Of the values of a region."""
        rows, columns = self.plan.region_rows[region[0]], self.plan.region_columns[region[1]]
        return _size(rows, columns) * self.dtype.itemsize

    def chunks(self, region: tuple[int, int]) -> list[Chunk]:
        """Chunks that a region is made of."""
        rows, columns = self.plan.region_rows[region[0]], self.plan.region_columns[region[1]]
        height, width = self.plan.chunks
        return [
            (row, column)
            for row in range(rows.start // height, -(-rows.stop // height))
            for column in range(columns.start // width, -(-columns.stop // width))
        ]


def _size(rows: slice, columns: slice) -> int:
    return int((rows.stop - rows.start) * (columns.stop - columns.start))


def _take_apart(work: _Work, block: tuple[int, int]) -> tuple[int, int]:
    """Read a block, and write its pieces: rows in their old order, columns in their new one."""
    end_if_stopped()
    plan = work.plan
    rows, columns = plan.block_rows[block[0]], plan.block_columns[block[1]]
    values = work.source.read(rows, columns)
    if work.normalization.axis is not None:
        values = work.normalization.apply(values, rows, columns)
    values = values.astype(work.dtype, copy=False)
    row_pieces = _pieces(work.row_place[rows], plan.region_rows)
    column_order = np.argsort(work.column_place[columns], kind="stable")
    ends = np.cumsum(work.column_counts[block[1]])

    def pieces() -> Iterator[np.ndarray]:
        for chosen in row_pieces:
            # A row of regions at a time: rows first, since a whole row is read at once.
            there = np.take(values[chosen], column_order, axis=1)
            for start, stop in zip(np.append(0, ends[:-1]), ends, strict=True):
                yield there[:, start:stop]

    work.file(block).write(pieces())
    return block


def _pieces(place: np.ndarray, regions: list[slice]) -> list[np.ndarray]:
    """Rows of a block by the regions they belong to, in their old order."""
    starts = np.array([region.start for region in regions[1:]])
    region_of = np.searchsorted(starts, place, side="right")
    order = np.argsort(region_of, kind="stable")
    return np.split(order, np.cumsum(np.bincount(region_of, minlength=len(regions)))[:-1])


def _put_together(
    work: _Work, region: tuple[int, int]
) -> tuple[tuple[int, int], list[tuple[Chunk, np.ndarray]]]:
    """Put the pieces of a region together, and write its chunks."""
    plan = work.plan
    rows, columns = plan.region_rows[region[0]], plan.region_columns[region[1]]
    array = open_array(work.store, MATRIX, mode="r+")
    if array.attrs.get(KEY) != work.key:
        # A task of a killed run, on a cluster that outlived its driver.
        raise StorageError(f"{work.store}/{MATRIX} was begun anew, in another order")
    values = np.empty((rows.stop - rows.start, columns.stop - columns.start), work.dtype)
    number = region[0] * len(plan.region_columns) + region[1]
    for s, block_rows in enumerate(plan.block_rows):
        there = _inside(work.row_place[block_rows], rows)
        if not len(there):
            continue
        for c, block_columns in enumerate(plan.block_columns):
            end_if_stopped()
            across = np.sort(_inside(work.column_place[block_columns], columns))
            if len(across):
                piece = work.file((s, c)).read(number).reshape(len(there), len(across))
                place = there if len(across) == values.shape[1] else np.ix_(there, across)
                values[place] = piece
    write_block(array, (rows.start, columns.start), values)
    return region, [
        (chunk, _counted(work, chunk, values, rows, columns)) for chunk in work.chunks(region)
    ]


def _inside(place: np.ndarray, region: slice) -> np.ndarray:
    """Places within a region, of those that are in it."""
    inside: np.ndarray = place[(place >= region.start) & (place < region.stop)] - region.start
    return inside


def _counted(
    work: _Work, chunk: Chunk, values: np.ndarray, rows: slice, columns: slice
) -> np.ndarray:
    height, width = work.plan.chunks
    top, left = chunk[0] * height - rows.start, chunk[1] * width - columns.start
    return count_values(values[top : top + height, left : left + width])

"""Driver: stages bound to some rows and columns of a matrix, for parts that are clustered alone.

A matrix that is not in memory is put into the order of its parts first, once: each is then a run of
neighbours, and however many there are, the matrix is read as often as for one.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from clustergrid.pipeline.digests import array_digest
from clustergrid.pipeline.errors import DiskSpaceError
from clustergrid.pipeline.normalize import Normalization
from clustergrid.pipeline.picture_memory import reorder_task_bytes
from clustergrid.pipeline.reordering import MATRIX, Reordering, reordered_dtype, write_reordered
from clustergrid.pipeline.sizes import format_bytes
from clustergrid.pipeline.stages import Stages
from clustergrid.storage.manifest import Manifest
from clustergrid.storage.places import StorePath, as_path, remove_tree
from clustergrid.storage.readers.lazy import lazy_blocks
from clustergrid.storage.source import ArraySource, ZarrSource
from clustergrid.storage.sparse import as_sparse

__all__ = ["select", "slices_of"]


def select(stages: Stages, rows: np.ndarray, columns: np.ndarray) -> Stages:
    """Bind stages to some rows and columns, as they are normalized in the whole matrix.

    Parameters
    ----------
    stages
        Those of the whole matrix. They run in the same place, with the same memory; where they have
        a store, the part has a directory of its own in it.
    rows, columns
        Which, ``int64``. Nothing is read before something is computed, but of a matrix in memory.
    """
    return _bound(stages, _selected(stages, rows, columns), rows, columns)


def slices_of(
    stages: Stages, axis: int, members: Sequence[np.ndarray], *, both: bool = False
) -> Generator[Stages]:
    """Bind stages to one slice of an axis after another, as each is normalized in the whole.

    Parameters
    ----------
    stages
        Those of the whole matrix, as of `select`.
    axis
        Which is cut into slices: rows (0) or columns (1).
    members
        ``int64`` numbers of the rows (columns) of each slice.
    both
        Whether slices are cut out of the other axis too, as those of distances are.

    Yields
    ------
    Stages
        Of each slice, in their order. What is at rest for them is removed after the last, or when
        the generator is closed.

    Raises
    ------
    DiskSpaceError, StorageError
        The matrix in the order of its slices, which is written first where it is neither in memory
        nor sparse, has no room or cannot be written.
    """
    if stages.matrix.chunks is not None and as_sparse(stages.source) is None:
        if isinstance(stages.source, ArraySource):
            # It was brought into memory, and its parts are beside it.
            stages = _held(stages, stages.source.array)
        else:
            yield from _slices_at_rest(stages, axis, members, both=both)
            return
    for each in members:
        yield select(stages, *_indices(stages, axis, each, both=both))


def _indices(
    stages: Stages, axis: int, members: np.ndarray, *, both: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of a slice."""
    others = members if both else np.arange(stages.shape[1 - axis])
    return (others, members) if axis else (members, others)


def _bound(stages: Stages, part: xr.DataArray, *which: np.ndarray) -> Stages:
    """Bind a part of a matrix, already normalized, to stages that run where those of it do."""
    store = stages.store
    if store is not None:
        store = f"{store.rstrip('/')}/part-{array_digest(*which)[:16]}"
    return Stages(
        part,
        dtype=stages.dtype,
        executor=stages.executor,
        resources=stages.resources,
        store=store,
        progress=stages.progress,
    )


def _held(stages: Stages, values: np.ndarray) -> Stages:
    """Stages of a lazy matrix whose values are in memory now, out of what there was of that."""
    left = max(1, stages.resources.memory_bytes - values.nbytes)
    held = Stages(
        stages.matrix.copy(data=values),
        dtype=stages.dtype,
        executor=stages.executor,
        resources=replace(stages.resources, memory_bytes=left),
        store=stages.store,
        progress=stages.progress,
        **stages.steps,
    )
    held.normalization = stages.normalization  # from one pass, not from two
    return held


def _selected(stages: Stages, rows: np.ndarray, columns: np.ndarray) -> xr.DataArray:
    """Select of the normalized matrix: a copy of an array in memory, else lazily, in Dask's way.

    Stages take whatever has no chunks for an array in memory; and a task that reads a lazy window
    would compute an array of its own on a worker, which has no client.
    """
    row_dim, column_dim = stages.matrix.dims
    indices = {row_dim: rows, column_dim: columns}
    if stages.matrix.chunks is None:
        n, k = stages.shape
        return stages.reordered(np.arange(n), np.arange(k)).isel(indices).load()
    part = stages.matrix.isel(indices)
    whole = stages.normalization
    if whole.axis is None:
        return part
    assert whole.shift is not None
    assert whole.scale is not None
    index = (rows, columns)[whole.axis]
    picked = replace(whole, shift=whole.shift[index], scale=whole.scale[index])
    dtype = reordered_dtype(part.dtype, whole)
    values = part.data.map_blocks(_normalized, picked, dtype=dtype, meta=np.empty((0, 0), dtype))
    return part.copy(data=values)


def _normalized(
    values: np.ndarray, normalization: Normalization, block_info: dict[int | None, Any]
) -> np.ndarray:
    """Normalize a block, whose place Dask says."""
    rows, columns = (slice(*ends) for ends in block_info[0]["array-location"])
    block = normalization.apply(values, rows, columns)
    return block.astype(block_info[None]["dtype"], copy=False)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Ordered:
    """The matrix in the order of its slices, as it is written: these are along its rows.

    Attributes
    ----------
    stages, axis
        Of the matrix, and the axis of the slices.
    orders : (n,) and (k,) int64
        Which row, and which column, stands where.
    """

    stages: Stages
    axis: int
    orders: tuple[np.ndarray, np.ndarray]

    @property
    def reordering(self) -> Reordering:
        """What is written: a slice of columns is one of rows of the transposed matrix.

        Chunks hold whole rows, and one of columns would be a part of every chunk.
        """
        stages = self.stages
        source, normalization = stages.source, stages.normalization
        plain = stages.matrix.drop_vars(list(stages.matrix.coords))
        if self.axis:
            source, normalization = stages.transposed_source, normalization.transpose()
        along = 1 if self.axis else 0
        return Reordering(
            matrix=plain.T if self.axis else plain,
            source=source,
            normalization=normalization,
            row_order=self.orders[along],
            column_order=self.orders[1 - along],
            key=uuid.uuid4().hex,
        )

    def opened(self, group: StorePath) -> xr.DataArray:
        """Open what was written, with the matrix's labels, lazily."""
        source = ZarrSource(str(group), MATRIX)
        values = lazy_blocks(source, source.chunks, None)
        return self.stages.reordered(*self.orders).copy(data=values.T if self.axis else values)


def _slices_at_rest(
    stages: Stages, axis: int, members: Sequence[np.ndarray], *, both: bool
) -> Generator[Stages]:
    """Write the matrix in the order of its slices, of which each is then a part of few chunks."""
    orders = _indices(stages, axis, np.concatenate(members), both=both)
    dims = [dim for a, dim in enumerate(stages.matrix.dims) if both or a == axis]
    with _written(_Ordered(stages=stages, axis=axis, orders=orders)) as ordered:
        stop = 0
        for each in members:
            start, stop = stop, stop + len(each)
            part = ordered.isel(dict.fromkeys(dims, slice(start, stop)))
            yield _bound(stages, part, *_indices(stages, axis, each, both=both))


@contextmanager
def _written(asked: _Ordered) -> Iterator[xr.DataArray]:
    """Put the matrix in its order at rest, for as long as it is used."""
    stages, reordering = asked.stages, asked.reordering
    folder = as_path(stages.scratch) / f"slices-{reordering.key[:16]}"
    group = folder / "ordered.zarr"
    task_bytes = reorder_task_bytes(stages.ground)
    plan = reordering.plan(task_bytes)
    plan.check()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if isinstance(folder, Path):  # of a bucket nobody knows how much room there is
            _refuse_little_room(folder, 2 * plan.scratch_bytes)
        manifest = Manifest(folder, "ordered")
        manifest.begin(reordering.key)
        write_reordered(
            reordering,
            group,
            manifest,
            folder / "pieces",
            task_bytes=task_bytes,
            executor=stages.executor,
            progress=stages.progress,
        )
        yield asked.opened(group)
    finally:
        remove_tree(folder)


def _refuse_little_room(folder: Path, needed_bytes: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed_bytes > free:
        raise DiskSpaceError(
            f"slices of categories need {format_bytes(needed_bytes)} in {folder.parent}, where the "
            f"matrix is put into their order, and {format_bytes(free)} are free there: free that "
            "much, or give store= a directory that has it",
            needed_bytes=needed_bytes,
            free_bytes=free,
            path=str(folder.parent),
        )

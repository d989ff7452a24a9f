"""Driver: write a matrix to Zarr in whole, checksummed chunks that the later stages read well.

A store that was written here is a Zarr group that xarray opens: the values, a coordinate for every
labelled dimension, and a record in the group's attributes that says whether it is complete.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import xarray

from clustergrid.storage.arrays import create_array, open_array, write_block
from clustergrid.storage.chunks import Chunk, chunk_grid, stored_entries
from clustergrid.storage.errors import DataValueError, StorageError
from clustergrid.storage.grid import slabs
from clustergrid.storage.identity import RECORD, labels_along, stored_record
from clustergrid.storage.labels import write_labels
from clustergrid.storage.manifest import Manifest, chunk_entry, chunk_file, metadata_entry
from clustergrid.storage.places import AnyPlace, zarr_store
from clustergrid.storage.readers.base import Stream, working_dtype
from clustergrid.storage.readers.chunking import storage_chunks
from clustergrid.storage.readers.labels import dimension_names, plain_labels
from clustergrid.storage.readers.lazy import lazy_blocks, zarr_arrays_read
from clustergrid.storage.readers.location import Location
from clustergrid.storage.rechunk import CopyPlan, plan_copy
from clustergrid.storage.regions import COUNTS, KEY, add_counts, count_values, write_regions
from clustergrid.storage.source import ZarrSource

__all__ = ["Target", "ingest", "ingest_stream"]

Progress = Callable[[int, int], None]
"""Called with the blocks that are written and their number (0 if it is not known)."""

_MEMORY_BYTES = 2**30
_DIMS = ("row", "column")


def ingest(
    matrix: xarray.DataArray,
    store: AnyPlace,
    path: str = "matrix",
    *,
    chunks: tuple[int, int] | None = None,
    memory_bytes: int = _MEMORY_BYTES,
    manifest: Manifest | None = None,
    progress: Progress | None = None,
) -> ZarrSource:
    """Write a matrix and its labels to a Zarr group.

    A Dask-backed matrix is computed by the caller's scheduler: the distributed client that is
    active, or Dask's threads. Writing a block again writes the same bytes, so tasks are retried.

    Parameters
    ----------
    matrix
        From `clustergrid.storage.open_matrix`.
    store, path
        The group, which may hold other arrays, and the name of the array in it. An array that is
        there is replaced.
    chunks
        Rows and columns of a chunk; by default as `storage_chunks` says.
    memory_bytes
        What the values of a Dask-backed matrix that are under way may take, as far as whole chunks
        of it fit in that. A matrix that is stored column by column is copied by way of an array
        beside it.
    manifest
        Begun under the key of this matrix: every chunk is noted in it, and those that it holds are
        not written again. The store is then a directory beside it.
    progress
        Called after every block.

    Returns
    -------
    ZarrSource
        The stored values. ``open_matrix(store)`` gives the labelled matrix.

    Raises
    ------
    DataValueError
        It has no two dimensions, nothing in it, or is read from the array it would replace.
    StorageError
        The store cannot be written.
    """
    if matrix.ndim != 2 or 0 in matrix.shape:
        raise DataValueError(f"a matrix of shape {matrix.shape} cannot be stored")
    shape = (int(matrix.shape[0]), int(matrix.shape[1]))
    chunks = chunks or storage_chunks(shape, matrix.dtype.itemsize)
    labels = tuple(labels_along(matrix, dim) for dim in matrix.dims)
    dims = dimension_names(matrix.dims[0], matrix.dims[1], _DIMS)
    target = Target(store, path, dims, manifest)
    if matrix.chunks is not None and (target.store, path) in zarr_arrays_read(matrix.data):
        raise DataValueError(
            f"the matrix is read from {path!r} in {target.store}, which would be replaced while it "
            "is read: choose another store or path"
        )
    target.create(shape, matrix.dtype, chunks, name=matrix.name)
    if matrix.chunks is None:
        _write_array(np.asarray(matrix.data), target, progress)
    else:
        _write_lazy(matrix.data, target, memory_bytes, progress)
    target.finish(labels, {})
    return target.source


def ingest_stream(
    stream: Stream,
    store: AnyPlace,
    path: str = "matrix",
    *,
    identity: dict[str, Any] | None = None,
    manifest: Manifest | None = None,
    progress: Progress | None = None,
) -> ZarrSource:
    """Write a stream of rows to a Zarr group, in one pass and in bounded memory.

    Parameters
    ----------
    stream
        From a reader.
    store, path, progress
        As in `ingest`.
    identity
        Describes the input; kept in the record, to know the copy again.
    manifest
        Begun under the key of this matrix: every chunk is noted in it. A stream has no place to go
        on from, so it is written from its beginning.

    Raises
    ------
    DataTypeError, DataValueError
        A part of the input cannot be read, or there are no rows.
    """
    # The number of rows is not known before the end: the array grows, a row of chunks at a time.
    dtype = working_dtype(stream.dtype)
    chunks = storage_chunks((2**40, stream.n_columns), dtype.itemsize)
    names = (stream.row_name, getattr(stream.column_labels, "name", None))
    target = Target(store, path, dimension_names(*names, stream.dims), manifest)
    target.create((0, stream.n_columns), dtype, chunks, name=stream.name)
    writer = _RowWriter(target, progress)
    labels: list[pd.Index] = []
    for index, block in stream.blocks():
        writer.add(block)
        if index is not None:
            labels.append(index)
    writer.flush()
    if not writer.written:
        raise DataValueError("the input has a header and no rows: there is nothing to read")
    row_labels = plain_labels(labels[0].append(labels[1:])) if labels else None
    target.finish((row_labels, stream.column_labels), {"input": identity})
    return target.source


class Target:
    """The group that is being written: its arrays, its record and its manifest."""

    def __init__(
        self,
        store: AnyPlace,
        path: str,
        dims: tuple[str, str],
        manifest: Manifest | None,
    ) -> None:
        self.store = Location.parse(store).url
        self.path = path
        self.dims = dims
        self.source = ZarrSource(self.store, path)
        self.counts = np.zeros((), COUNTS)
        self.finished: frozenset[Chunk] = frozenset()
        self.manifest = manifest

    def create(
        self,
        shape: tuple[int, int],
        dtype: np.dtype[Any],
        chunks: tuple[int, int],
        name: Hashable,
        fill_value: Any = 0,
    ) -> None:
        """Make the group and the empty array, and note that it is not complete."""
        import zarr

        try:
            group = zarr.open_group(zarr_store(self.store), mode="a", zarr_format=3)
        except (OSError, ValueError) as error:
            raise StorageError(f"cannot write to {self.store}: {error}") from error
        if self.manifest is None:
            self._refuse_foreign(group)
        if self._goes_on(shape, dtype, chunks):
            return
        if self.manifest is not None:
            self.manifest.forget(self._noted())
        self._note(
            group,
            {
                "complete": False,
                "name": None if name is None else str(name),
                "labels": list(self.dims),
            },
        )
        create_array(
            self.store,
            self.path,
            shape=shape,
            dtype=dtype,
            chunks=chunks,
            dimension_names=self.dims,
            attributes=None if self.key is None else {KEY: self.key},
            overwrite=True,
            fill_value=fill_value,
        )
        if self.manifest is not None:
            self.manifest.record(*(metadata_entry(self.store, array) for array in ("", self.path)))

    @property
    def key(self) -> str | None:
        """Of the matrix, where there is a manifest: tasks write to an array of this key only."""
        return None if self.manifest is None else self.manifest.key

    def _noted(self) -> list[str]:
        """Names of the files of this array that the manifest holds."""
        prefix = f"{os.path.basename(self.store)}/{self.path}/"
        entries = () if self.manifest is None else self.manifest.entries
        return [name for name in entries if name.startswith(prefix)]

    def remove(self) -> None:
        """Remove the array, if there is one: its values are elsewhere now."""
        import zarr

        if self.manifest is not None:
            self.manifest.forget(self._noted())
        group = zarr.open_group(zarr_store(self.store), mode="r+")
        if self.path not in group:
            return
        del group[self.path]
        records: Any = group.attrs.asdict().get(RECORD, {})
        group.attrs[RECORD] = {name: each for name, each in records.items() if name != self.path}

    def _goes_on(
        self, shape: tuple[int, int], dtype: np.dtype[Any], chunks: tuple[int, int]
    ) -> bool:
        """Take over the chunks that the manifest holds, if they are of such an array."""
        if self.manifest is None or not self.manifest.entries:
            return False
        try:
            array = open_array(self.store, self.path)
        except StorageError:
            return False
        if (array.shape, array.dtype, array.chunks) != (shape, dtype, chunks):
            return False
        entries = {
            chunk: self.manifest.entries.get(self._file(chunk)) for chunk in _chunks_of(array)
        }
        found = {
            chunk: entry.facts
            for chunk, entry in entries.items()
            if entry is not None and entry.is_noted_in(self.manifest.root)
        }
        self.finished = frozenset(found)
        self.counts = add_counts(*found.values())
        return True

    def cut_as_before(self, plan: CopyPlan, memory_bytes: int) -> CopyPlan:
        """Take over how an earlier run cut the array in between, if there is memory for it."""
        if plan.region is None or not self._noted():
            return plan
        try:
            array = open_array(self.store, self.path)
        except StorageError:
            return plan
        height, width = array.chunks
        rows = plan.region[0]
        fits = rows * width * array.dtype.itemsize <= 2 * memory_bytes
        if not fits or (rows < array.shape[0] and rows % height):
            return plan
        return replace(plan, region=(rows, width), between_chunks=(height, width))

    def _file(self, chunk: Chunk) -> str:
        return f"{os.path.basename(self.store)}/{chunk_file(self.path, chunk)}"

    def note(self, chunk: Chunk, counts: Any) -> None:
        """Note a chunk whose bytes are at rest."""
        self.counts = add_counts(self.counts, counts)
        if self.manifest is not None:
            facts = {name: int(counts[name]) for name in COUNTS.names or ()}
            self.manifest.record(chunk_entry(self.store, self.path, chunk, **facts))

    def _refuse_foreign(self, group: Any) -> None:
        """Refuse to replace arrays that somebody else put into the group."""
        records: Any = group.attrs.asdict().get(RECORD, {})
        ours = {*records, *(dim for record in records.values() for dim in record.get("labels", []))}
        foreign = [name for name in (self.path, *self.dims) if name in group and name not in ours]
        if foreign:
            raise StorageError(
                f"{self.store} holds {', '.join(map(repr, foreign))}, which clustergrid did not "
                "write and would replace: name another store"
            )

    def finish(self, labels: tuple[pd.Index | None, ...], more: dict[str, Any]) -> None:
        """Write the labels, and note that everything is there."""
        import zarr

        group = zarr.open_group(zarr_store(self.store), mode="r+")
        for dim, index in zip(self.dims, labels, strict=True):
            if index is not None:
                write_labels(self.store, dim, index, dim)
            elif dim in group:
                del group[dim]  # of a matrix that was here before
        record = stored_record(self.store, self.path) or {}
        numbers = {name: int(self.counts[name]) for name in COUNTS.names or ()}
        self._note(group, {**record, **numbers, **more, "complete": True})
        if self.manifest is not None:
            for dim, index in zip(self.dims, labels, strict=True):
                if index is not None:
                    self.manifest.record(*stored_entries(self.store, dim))
            self.manifest.record(*(metadata_entry(self.store, array) for array in ("", self.path)))

    def _note(self, group: Any, record: dict[str, Any]) -> None:
        """Replace the record of this array in the group's attributes."""
        records: Any = group.attrs.asdict().get(RECORD, {})
        with _naming(self.store):
            group.attrs[RECORD] = {**records, self.path: record}


@contextmanager
def _naming(store: str) -> Iterator[None]:
    """Say where metadata could not be written; the system says only that there is no space."""
    try:
        yield
    except OSError as error:
        raise StorageError(f"cannot write the metadata of {store}: {error}") from error


class _RowWriter:
    """Gathers blocks of rows, and writes them a row of chunks at a time."""

    def __init__(self, target: Target, progress: Progress | None) -> None:
        self.written = 0
        self._target = target
        self._array = open_array(target.store, target.path, mode="r+")
        self._slab = np.empty((self._array.chunks[0], self._array.shape[1]), self._array.dtype)
        self._filled = 0
        self._progress = progress

    def add(self, block: np.ndarray) -> None:
        """Take the rows of a block, writing whenever a row of chunks is full."""
        while len(block):
            taken = block[: len(self._slab) - self._filled]
            self._slab[self._filled : self._filled + len(taken)] = taken
            self._filled += len(taken)
            block = block[len(taken) :]
            if self._filled == len(self._slab):
                self.flush()

    def flush(self) -> None:
        """Write what was gathered; only the last rows may be fewer than a chunk has."""
        if not self._filled:
            return
        values = self._slab[: self._filled]
        row = self.written // len(self._slab)
        with _naming(self._target.store):
            self._array.resize((self.written + self._filled, self._array.shape[1]))
        write_block(self._array, (self.written, 0), values)
        for column, part in enumerate(slabs(values.shape[1], self._array.chunks[1])):
            self._target.note((row, column), count_values(values[:, part]))
        self.written += self._filled
        self._filled = 0
        if self._progress is not None:
            self._progress(row + 1, 0)


def _chunks_of(array: Any) -> list[Chunk]:
    return list(itertools.product(*map(range, chunk_grid(array))))


def _write_array(values: np.ndarray, target: Target, progress: Progress | None) -> None:
    """Write an array that is in memory, a chunk at a time."""
    array = open_array(target.store, target.path, mode="r+")
    places = _chunks_of(array)
    for done, chunk in enumerate(places, start=1):
        if chunk not in target.finished:
            origin = tuple(place * step for place, step in zip(chunk, array.chunks, strict=True))
            region = tuple(
                slice(start, start + step) for start, step in zip(origin, array.chunks, strict=True)
            )
            write_block(array, origin, values[region])
            target.note(chunk, count_values(values[region]))
        if progress is not None:
            progress(done, len(places))


def _write_lazy(values: Any, target: Target, memory_bytes: int, progress: Progress | None) -> None:
    """Write a Dask array through the caller's scheduler, within a memory."""
    array = open_array(target.store, target.path)
    total = len(_chunks_of(array))
    between = Target(target.store, f"{target.path}_between", target.dims, target.manifest)
    if len(target.finished) == total:
        between.remove()
        return
    plan = plan_copy(
        values.shape,
        values.dtype.itemsize,
        values.chunksize,
        (array.chunks[0], array.chunks[1]),
        memory_bytes,
    )
    plan = between.cut_as_before(plan, memory_bytes)
    if plan.between_chunks is not None:
        between.create(values.shape, values.dtype, plan.between_chunks, name=None)
        total += len(_chunks_of(open_array(between.store, between.path)))
    kept = len(target.finished) + len(between.finished)
    done = itertools.count(kept + 1)

    def note(where: Target, chunk: Chunk, counts: Any) -> None:
        where.note(chunk, counts)
        if progress is not None:
            progress(next(done), total)

    if plan.region is not None and plan.between_chunks is not None:
        write_regions(
            values,
            between.store,
            between.path,
            region=plan.region,
            key=between.key,
            finished=between.finished,
            note=partial(note, between),
        )
        values = lazy_blocks(between.source, plan.between_chunks, None)
    write_regions(
        values,
        target.store,
        target.path,
        region=(plan.band_rows, values.shape[1]),
        key=target.key,
        finished=target.finished,
        note=partial(note, target),
    )
    between.remove()

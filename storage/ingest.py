"""Driver: write a matrix to Zarr in whole, checksummed chunks that the later stages read well.

A store that was written here is a Zarr group that xarray opens: the values, a coordinate for every
labelled dimension, and a record in the group's attributes that says whether it is complete.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Hashable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import xarray

from clustergrid.storage.arrays import create_array, open_array, write_block
from clustergrid.storage.errors import DataValueError, StorageError
from clustergrid.storage.grid import slabs
from clustergrid.storage.readers.base import Stream
from clustergrid.storage.readers.chunking import storage_chunks
from clustergrid.storage.readers.labels import dimension_names, plain_labels
from clustergrid.storage.readers.lazy import ZARR_ARRAY, zarr_arrays_read
from clustergrid.storage.readers.location import Location
from clustergrid.storage.source import ArraySource, ZarrSource

__all__ = ["fingerprint", "ingest", "ingest_stream", "matrix_source", "stored_record"]

Progress = Callable[[int, int], None]
"""Called with the blocks that are written and their number (0 if it is not known)."""

_RECORD = "clustergrid"
_LABEL_CHUNK = 2**18
_RETRIES = 3
_BLOCK_RECORD = np.dtype([("missing", np.int64), ("infinite", np.int64)])


def ingest(
    matrix: xarray.DataArray,
    store: str | os.PathLike[str],
    path: str = "matrix",
    *,
    chunks: tuple[int, int] | None = None,
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
    labels = tuple(_labels(matrix, dim) for dim in matrix.dims)
    target = _Target(store, path, dimension_names(matrix.dims[0], matrix.dims[1], _DIMS))
    if matrix.chunks is not None and (target.store, path) in zarr_arrays_read(matrix.data):
        raise DataValueError(
            f"the matrix is read from {path!r} in {target.store}, which would be replaced while it "
            "is read: choose another store or path"
        )
    target.create(shape, matrix.dtype, chunks, name=matrix.name)
    if matrix.chunks is None:
        counts = _write_array(np.asarray(matrix.data), target, chunks, progress)
    else:
        counts = _write_lazy(matrix.data, target, chunks, progress)
    target.finish(labels, counts, {})
    return target.source


def ingest_stream(
    stream: Stream,
    store: str | os.PathLike[str],
    path: str = "matrix",
    *,
    identity: dict[str, Any] | None = None,
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

    Raises
    ------
    DataTypeError, DataValueError
        A part of the input cannot be read, or there are no rows.
    """
    # The number of rows is not known before the end: the array grows, a row of chunks at a time.
    chunks = storage_chunks((2**40, stream.n_columns), stream.dtype.itemsize)
    names = (stream.row_name, getattr(stream.column_labels, "name", None))
    target = _Target(store, path, dimension_names(*names, stream.dims))
    target.create((0, stream.n_columns), stream.dtype, chunks, name=stream.name)
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
    target.finish((row_labels, stream.column_labels), writer.counts, {"input": identity})
    return target.source


def stored_record(store: str | os.PathLike[str], path: str = "matrix") -> dict[str, Any] | None:
    """Return what `ingest` noted about an array, or None if there is none.

    Returns
    -------
    dict
        ``complete``; and if that is true, ``missing`` and ``infinite``, the numbers of such values.
    """
    import zarr

    try:
        group = zarr.open_group(str(store), mode="r")
    except (OSError, ValueError, KeyError):
        return None
    records = group.attrs.asdict().get(_RECORD, {})
    record = records.get(path) if isinstance(records, dict) else None
    return record if isinstance(record, dict) else None


def matrix_source(matrix: xarray.DataArray) -> ArraySource | ZarrSource | None:
    """Source of a matrix that need not be stored first.

    Returns
    -------
    ArraySource, ZarrSource or None
        The values in memory; the Zarr array that `open_matrix` opened, if the matrix is still the
        whole of it and its chunks suit; otherwise None: `ingest` it.
    """
    if matrix.chunks is None:
        return ArraySource(np.asarray(matrix.data))
    place = matrix.encoding.get(ZARR_ARRAY)
    if not isinstance(place, dict) or place.get("dask_name") != matrix.data.name:
        return None
    source = ZarrSource(place["store"], place["path"])
    if source.shape != matrix.shape or source.dtype != matrix.dtype:
        return None
    return source if _chunks_suit(source) else None


def fingerprint(data: xarray.DataArray | np.ndarray | str | os.PathLike[str]) -> dict[str, Any]:
    """Describe an input so that a change of it is noticed, as JSON.

    Parameters
    ----------
    data
        A path or URL: its size, time and a digest of its first and last megabyte (of a directory,
        a digest of the names, sizes and times of its files). An array in memory: a digest of all
        values and labels. A Dask-backed matrix: the name Dask gives it, which is the same in
        another process only for matrices that `open_matrix` opened.
    """
    if isinstance(data, str | os.PathLike):
        return Location.parse(data).fingerprint()
    described: dict[str, Any] = {"shape": list(data.shape), "dtype": str(data.dtype)}
    if isinstance(data, xarray.DataArray):
        digest = hashlib.sha256(repr(data.dims).encode())
        for dim in data.dims:
            labels = _labels(data, dim)
            digest.update(repr(None if labels is None else labels.to_list()).encode())
        described["sha256_of_labels"] = digest.hexdigest()
        if data.chunks is not None:
            return {**described, "dask_name": data.data.name}
        data = np.asarray(data.data)
    content = hashlib.sha256()
    for part in slabs(data.shape[0], 4096):
        content.update(np.ascontiguousarray(data[part]).data)
    return {**described, "sha256": content.hexdigest()}


_DIMS = ("row", "column")


class _Target:
    """The group that is being written: its arrays and its record."""

    def __init__(self, store: str | os.PathLike[str], path: str, dims: tuple[str, str]) -> None:
        self.store = Location.parse(store).url
        self.path = path
        self.dims = dims
        self.source = ZarrSource(self.store, path)

    def create(
        self,
        shape: tuple[int, int],
        dtype: np.dtype[Any],
        chunks: tuple[int, int],
        name: Hashable,
    ) -> None:
        """Make the group and the empty array, and note that it is not complete."""
        import zarr

        try:
            group = zarr.open_group(self.store, mode="a", zarr_format=3)
        except (OSError, ValueError) as error:
            raise StorageError(f"cannot write to {self.store}: {error}") from error
        self._refuse_foreign(group)
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
            overwrite=True,
        )

    def _refuse_foreign(self, group: Any) -> None:
        """Refuse to replace arrays that somebody else put into the group."""
        records: Any = group.attrs.asdict().get(_RECORD, {})
        ours = {*records, *(dim for record in records.values() for dim in record.get("labels", []))}
        foreign = [name for name in (self.path, *self.dims) if name in group and name not in ours]
        if foreign:
            raise StorageError(
                f"{self.store} holds {', '.join(map(repr, foreign))}, which clustergrid did not "
                "write and would replace: name another store"
            )

    def finish(
        self, labels: tuple[pd.Index | None, ...], counts: Any, more: dict[str, Any]
    ) -> None:
        """Write the labels, and note that everything is there."""
        import zarr

        group = zarr.open_group(self.store, mode="r+")
        for dim, index in zip(self.dims, labels, strict=True):
            if index is not None:
                self._write_labels(dim, index)
            elif dim in group:
                del group[dim]  # of a matrix that was here before
        record = stored_record(self.store, self.path) or {}
        numbers = {name: int(counts[name]) for name in _BLOCK_RECORD.names or ()}
        self._note(group, {**record, **numbers, **more, "complete": True})

    def _write_labels(self, dim: str, index: pd.Index) -> None:
        """Write the labels of a dimension as a coordinate that xarray finds."""
        values = index.to_numpy()
        is_text = values.dtype == object
        array = create_array(
            self.store,
            dim,
            shape=(len(index),),
            dtype="str" if is_text else values.dtype,
            chunks=(min(_LABEL_CHUNK, len(index)),),
            dimension_names=(dim,),
            fill_value="" if is_text else 0,
            overwrite=True,
        )
        for part in slabs(len(index), _LABEL_CHUNK):
            write_block(array, (part.start,), values[part])

    def _note(self, group: Any, record: dict[str, Any]) -> None:
        """Replace the record of this array in the group's attributes."""
        records: Any = group.attrs.asdict().get(_RECORD, {})
        group.attrs[_RECORD] = {**records, self.path: record}


class _RowWriter:
    """Gathers blocks of rows, and writes them a row of chunks at a time."""

    def __init__(self, target: _Target, progress: Progress | None) -> None:
        self.counts = np.zeros((), _BLOCK_RECORD)
        self.written = 0
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
        self._array.resize((self.written + self._filled, self._array.shape[1]))
        write_block(self._array, (self.written, 0), values)
        self.counts = _add(self.counts, _count(values))
        self.written += self._filled
        self._filled = 0
        if self._progress is not None:
            self._progress(-(-self.written // len(self._slab)), 0)


def _write_array(
    values: np.ndarray, target: _Target, chunks: tuple[int, int], progress: Progress | None
) -> Any:
    """Write an array that is in memory, a row of chunks at a time."""
    array = open_array(target.store, target.path, mode="r+")
    total = -(-len(values) // chunks[0])
    counts = np.zeros((), _BLOCK_RECORD)
    for done, part in enumerate(slabs(len(values), chunks[0]), start=1):
        write_block(array, (part.start, 0), values[part])
        counts = _add(counts, _count(values[part]))
        if progress is not None:
            progress(done, total)
    return counts


def _write_lazy(
    values: Any, target: _Target, chunks: tuple[int, int], progress: Progress | None
) -> Any:
    """Write a Dask array through the caller's scheduler; each task writes one chunk."""
    from dask.base import compute

    aligned = values.rechunk(chunks, method="tasks")
    written = aligned.map_blocks(
        write_chunk,
        store=target.store,
        path=target.path,
        chunks=tuple((1,) * count for count in aligned.numblocks),
        dtype=_BLOCK_RECORD,
        meta=np.empty((0, 0), _BLOCK_RECORD),
        token="matrix-ingest",
    )
    if progress is None:
        (records,) = compute(written, retries=_RETRIES)
        return _add(*np.asarray(records).ravel())
    return _compute_with_progress(written, progress)


def _compute_with_progress(written: Any, progress: Progress) -> Any:
    """Compute the blocks and tell after each of them."""
    from dask.base import compute
    from dask.callbacks import Callback

    total = int(np.prod(written.numblocks))
    client = _active_client()
    if client is not None:
        from distributed import as_completed

        blocks = list(written.to_delayed().ravel())
        counts = np.zeros((), _BLOCK_RECORD)
        futures = client.compute(blocks, retries=_RETRIES)
        for done, future in enumerate(as_completed(futures, loop=client.loop), start=1):
            counts = _add(counts, *np.asarray(future.result()).ravel())
            progress(done, total)
        return counts
    tell = partial(_tell, name=written.name, total=total, progress=progress, seen=[])
    with Callback(posttask=tell):
        (records,) = compute(written, retries=_RETRIES)
    return _add(*np.asarray(records).ravel())


def _active_client() -> Any:
    """Return the distributed client that `dask.compute` would use, if there is one."""
    if "distributed" not in sys.modules:
        return None
    from dask.base import get_scheduler

    get = get_scheduler()
    return getattr(get, "__self__", None)


def _tell(
    key: Any,
    _result: Any,
    _graph: Any,
    _state: Any,
    _worker: Any,
    *,
    name: str,
    total: int,
    progress: Progress,
    seen: list[Any],
) -> None:
    """Count a block, when one of Dask's threads finished it."""
    if isinstance(key, tuple) and key[0] == name:
        seen.append(key)
        progress(len(seen), total)


def write_chunk(block: np.ndarray, *, store: str, path: str, block_info: Any = None) -> np.ndarray:
    """Write one chunk of the matrix, and return what was counted in it, as a (1, 1) array."""
    location = block_info[0]["array-location"]
    array = open_array(store, path, mode="r+")
    write_block(array, tuple(start for start, _ in location), np.asarray(block))
    return _count(block).reshape(1, 1)


def _count(values: np.ndarray) -> np.ndarray:
    """Count missing and infinite values."""
    counts = np.zeros((), _BLOCK_RECORD)
    if values.dtype.kind == "f":
        counts["missing"] = np.count_nonzero(np.isnan(values))
        counts["infinite"] = np.count_nonzero(np.isinf(values))
    return counts


def _add(*records: Any) -> Any:
    """Add records field by field."""
    total = np.zeros((), _BLOCK_RECORD)
    for name in _BLOCK_RECORD.names or ():
        total[name] = sum(int(record[name]) for record in records)
    return total


def _labels(matrix: xarray.DataArray, dim: Hashable) -> pd.Index | None:
    """Labels along a dimension, if it has any."""
    return plain_labels(matrix.get_index(dim)) if dim in matrix.coords else None


def _chunks_suit(source: ZarrSource) -> bool:
    """Whether blocks of rows and tiles can be read without reading much else."""
    (rows, columns), (n_rows, n_columns) = source.chunks, source.shape
    itemsize = source.dtype.itemsize
    chunk_bytes = min(rows, n_rows) * min(columns, n_columns) * itemsize
    row_of_chunks = min(rows, n_rows) * n_columns * itemsize
    n_chunks = -(-n_rows // rows) * -(-n_columns // columns)
    is_large_enough = chunk_bytes >= 2**20 or n_chunks <= 16
    return is_large_enough and chunk_bytes <= 2**27 and (row_of_chunks <= 2**28 or rows <= 512)

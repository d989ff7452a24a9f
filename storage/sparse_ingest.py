"""Driver: a labelled sparse matrix by columns, put at rest by rows as `ingest` puts dense ones.

The store is a Zarr group with the matrix as `sparse_copy` writes it, an array of labels for every
labelled dimension, and a record in the group's attributes that says whether it is complete.
"""

from __future__ import annotations

import os
from typing import Any

from clustergrid.storage.chunks import stored_entries
from clustergrid.storage.errors import DataValueError, StorageError
from clustergrid.storage.labels import write_labels
from clustergrid.storage.manifest import Manifest, metadata_entry
from clustergrid.storage.readers.base import Stream
from clustergrid.storage.readers.labels import dimension_names
from clustergrid.storage.readers.location import Location
from clustergrid.storage.readers.sparse import CompressedColumns, SparseGroupSource
from clustergrid.storage.sparse_copy import SPARSE_ARRAYS, Progress, copy_by_rows, note_record

__all__ = ["columns_of", "ingest_columns"]

_MEMORY_BYTES = 2**28


def columns_of(stream: Stream) -> CompressedColumns | None:
    """Return the columns of a stream that is a matrix compressed by columns; else None."""
    return stream.compressed if isinstance(stream.compressed, CompressedColumns) else None


def ingest_columns(
    stream: Stream,
    columns: CompressedColumns,
    store: str | os.PathLike[str],
    path: str = "matrix",
    *,
    identity: dict[str, Any] | None = None,
    manifest: Manifest | None = None,
    memory_bytes: int = _MEMORY_BYTES,
    progress: Progress | None = None,
) -> SparseGroupSource:
    """Write a matrix that is compressed by columns to a Zarr group, compressed by rows.

    Parameters
    ----------
    stream, columns
        From a reader: the labels, and the matrix.
    store, path, identity, manifest
        As in `ingest_stream`. The manifest is given every chunk when all are there: it cannot be
        gone on from the middle of a copy.
    memory_bytes
        What entries that are under way may take.
    progress
        Called with the entries that were moved, and how many are moved in all.

    Raises
    ------
    DataTypeError, DataValueError
        Entries do not lie in the matrix.
    StorageError
        The store cannot be written.
    """
    if 0 in columns.shape:
        raise DataValueError(f"a matrix of shape {columns.shape} cannot be stored")
    where = Location.parse(store).url
    labels = (columns.row_labels, stream.column_labels)
    dims = dimension_names(
        stream.row_name, getattr(stream.column_labels, "name", None), stream.dims
    )
    record = {
        "name": None if stream.name is None else str(stream.name),
        "labels": list(dims),
    }
    source = copy_by_rows(
        columns.slabs(),
        columns.shape,
        columns.dtype,
        columns.n_stored,
        where,
        path,
        memory_bytes=memory_bytes,
        identity=identity,
        more={**record, "complete": False},
        progress=progress,
    )
    for dim, index in zip(dims, labels, strict=True):
        if index is not None:
            write_labels(where, dim, index, dim)
    # Its labels are of the matrix: it is complete with them.
    note_record(where, path, {**record, "input": identity, "complete": True})
    if manifest is not None:
        _record(
            manifest, where, path, [d for d, i in zip(dims, labels, strict=True) if i is not None]
        )
    return source


def _record(manifest: Manifest, store: str, path: str, labels: list[str]) -> None:
    """Note every file that was written."""
    try:
        for array in (*(f"{path}/{name}" for name in SPARSE_ARRAYS), *labels):
            manifest.record(*stored_entries(store, array))
        manifest.record(*(metadata_entry(store, group) for group in ("", path)))
    except OSError as error:
        raise StorageError(f"cannot read what was written to {store}: {error}") from error

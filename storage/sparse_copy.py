"""Driver: put a sparse matrix at rest by rows, as AnnData does, within a memory.

A matrix that is compressed by columns, or the transpose of one that is compressed by rows, cannot
be read by rows. Its entries are dealt once into temporary files, one for every band of rows that
fits the memory, and the bands are put in order one after another. So every value is read twice and
written twice, however large the matrix is.

What is written is a Zarr group with the arrays ``data``, ``indices`` and ``indptr`` in the encoding
``csr_matrix`` (https://anndata.readthedocs.io/en/stable/fileformat-prose.html), in whole chunks
with checksums, and a record beside it that says whether it is complete and of what.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clustergrid.storage.arrays import create_array, open_array, write_block
from clustergrid.storage.errors import StorageError
from clustergrid.storage.grid import slabs
from clustergrid.storage.identity import RECORD, stored_record
from clustergrid.storage.places import as_path, remove_tree, zarr_store
from clustergrid.storage.readers.chunking import CHUNK_BYTES
from clustergrid.storage.readers.sparse import SparseGroupSource
from clustergrid.storage.readers.zarr_store import compressed_rows
from clustergrid.storage.sparse import CompressedParts, SparseSource

__all__ = [
    "SPARSE_ARRAYS",
    "Slab",
    "begin_copy",
    "copy_by_rows",
    "note_record",
    "opened_copy",
    "rows_of",
    "stored_copy",
    "transposed_copy",
    "write_rows",
]

SPARSE_ARRAYS = ("data", "indices", "indptr")
"""Arrays of a group that holds a sparse matrix."""

Slab = tuple[int, CompressedParts]
"""Number of the first column of some, and these columns compressed: indices are rows."""

Progress = Callable[[int, int], None]
"""Called with the entries that were moved and how often all are moved."""

_SLAB_ENTRIES = 2**22
_ENTRY_BYTES = 48
"""Of an entry of a band while it is put in order: as it was dealt, and by rows."""


@dataclass(frozen=True, kw_only=True)
class _Shape:
    rows: int
    columns: int
    n_stored: int
    dtype: np.dtype[Any]

    @property
    def index_dtype(self) -> np.dtype[Any]:
        return np.dtype(np.int32 if self.columns <= np.iinfo(np.int32).max else np.int64)

    @property
    def entry(self) -> np.dtype[Any]:
        """An entry as it is dealt."""
        return np.dtype([("row", np.int64), ("column", self.index_dtype), ("value", self.dtype)])

    @property
    def chunk(self) -> int:
        """Entries of one chunk."""
        return CHUNK_BYTES // max(self.dtype.itemsize, self.index_dtype.itemsize)


def transposed_copy(
    source: SparseSource,
    store: str,
    path: str,
    *,
    memory_bytes: int,
    identity: Any = None,
    progress: Progress | None = None,
) -> SparseGroupSource:
    """Put the transpose of a matrix at rest by rows.

    Parameters
    ----------
    source
        The matrix, which is read by rows.
    store, path
        A Zarr group, and name of the group in it that is written, in place of one that is there.
    memory_bytes
        What the entries that are under way may take.
    identity
        Describes the matrix, as JSON: a complete copy of the same that is there is used again.
    progress
        Called with the entries that were moved, and the number of all that will be.
    """
    n, k = source.shape
    record = stored_record(store, path)
    if identity is not None and record is not None and record.get("input") == identity:
        found = stored_copy(store, path)
        if found is not None:
            return found
    return copy_by_rows(
        rows_of(source),
        (k, n),
        source.dtype,
        source.n_stored,
        store,
        path,
        memory_bytes=memory_bytes,
        identity=identity,
        progress=progress,
    )


def rows_of(source: SparseSource) -> Iterator[Slab]:
    """Read a matrix by rows, some at a time: the columns of its transpose."""
    n = source.shape[0]
    step = max(1, _SLAB_ENTRIES * n // max(1, source.n_stored))
    for rows in slabs(n, step):
        yield rows.start, source.read_compressed(rows)


def copy_by_rows(
    columns: Iterable[Slab],
    shape: tuple[int, int],
    dtype: np.dtype[Any],
    n_stored: int,
    store: str,
    path: str,
    *,
    memory_bytes: int,
    identity: Any = None,
    more: dict[str, Any] | None = None,
    progress: Progress | None = None,
) -> SparseGroupSource:
    """Put a matrix at rest by rows that is read by columns.

    Parameters
    ----------
    columns
        The columns, some at a time and in their order.
    shape, dtype, n_stored
        Rows and columns, type of the values, and how many are stored at most.
    store, path, memory_bytes, identity, progress
        As in `transposed_copy`.
    more
        More for the record; whether it is complete, if it is not with this.

    Raises
    ------
    StorageError
        The store, or the file system of temporary files, cannot be written.
    """
    found = _Shape(rows=shape[0], columns=shape[1], n_stored=n_stored, dtype=np.dtype(dtype))
    record = {**(more or {}), "complete": False, "input": identity}
    _begin(store, path, found, record)
    n_bands = max(1, -(-n_stored * _ENTRY_BYTES // max(1, memory_bytes)))
    told = _Told(progress, 2 * n_stored)
    near = str(Path(store).parent) if Path(store).parent.is_dir() else None
    try:
        with tempfile.TemporaryDirectory(prefix="clustergrid-rows-", dir=near) as folder:
            bands, counts = _deal(columns, found, n_bands, Path(folder), told)
            writer = _Writer(store, path, found, int(counts.sum()))
            for band, file in bands:
                writer.add(*_in_order(file, found, band))
                told.advance(int(counts[band].sum()))
            writer.finish()
    except OSError as error:
        raise StorageError(f"cannot copy a sparse matrix to {store}: {error}") from error
    # Whoever gives more for the record writes more than the matrix, and says when that is there.
    note_record(store, path, {**record, "complete": True, **(more or {})})
    return compressed_rows(store, path)


def begin_copy(
    store: str,
    path: str,
    shape: tuple[int, int],
    n_stored: int,
    dtype: np.dtype[Any],
    record: dict[str, Any],
) -> None:
    """Make an empty group in place of what is there, and note that it is not complete.

    Parameters
    ----------
    store, path, shape, dtype, n_stored
        As in `copy_by_rows`.
    record
        What is noted besides.
    """
    found = _Shape(rows=shape[0], columns=shape[1], n_stored=n_stored, dtype=np.dtype(dtype))
    _begin(store, path, found, {**record, "complete": False, "input": None})


def write_rows(
    store: str,
    path: str,
    shape: tuple[int, int],
    dtype: np.dtype[Any],
    n_stored: int,
    bands: Iterable[CompressedParts],
) -> None:
    """Write the arrays of a group that `begin_copy` made.

    Parameters
    ----------
    store, path, shape, dtype
        As in `copy_by_rows`.
    n_stored
        How many values there are.
    bands
        Values and columns of all rows in their order, some rows at a time, and the number of
        entries of each row.
    """
    found = _Shape(rows=shape[0], columns=shape[1], n_stored=n_stored, dtype=np.dtype(dtype))
    writer = _Writer(store, path, found, n_stored)
    for values, columns, counts in bands:
        writer.add(values, columns.astype(found.index_dtype, copy=False), counts)
    writer.finish()


def opened_copy(store: str, path: str) -> SparseGroupSource:
    """Return the matrix that was just written."""
    return compressed_rows(store, path)


class _Told:
    """How many entries were moved."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress, self._total, self._done = progress, total, 0

    def advance(self, entries: int) -> None:
        self._done += entries
        if self._progress is not None:
            self._progress(self._done, self._total)


def _deal(
    columns: Iterable[Slab], shape: _Shape, n_bands: int, folder: Path, told: _Told
) -> tuple[list[tuple[slice, Path]], np.ndarray]:
    """Append every entry to the file of its band of rows; count the entries of every row."""
    import scipy.sparse

    step = -(-shape.rows // min(n_bands, shape.rows))
    bands = [(rows, folder / str(rows.start)) for rows in slabs(shape.rows, step)]
    counts = np.zeros(shape.rows, np.int64)
    for first, (data, indices, indptr) in columns:
        size = (shape.rows, len(indptr) - 1)
        # A counting sort; columns stay in their order within each row.
        part = scipy.sparse.csc_array((data, indices, indptr), shape=size).tocsr()
        lengths = np.diff(part.indptr)
        counts += lengths
        for rows, file in bands:
            inside = slice(int(part.indptr[rows.start]), int(part.indptr[rows.stop]))
            entries = np.empty(inside.stop - inside.start, shape.entry)
            entries["row"] = np.repeat(np.arange(rows.start, rows.stop), lengths[rows])
            entries["column"] = part.indices[inside] + first
            entries["value"] = part.data[inside]
            with open(file, "ab") as out:
                entries.tofile(out)
        told.advance(len(data))
    return bands, counts


def _in_order(file: Path, shape: _Shape, rows: slice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values and columns of a band by rows, and the number of entries of each row."""
    entries = np.fromfile(file, shape.entry) if file.exists() else np.empty(0, shape.entry)
    file.unlink(missing_ok=True)
    row = entries["row"] - rows.start
    order = np.argsort(row, kind="stable")
    counts = np.bincount(row, minlength=rows.stop - rows.start)
    return entries["value"][order], entries["column"][order], counts


class _Writer:
    """Writes values and columns in whole chunks, one band after another."""

    def __init__(self, store: str, path: str, shape: _Shape, n_entries: int) -> None:
        self._arrays = []
        self._held: list[list[np.ndarray]] = [[], []]
        self._chunk = min(shape.chunk, max(1, n_entries))
        self._written = 0
        self._pointers = [np.zeros(1, np.int64)]
        self._where = store, path
        for name, dtype in (("data", shape.dtype), ("indices", shape.index_dtype)):
            self._arrays.append(_create(store, f"{path}/{name}", n_entries, dtype, self._chunk))

    def add(self, values: np.ndarray, columns: np.ndarray, counts: np.ndarray) -> None:
        """Take the entries of the next rows."""
        self._held[0].append(values)
        self._held[1].append(columns)
        self._pointers.append(self._pointers[-1][-1] + np.cumsum(counts))
        n_held = sum(map(len, self._held[0]))
        self._write(n_held // self._chunk * self._chunk)

    def finish(self) -> None:
        """Write what is left, and the pointers."""
        self._write(sum(map(len, self._held[0])))
        pointers = np.concatenate(self._pointers)
        store, path = self._where
        chunk = min(CHUNK_BYTES // 8, len(pointers))
        array = _create(store, f"{path}/indptr", len(pointers), pointers.dtype, chunk)
        _write_chunks(array, 0, pointers)

    def _write(self, n_entries: int) -> None:
        if not n_entries:
            return
        for array, held in zip(self._arrays, self._held, strict=True):
            together = np.concatenate(held)
            _write_chunks(array, self._written, together[:n_entries])
            held[:] = [together[n_entries:].copy()]
        self._written += n_entries


def _create(store: str, path: str, length: int, dtype: np.dtype[Any], chunk: int) -> Any:
    return create_array(
        store, path, shape=(length,), dtype=dtype, chunks=(max(1, chunk),), overwrite=True
    )


def _write_chunks(array: Any, start: int, values: np.ndarray) -> None:
    for part in slabs(len(values), array.chunks[0]):
        write_block(array, (start + part.start,), values[part])


def _begin(store: str, path: str, shape: _Shape, record: dict[str, Any]) -> None:
    """Make an empty group in place of what is there, and note that it is not complete."""
    import zarr

    try:
        group = zarr.open_group(zarr_store(store), mode="a", zarr_format=3)
        ours: Any = group.attrs.asdict().get(RECORD, {})
        if path in group and path not in ours:
            raise StorageError(
                f"{store} holds {path!r}, which clustergrid did not write and would replace: name "
                "another store"
            )
        note_record(store, path, record)
        if (as_path(store) / path).is_dir():
            # Zarr would remove one file after another, metadata first: a kill would leave chunks.
            remove_tree(as_path(store) / path)
        attributes = {
            "encoding-type": "csr_matrix",
            "encoding-version": "0.1.0",
            "shape": [shape.rows, shape.columns],
        }
        group.create_group(path, overwrite=True, attributes=attributes)
    except (OSError, ValueError) as error:
        raise StorageError(f"cannot write to {store}: {error}") from error


def note_record(store: str, path: str, record: dict[str, Any]) -> None:
    """Replace the record of a group in the attributes of the store."""
    import zarr

    group = zarr.open_group(zarr_store(store), mode="r+")
    records: Any = group.attrs.asdict().get(RECORD, {})
    group.attrs[RECORD] = {**records, path: record}


def stored_copy(store: str, path: str) -> SparseGroupSource | None:
    """Return a copy that was written to its end; None where there is none.

    Raises
    ------
    DataTypeError, DataValueError
        It is not what was written.
    """
    record = stored_record(store, path)
    if record is None or not record.get("complete"):
        return None
    try:
        for name in SPARSE_ARRAYS:
            open_array(store, f"{path}/{name}")
    except StorageError:
        return None
    return compressed_rows(store, path)

"""Driver: a Dask array of sparse blocks, put at rest by rows, a band of blocks after another.

Nobody knows how much such an array stores before it is computed. So the entries of each band of
rows go to temporary files first, once, and from there into a Zarr group as `sparse_copy` writes it.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import xarray

from clustergrid.storage.errors import StorageError
from clustergrid.storage.grid import slabs
from clustergrid.storage.identity import labels_along
from clustergrid.storage.labels import write_labels
from clustergrid.storage.readers.labels import dimension_names
from clustergrid.storage.readers.location import Location
from clustergrid.storage.readers.sparse import SparseGroupSource
from clustergrid.storage.sparse import canonical
from clustergrid.storage.sparse_copy import begin_copy, note_record, opened_copy, write_rows

__all__ = ["ingest_blocks", "note_blocks", "sparse_blocks"]

Progress = Callable[[int, int], None]
"""Called with the bands that are computed, and how many there are."""

_BLOCKS = "clustergrid_sparse_blocks"
"""Key of a DataArray's encoding: its blocks as they were given, and the name of dense ones."""

_MEMORY_BYTES = 2**30
_MOST_BANDS = 16


def note_blocks(matrix: xarray.DataArray, values: Any) -> xarray.DataArray:
    """Note, with a matrix of dense blocks, the Dask array of sparse ones that it is made of."""
    # Slicing keeps an encoding but not the name: only with this name is it the whole array.
    matrix.encoding[_BLOCKS] = {"values": values, "dask_name": matrix.data.name}
    return matrix


def sparse_blocks(matrix: xarray.DataArray) -> Any | None:
    """Return the Dask array of sparse blocks that a matrix is the whole of; else None."""
    noted = matrix.encoding.get(_BLOCKS)
    if matrix.chunks is None or noted is None or noted["dask_name"] != matrix.data.name:
        return None
    return noted["values"]


def ingest_blocks(
    matrix: xarray.DataArray,
    store: str | os.PathLike[str],
    path: str = "matrix",
    *,
    memory_bytes: int = _MEMORY_BYTES,
    progress: Progress | None = None,
) -> SparseGroupSource:
    """Write a matrix of sparse blocks, and its labels, to a Zarr group, compressed by rows.

    Blocks are computed by the caller's scheduler: the distributed client that is active, or Dask's
    threads.

    Parameters
    ----------
    matrix
        Of which `sparse_blocks` knows the blocks.
    store, path
        The group, which may hold other arrays, and the name of the group in it that is written.
    memory_bytes
        What the blocks that are computed at once may take, if they were dense; at least one band
        of rows is.
    progress
        Called after every band.

    Raises
    ------
    StorageError
        The store, or the file system of temporary files, cannot be written.
    """
    values = sparse_blocks(matrix)
    assert values is not None
    where = Location.parse(store).url
    shape = (int(matrix.shape[0]), int(matrix.shape[1]))
    labels = [labels_along(matrix, dim) for dim in matrix.dims]
    dims = dimension_names(matrix.dims[0], matrix.dims[1], ("row", "column"))
    record = {"name": None if matrix.name is None else str(matrix.name), "labels": list(dims)}
    near = str(Path(where).parent) if Path(where).parent.is_dir() else None
    try:
        with tempfile.TemporaryDirectory(prefix="clustergrid-blocks-", dir=near) as folder:
            spool = _Spool(Path(folder))
            for done, band in enumerate(_bands(values, memory_bytes), 1):
                spool.add(band)
                if progress is not None:
                    progress(done, values.numblocks[0])
            begin_copy(where, path, shape, spool.n_stored, matrix.dtype, record)
            write_rows(where, path, shape, matrix.dtype, spool.n_stored, spool.bands())
    except OSError as error:
        raise StorageError(f"cannot copy sparse blocks to {where}: {error}") from error
    for dim, index in zip(dims, labels, strict=True):
        if index is not None:
            write_labels(where, dim, index, dim)
    note_record(where, path, {**record, "input": None, "complete": True})
    return opened_copy(where, path)


def _bands(values: Any, memory_bytes: int) -> Iterator[Any]:
    """Compute bands of rows in their order: of one block each, or of several side by side."""
    import scipy.sparse
    from dask.base import compute

    band_bytes = max(values.chunks[0]) * values.shape[1] * values.dtype.itemsize
    at_once = min(_MOST_BANDS, max(1, memory_bytes // max(1, band_bytes)))
    blocks = values.to_delayed()
    for some in slabs(len(blocks), at_once):
        for band in compute(*(list(row) for row in blocks[some])):
            parts = [scipy.sparse.csr_array(block) for block in band]
            together = parts[0] if len(parts) == 1 else scipy.sparse.hstack(parts, format="csr")
            yield canonical(together.astype(values.dtype, copy=False))


class _Spool:
    """Entries of bands of rows, in files."""

    def __init__(self, folder: Path) -> None:
        self._files = folder / "data", folder / "indices"
        self._bands: list[tuple[np.dtype[Any], np.dtype[Any], np.ndarray]] = []

    @property
    def n_stored(self) -> int:
        """Entries of all bands."""
        return sum(int(counts.sum()) for _, _, counts in self._bands)

    def add(self, band: Any) -> None:
        """Append a band."""
        for file, part in zip(self._files, (band.data, band.indices), strict=True):
            with open(file, "ab") as out:
                part.tofile(out)
        self._bands.append((band.data.dtype, band.indices.dtype, np.diff(band.indptr)))

    def bands(self) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Read the bands in their order: values, columns, and entries of every row."""
        if not self._bands:
            return
        with open(self._files[0], "rb") as data, open(self._files[1], "rb") as indices:
            for values_dtype, columns_dtype, counts in self._bands:
                length = int(counts.sum())
                values = np.fromfile(data, values_dtype, length)
                yield values, np.fromfile(indices, columns_dtype, length), counts

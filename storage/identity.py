"""Driver: what is known of a matrix without reading it: its identity, and where it is at rest."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Hashable
from typing import Any

import numpy as np
import pandas as pd
import xarray

from clustergrid.storage.grid import slabs
from clustergrid.storage.places import AnyPlace, zarr_store
from clustergrid.storage.readers.chunking import storage_chunks
from clustergrid.storage.readers.labels import plain_labels
from clustergrid.storage.readers.lazy import ZARR_ARRAY, reader_of
from clustergrid.storage.readers.location import Location
from clustergrid.storage.source import ArraySource, ZarrSource
from clustergrid.storage.sparse import SparseSource, as_sparse

__all__ = [
    "RECORD",
    "chunks_in_place",
    "fingerprint",
    "labels_along",
    "matrix_source",
    "stored_record",
]

RECORD = "clustergrid"
"""Attribute of a Zarr group in which `ingest` notes what it wrote."""


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
            labels = labels_along(data, dim)
            digest.update(repr(None if labels is None else labels.to_list()).encode())
        described["sha256_of_labels"] = digest.hexdigest()
        if data.chunks is not None:
            return {**described, "dask_name": data.data.name}
        data = np.asarray(data.data)
    content = hashlib.sha256()
    for part in slabs(data.shape[0], 4096):
        content.update(np.ascontiguousarray(data[part]).data)
    return {**described, "sha256": content.hexdigest()}


def stored_record(store: AnyPlace, path: str = "matrix") -> dict[str, Any] | None:
    """Return what `ingest` noted about an array, or None if there is none.

    Returns
    -------
    dict
        ``complete``; and if that is true, ``missing`` and ``infinite``, the numbers of such values.
    """
    import zarr

    try:
        group = zarr.open_group(zarr_store(store), mode="r")
    except (OSError, ValueError, KeyError):
        return None
    records = group.attrs.asdict().get(RECORD, {})
    record = records.get(path) if isinstance(records, dict) else None
    return record if isinstance(record, dict) else None


def chunks_in_place(matrix: xarray.DataArray) -> tuple[int, int] | None:
    """Chunks of the Zarr array that tasks read where it is; None where they read a copy."""
    source = matrix_source(matrix)
    return None if source is None or isinstance(source, ArraySource) else source.chunks


def matrix_source(matrix: xarray.DataArray) -> ArraySource | ZarrSource | SparseSource | None:
    """Source of a matrix that need not be stored first.

    Returns
    -------
    ArraySource, ZarrSource, SparseSource or None
        The values in memory; the Zarr array that `open_matrix` opened, if the matrix is still the
        whole of it and its chunks suit; the sparse matrix that it opened, in memory or by rows in
        a file; otherwise None: `ingest` it.
    """
    if matrix.chunks is None:
        return ArraySource(np.asarray(matrix.data))
    sparse = as_sparse(reader_of(matrix.data))
    if sparse is not None:
        return sparse
    place = matrix.encoding.get(ZARR_ARRAY)
    if not isinstance(place, dict) or place.get("dask_name") != matrix.data.name:
        return None
    source = ZarrSource(place["store"], place["path"])
    if source.shape != matrix.shape or source.dtype != matrix.dtype:
        return None
    return source if _chunks_suit(source) else None


def labels_along(matrix: xarray.DataArray, dim: Hashable) -> pd.Index | None:
    """Labels along a dimension, if it has any."""
    return plain_labels(matrix.get_index(dim)) if dim in matrix.coords else None


def _chunks_suit(source: ZarrSource) -> bool:
    """Whether blocks of rows and tiles can be read without reading much else."""
    (rows, columns), (n_rows, n_columns) = source.chunks, source.shape
    itemsize = source.dtype.itemsize
    chunk_bytes = min(rows, n_rows) * min(columns, n_columns) * itemsize
    row_of_chunks = min(rows, n_rows) * n_columns * itemsize
    n_chunks = -(-n_rows // rows) * -(-n_columns // columns)
    # A copy of few long rows has chunks that are no larger, and would be copied for ever.
    # Of a stream, the number of rows was not known when its chunks were chosen.
    ours = (storage_chunks((length, n_columns), itemsize) for length in (n_rows, 2**40))
    least_bytes = min(min(r, n_rows) * min(c, n_columns) * itemsize for r, c in ours)
    is_large_enough = chunk_bytes >= min(2**20, least_bytes) or n_chunks <= 16
    return is_large_enough and chunk_bytes <= 2**27 and (row_of_chunks <= 2**28 or rows <= 512)

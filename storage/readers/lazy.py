"""Driver: a lazy, labelled matrix whose tasks read blocks through a reader."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray

from clustergrid.storage.readers.base import BlockReader, RandomAccess
from clustergrid.storage.readers.chunking import aligned_chunks
from clustergrid.storage.readers.labels import dimension_names
from clustergrid.storage.source import ZarrSource

__all__ = [
    "ZARR_ARRAY",
    "labelled",
    "lazy_blocks",
    "lazy_matrix",
    "reader_of",
    "zarr_arrays_read",
]

ZARR_ARRAY = "clustergrid_zarr_array"
"""Key of a DataArray's encoding: where its values are, and the Dask name they had there."""

_TOKEN = "open-matrix-"


@dataclass(frozen=True, eq=False)
class _Sliced:
    """A reader that is indexed as Dask indexes arrays."""

    reader: BlockReader

    ndim = 2

    @property
    def shape(self) -> tuple[int, int]:
        return self.reader.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.reader.dtype

    def __getitem__(self, index: tuple[Any, Any]) -> np.ndarray:
        """Read the block that covers an index, and index that: Dask fuses slices into its reads."""
        (rows, in_rows), (columns, in_columns) = (
            _cover(part, length) for part, length in zip(index, self.shape, strict=True)
        )
        block: np.ndarray = self.reader.read(rows, columns)[in_rows, in_columns]
        return block


def lazy_matrix(
    access: RandomAccess, chunks: Any, identity: dict[str, Any] | None
) -> xarray.DataArray:
    """Make a Dask-backed matrix of what a reader found.

    Parameters
    ----------
    access
        What the reader found.
    chunks
        ``"auto"``, rows of a block, or ``(rows, columns)``.
    identity
        What the values depend on, for the name of the Dask array; ``None`` hashes the reader.
    """
    if chunks == "auto":
        chunks = aligned_chunks(
            access.reader.shape, access.stored_chunks, access.reader.dtype.itemsize
        )
    elif isinstance(chunks, int):
        chunks = (chunks, access.reader.shape[1])
    values = lazy_blocks(access.reader, chunks, identity)
    matrix = labelled(
        values,
        (access.row_labels, access.column_labels),
        default=access.dims,
        names=access.dim_names,
        name=access.name,
    )
    if access.zarr_array is not None:
        store, path = access.zarr_array
        # Slicing keeps an encoding but not the name: only with this name is it the whole array.
        matrix.encoding[ZARR_ARRAY] = {"store": store, "path": path, "dask_name": values.name}
    return matrix


def lazy_blocks(reader: BlockReader, chunks: Any, identity: dict[str, Any] | None) -> Any:
    """Make a Dask array of a reader; nothing is read."""
    import dask.array
    from dask.base import tokenize

    if identity is None:
        token = tokenize(reader, chunks)
    else:
        described = json.dumps([identity, repr(chunks)], sort_keys=True)
        token = hashlib.sha256(described.encode()).hexdigest()[:32]
    return dask.array.from_array(
        _Sliced(reader),
        chunks=chunks,
        name=f"{_TOKEN}{token}",
        fancy=False,
        meta=np.empty((0, 0), reader.dtype),
    )


def reader_of(values: Any) -> BlockReader | None:
    """Reader of a Dask array that is exactly what `lazy_blocks` made of it; else None."""
    if not values.name.startswith(_TOKEN):
        return None
    layer = values.dask.layers.get(f"original-{values.name}")
    return None if layer is None else layer[f"original-{values.name}"].reader


def zarr_arrays_read(values: Any) -> set[tuple[str, str]]:
    """Locations ``(store, path)`` of the arrays that a Dask array reads through `lazy_matrix`."""
    found = set()
    for name, layer in values.dask.layers.items():
        if name.startswith(f"original-{_TOKEN}"):
            reader = layer[name].reader
            if isinstance(reader, ZarrSource):
                found.add((reader.store, reader.path))
    return found


def labelled(
    values: Any,
    labels: tuple[pd.Index | None, pd.Index | None],
    *,
    default: tuple[str, str] = ("row", "column"),
    names: tuple[Hashable, Hashable] = (None, None),
    name: Hashable = None,
) -> xarray.DataArray:
    """Put labels on a matrix; dimensions are named by `names`, the labels or `default`."""
    row, column = (
        own if own is not None else (None if index is None else index.name)
        for own, index in zip(names, labels, strict=True)
    )
    dims = dimension_names(row, column, default)
    coords = {
        dim: index.rename(dim) for dim, index in zip(dims, labels, strict=True) if index is not None
    }
    if isinstance(values, np.ndarray):
        # Otherwise xarray imports Dask to see whether this is a Dask array: 30 MB and 0.3 s.
        values = xarray.Variable(dims, values, fastpath=True)
    matrix = xarray.DataArray(values, coords=coords, dims=dims)
    matrix.name = name  # given above, None would become the name of the Dask array
    return matrix


def _cover(part: Any, length: int) -> tuple[slice, Any]:
    """Smallest slice of step 1 that holds an index, and the index within it."""
    if not isinstance(part, slice):
        position = int(part) % length
        return slice(position, position + 1), 0
    found = range(length)[part]
    if len(found) == 0:
        return slice(0, 0), slice(None)
    low, high = min(found[0], found[-1]), max(found[0], found[-1])
    return slice(low, high + 1), slice(None, None, found.step)

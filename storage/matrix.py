"""Driver: whatever the user has, as one lazy, labelled, two-dimensional xarray.DataArray."""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd
import xarray

from clustergrid.storage.condensed import CondensedDistances
from clustergrid.storage.errors import DataTypeError, DataValueError
from clustergrid.storage.readers.base import RowBlock, Stream, working_dtype
from clustergrid.storage.readers.chunking import SMALL_BYTES, SMALL_SPARSE_BYTES, block_rows
from clustergrid.storage.readers.frame import check_number_dtype, frame_values
from clustergrid.storage.readers.labels import plain_labels
from clustergrid.storage.readers.lazy import labelled, lazy_matrix
from clustergrid.storage.readers.location import Location

__all__ = ["open_matrix"]

Chunks = str | int | tuple[int, int]


def open_matrix(
    data: Any,
    *,
    layer: str | None = None,
    chunks: Chunks = "auto",
    pivot_kws: Mapping[str, Any] | None = None,
    store: str | os.PathLike[str] | None = None,
) -> xarray.DataArray:
    """Open a matrix, whatever it is held in.

    Parameters
    ----------
    data
        A DataFrame, a two-dimensional array or list of lists, an `xarray.DataArray`, a Dask array,
        a `zarr.Array`, a `scipy.sparse` matrix, an AnnData; or a path or URL that fsspec knows, of
        a ``.npy``, text (``.csv``, ``.tsv``, ``.txt``, ``.cct``, ``.cbt``, each also ``.gz``),
        Parquet, ``.h5ad`` or Zarr file. The first column of a text file labels its rows, and its
        header the columns.
    layer
        Layer of an AnnData (``"raw"`` for what it held before filtering), or variable of a Zarr
        group.
    chunks
        Blocks of a lazy matrix: rows, or ``(rows, columns)``. ``"auto"`` takes whole stored
        chunks, of about 32 MB.
    pivot_kws
        Keywords of `pandas.DataFrame.pivot`, if `data` is a tidy DataFrame.
    store
        Directory or URL for a Zarr copy of an input that can only be read from its beginning to its
        end (text, Parquet, CSC). A complete copy of the same input that is there is used again.
        Without it, up to 64 MB are kept in memory, and more goes to a temporary directory that
        exists until the interpreter ends.

    Returns
    -------
    DataArray
        Two-dimensional, of booleans, integers, float32 or float64. What was in memory is
        NumPy-backed and not copied where possible: do not write into it. The rest is Dask-backed,
        and nothing was computed. A dimension has the name of the labels, or is called ``row`` or
        ``column`` (``obs`` and ``var`` of an AnnData); its coordinate holds the labels, if there
        are any.

    Raises
    ------
    DataTypeError
        Something in it is not a real number, or lists in it have different lengths.
    DataValueError
        It is empty, ragged (a text), damaged, has no two dimensions, or is of an unknown format.
    MissingFileError
        There is no such file.
    MissingExtraError
        Its format needs a package that is not installed.

    Examples
    --------
    >>> import pandas as pd
    >>> genes = pd.Index(["ESR1"], name="gene")
    >>> frame = pd.DataFrame([[1.0, 2.0]], index=genes, columns=["a", "b"])
    >>> matrix = open_matrix(frame)
    >>> matrix.dims, matrix.shape, matrix["gene"].item()
    (('gene', 'column'), (1, 2), 'ESR1')
    """
    if pivot_kws is not None:
        data = _pivot(data, pivot_kws)
    if isinstance(data, str | os.PathLike):
        matrix = _open_path(data, layer, chunks, store)
    elif _is_instance(data, "anndata", "AnnData"):
        matrix = _open_anndata(data, layer, chunks, store)
    elif layer is not None:
        raise DataValueError(f"layer={layer!r} needs an AnnData or a file, not {_kind(data)}")
    else:
        matrix = _open_object(data, chunks)
    return _finish(matrix)


def _open_object(data: Any, chunks: Chunks) -> xarray.DataArray:
    """Open what is in memory, or is lazy already."""
    if isinstance(data, xarray.DataArray):
        return _open_data_array(data, chunks)
    if isinstance(data, xarray.Dataset):
        raise DataTypeError(
            f"a Dataset holds several arrays ({', '.join(map(repr, data.data_vars))}): give one, "
            "dataset[name]"
        )
    if isinstance(data, pd.DataFrame):
        _check_shape(data.shape, "the DataFrame")
        return labelled(frame_values(data), (plain_labels(data.index), plain_labels(data.columns)))
    if isinstance(data, CondensedDistances):
        raise DataTypeError(
            "distances between pairs are no matrix: give their square, d.to_xarray(), and "
            "metric='precomputed'; linkage takes them as they are"
        )
    if isinstance(data, pd.Series):
        raise DataValueError(f"a Series has shape {data.shape}: a matrix has two dimensions")
    if _is_instance(data, "dask.array", "Array"):
        matrix = labelled(_check_dask(data, chunks), (None, None))
        if _is_sparse(data._meta):
            from clustergrid.storage.sparse_blocks import note_blocks

            return note_blocks(matrix, data)
        return matrix
    if _is_instance(data, "zarr", "Array"):
        from clustergrid.storage.readers.zarr_store import open_zarr_array

        return lazy_matrix(open_zarr_array(data), chunks, None)
    if _is_sparse(data):
        return labelled(_sparse_values(data, chunks), (None, None))
    return labelled(_array_values(data), (None, None))


def _open_path(
    path: str | os.PathLike[str],
    layer: str | None,
    chunks: Chunks,
    store: str | os.PathLike[str] | None,
) -> xarray.DataArray:
    """Open a file or URL."""
    from clustergrid.storage.readers.table import open_location

    location = Location.parse(path)
    found = open_location(location, layer)
    identity = {**location.identity(), "layer": layer}
    if not isinstance(found, Stream):
        _check_shape(found.reader.shape, location.url)
        return lazy_matrix(found, chunks, identity)
    if store is not None:
        return _open_stored(found, os.fspath(store), chunks, identity)
    if _is_large_sparse(found):
        return _open_stored(found, _temporary_directory(), chunks, identity)
    values, labels, rest = _take_small(found)
    if rest is None:
        _check_shape(values.shape, location.url)
        return labelled(
            values,
            (labels, found.column_labels),
            default=found.dims,
            names=(found.row_name, None),
            name=found.name,
        )
    return _open_stored(
        replace(found, blocks=lambda: rest), _temporary_directory(), chunks, identity
    )


def _is_large_sparse(stream: Stream) -> bool:
    """Whether a stream is better kept as it is compressed."""
    if stream.compressed is None or stream.n_rows is None:
        return False
    return stream.n_rows * stream.n_columns * stream.dtype.itemsize > SMALL_SPARSE_BYTES


def _take_small(stream: Stream) -> tuple[Any, pd.Index | None, Iterator[RowBlock] | None]:
    """Read a small stream whole; of a large one, give back an iterator over all of it."""
    blocks = stream.blocks()
    taken: list[RowBlock] = []
    for block in blocks:
        taken.append(block)
        if sum(values.nbytes for _, values in taken) > SMALL_BYTES:
            return None, None, chain(_drain(taken), blocks)
    if not taken:
        return np.empty((0, stream.n_columns), stream.dtype), None, None
    labels = [index for index, _ in taken if index is not None]
    whole = labels[0].append(labels[1:]) if labels else None
    return np.concatenate([values for _, values in taken]), whole, None


def _drain(taken: list[RowBlock]) -> Iterator[RowBlock]:
    """Yield blocks, and forget each."""
    while taken:
        yield taken.pop(0)


def _open_stored(
    stream: Stream, store: str, chunks: Chunks, identity: dict[str, Any]
) -> xarray.DataArray:
    """Write a stream to Zarr, unless it is there already, and open that."""
    from clustergrid.storage.identity import stored_record
    from clustergrid.storage.ingest import ingest_stream
    from clustergrid.storage.readers.zarr_store import open_zarr
    from clustergrid.storage.sparse_ingest import columns_of, ingest_columns

    record = stored_record(store)
    if record is None or not record.get("complete") or record.get("input") != identity:
        columns = columns_of(stream)
        if columns is None:
            ingest_stream(stream, store, identity=identity)
        else:
            ingest_columns(stream, columns, store, identity=identity)
    location = Location.parse(store)
    found = open_zarr(location, "matrix")
    assert not isinstance(found, Stream)
    return lazy_matrix(found, chunks, {"stored": identity, **location.identity()})


def _temporary_directory() -> str:
    """Make a directory that is removed when the interpreter ends."""
    folder = tempfile.mkdtemp(prefix="clustergrid-matrix-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _open_anndata(
    data: Any, layer: str | None, chunks: Chunks, store: str | os.PathLike[str] | None
) -> xarray.DataArray:
    """Open X or a layer of an AnnData."""
    if data.isbacked and not data.is_view:
        return _open_path(data.filename, layer, chunks, store)
    variables = data.var_names
    if layer is None:
        values = data.X
    elif layer in data.layers:
        values = data.layers[layer]
    elif layer == "raw" and data.raw is not None:
        values, variables = data.raw.X, data.raw.var_names
    else:
        layers = ", ".join(map(repr, data.layers)) or "none"
        raise DataValueError(f"the AnnData has no layer {layer!r}; it has {layers}")
    if values is None:
        raise DataValueError("the AnnData has no X: choose a layer")
    matrix = _open_object(values, chunks)
    labels = (plain_labels(data.obs_names), plain_labels(variables))
    return labelled(matrix.variable.data, labels, default=("obs", "var"))


def _open_data_array(data: xarray.DataArray, chunks: Chunks) -> xarray.DataArray:
    """Check a DataArray, and make labels of what is not a plain index."""
    _check_shape(data.shape, "the DataArray")
    check_number_dtype(data.dtype, "the DataArray")
    for dim in data.dims:
        if dim in data.indexes:
            index = data.indexes[dim]
            plain = plain_labels(index)
            if plain is not index:
                levels = [name for name in index.names if name != dim and name in data.coords]
                data = data.drop_vars([dim, *levels]).assign_coords({dim: plain.rename(dim)})
    if data.chunks is not None:
        checked = _check_dask(data.data, chunks)
        if _is_sparse(data.data._meta):
            from clustergrid.storage.sparse_blocks import note_blocks

            return note_blocks(data.copy(data=checked), data.data)
        return data if checked is data.data else data.copy(data=checked)
    # An array that xarray opened without Dask would be read whole by `.data`.
    return data if data.variable._in_memory else data.chunk("auto" if chunks == "auto" else chunks)


def _check_dask(values: Any, chunks: Chunks) -> Any:
    """Check a Dask array; its blocks become dense, and are rechunked only if that was asked."""
    _check_shape(values.shape, "the Dask array")
    check_number_dtype(values.dtype, "the Dask array")
    if _is_sparse(values._meta):
        values = values.map_blocks(_dense, dtype=values.dtype, meta=np.empty((0, 0), values.dtype))
    if chunks == "auto":
        return values
    return values.rechunk((chunks, -1) if isinstance(chunks, int) else chunks)


def _dense(block: Any) -> np.ndarray:
    """Make a sparse block dense."""
    return np.asarray(block.toarray())


def _sparse_values(data: Any, chunks: Chunks) -> Any:
    """Make a sparse matrix dense, now if it is small, otherwise block by block."""
    _check_shape(data.shape, "the sparse matrix")
    check_number_dtype(data.dtype, "the sparse matrix")
    if data.shape[0] * data.shape[1] * data.dtype.itemsize <= SMALL_SPARSE_BYTES:
        return np.asarray(data.toarray())
    from clustergrid.storage.readers.lazy import lazy_blocks
    from clustergrid.storage.sparse import SparseArraySource, canonical

    if chunks == "auto":
        chunks = block_rows(data.shape[1], data.dtype.itemsize)
    if isinstance(chunks, int):
        chunks = (chunks, data.shape[1])
    return lazy_blocks(SparseArraySource(canonical(data)), chunks, None)


def _array_values(data: Any) -> np.ndarray:
    """Make a NumPy array of an array or of lists."""
    if isinstance(data, dict | set) or np.isscalar(data) or data is None:
        raise DataTypeError(f"{_kind(data)} is not a matrix, nor the path of one")
    if np.ma.isMaskedArray(data):
        check_number_dtype(data.dtype, "the masked array")
        dtype = data.dtype if data.dtype.kind == "f" else np.float64
        data = np.ma.filled(data.astype(dtype), np.nan)
    try:
        values = np.asarray(data)
    except ValueError as error:
        raise DataTypeError(_ragged(data, error)) from error
    _check_shape(values.shape, "the array")
    check_number_dtype(values.dtype, "the array")
    return values


def _ragged(data: Any, error: Exception) -> str:
    """Say which of some lists has another length."""
    try:
        lengths = [len(row) for row in data]
    except TypeError:
        return f"the input is not a matrix: {error}"
    row = next((i for i, length in enumerate(lengths) if length != lengths[0]), None)
    if row is None:
        return f"the input is not a matrix: {error}"
    return (
        f"the rows have different lengths: row 0 has {lengths[0]}, row {row} has {lengths[row]}, "
        f"and one of them no column {min(lengths[0], lengths[row])}"
    )


def _pivot(data: Any, pivot_kws: Mapping[str, Any]) -> pd.DataFrame:
    """Make a wide table of a tidy one, as seaborn does."""
    if not isinstance(data, pd.DataFrame):
        raise DataTypeError(f"pivot_kws needs a tidy DataFrame, not {_kind(data)}")
    try:
        return data.pivot(**pivot_kws)
    except KeyError as error:
        raise DataValueError(
            f"pivot_kws names {error}, which is none of the columns {list(data.columns)}"
        ) from error
    except ValueError as error:
        raise DataValueError(f"the table cannot be pivoted: {error}") from error


def _finish(matrix: xarray.DataArray) -> xarray.DataArray:
    """Widen half floats and turn foreign byte orders, which nothing downstream knows."""
    dtype = working_dtype(matrix.dtype)
    return matrix if matrix.dtype == dtype else matrix.astype(dtype)


def _check_shape(shape: tuple[Any, ...], what: str) -> None:
    """Raise unless a shape is that of a matrix with something in it."""
    if len(shape) != 2:
        advice = ". Of condensed distances give their squareform" if len(shape) == 1 else ""
        raise DataValueError(f"{what} has shape {shape}: a matrix has two dimensions{advice}")
    if any(length != length for length in shape):  # Dask's unknown lengths are nan
        raise DataValueError(f"{what} has unknown lengths: call its compute_chunk_sizes() first")
    if 0 in shape:
        empty = "rows" if shape[0] == 0 else "columns"
        raise DataValueError(f"{what} has no {empty}: its shape is {shape[0]} x {shape[1]}")


def _is_instance(data: Any, module: str, name: str) -> bool:
    """Whether it is of a class whose module, if nobody imported it, need not be imported."""
    return module in sys.modules and isinstance(data, getattr(sys.modules[module], name))


def _is_sparse(data: Any) -> bool:
    """Whether it is a `scipy.sparse` matrix or array."""
    return "scipy.sparse" in sys.modules and sys.modules["scipy.sparse"].issparse(data)


def _kind(data: Any) -> str:
    """Name a type, for messages."""
    return f"{type(data).__module__}.{type(data).__qualname__}".removeprefix("builtins.")

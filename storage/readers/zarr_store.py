"""Driver: Zarr arrays, groups that xarray wrote (ours among them) and AnnData stores."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import xarray

from clustergrid.storage.codecs import refuse_pickles
from clustergrid.storage.errors import (
    ClustergridError,
    DataValueError,
    IntegrityError,
    StorageError,
)
from clustergrid.storage.labels import read_labels
from clustergrid.storage.places import zarr_store
from clustergrid.storage.readers.annotated import (
    Annotated,
    axis_labels,
    child,
    choose_layer,
    column_stream,
    describe,
)
from clustergrid.storage.readers.base import RandomAccess, Stream
from clustergrid.storage.readers.frame import check_number_dtype
from clustergrid.storage.readers.labels import plain_labels
from clustergrid.storage.readers.location import ZARR_METADATA, Location
from clustergrid.storage.readers.sparse import SparseGroupSource
from clustergrid.storage.readers.zarr_chunks import MOST_LABELS, check_array, check_stored
from clustergrid.storage.source import ZarrSource

__all__ = ["compressed_rows", "is_zarr", "open_zarr", "open_zarr_array"]

_XARRAY_UNNAMED = "__xarray_dataarray_variable__"


@dataclass(frozen=True, eq=False)
class _OpenArray:
    """A Zarr array that the caller opened; it is pickled as its store pickles."""

    array: Any

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        rows, columns = self.array.shape
        return rows, columns

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        dtype: np.dtype[Any] = self.array.dtype
        return dtype

    def read(self, rows: slice, columns: slice) -> np.ndarray:
        """Return the values of a block."""
        return np.asarray(self.array[rows, columns])


@dataclass(frozen=True)
class _Variable:
    """A variable that xarray decodes (scale, offset, fill values)."""

    url: str
    name: str
    shape: tuple[int, int]
    dtype: np.dtype[Any]

    @cached_property
    def _variable(self) -> xarray.DataArray:
        return _open_dataset(self.url)[self.name]

    def __getstate__(self) -> dict[str, Any]:
        """Send the location, not the open store."""
        return {name: getattr(self, name) for name in ("url", "name", "shape", "dtype")}

    def read(self, rows: slice, columns: slice) -> np.ndarray:
        """Return the values of a block."""
        with _readable(self.name, self.url, rows):
            return np.asarray(self._variable[rows, columns].values)


def is_zarr(location: Location) -> bool:
    """Whether there is a Zarr array or group."""
    return any(location.child(name).exists() for name in ZARR_METADATA)


def open_zarr(location: Location, layer: str | None) -> RandomAccess | Stream:
    """Open a Zarr store, reading shapes and labels.

    Parameters
    ----------
    location
        An array or a group.
    layer
        Of a group, the variable (of an AnnData store, the layer).

    Raises
    ------
    DataTypeError, DataValueError
        It holds no such matrix.
    IntegrityError
        It was being written by `clustergrid.storage.ingest`, which did not finish.
    """
    import zarr

    try:
        node = zarr.open(zarr_store(location.url), mode="r", **_real_metadata(location))
        if isinstance(node, zarr.Array):
            if layer is not None:
                raise DataValueError(f"{location.url} is one array: it has no layer {layer!r}")
            return open_zarr_array(node, url=location.url)
        # In a store of ours, whose dimensions may have these names, they are arrays of labels.
        if all(name in node and isinstance(node[name], zarr.Group) for name in ("obs", "var")):
            return _open_annotated(location, node, layer)
        return _open_variable(location, node, layer)
    except (ClustergridError, MemoryError):
        raise
    # Metadata are JSON of anybody's: zarr and xarray raise of every kind where it is not theirs.
    except Exception as error:
        raise StorageError(
            f"{location.url} is not a readable Zarr store: {type(error).__name__}: {error}"
        ) from error


def _real_metadata(location: Location) -> dict[str, Any]:
    """Options that leave consolidated metadata alone where the real ones are at hand."""
    return {"use_consolidated": False} if location.is_local else {}


def open_zarr_array(array: Any, url: str | None = None) -> RandomAccess:
    """Describe a Zarr array.

    Parameters
    ----------
    array
        The array.
    url
        The store whose root it is; ``None`` finds out where a local array is.
    """
    from zarr.storage import LocalStore

    what = f"the Zarr array {url or array.path or array.store}"
    check_array(array, what)
    is_unwritten = False
    if url is not None:
        is_unwritten = check_stored(Location(url), "", array, what, whole=False)
        place: tuple[str, str] | None = (url, "")
    elif isinstance(array.store, LocalStore):
        place = (str(array.store.root), array.path)
    else:
        place = None
    names = getattr(array.metadata, "dimension_names", None)
    names = names or array.attrs.get("_ARRAY_DIMENSIONS") or (None, None)
    return RandomAccess(
        reader=ZarrSource(*place) if place else _OpenArray(array),
        stored_chunks=array.shards or array.chunks,
        dim_names=(names[0], names[1]),
        name=array.basename or None,
        zarr_array=place,
        is_unwritten=is_unwritten,
    )


def _open_annotated(location: Location, root: Any, layer: str | None) -> RandomAccess | Stream:
    """Open an AnnData store."""
    url = location.url
    path, table = choose_layer(root, layer, url)
    node, what = child(root, path, url), f"{path} of {url}"
    found = describe(node, what)
    is_unwritten = False
    if found.encoding == "dense":
        check_array(node, what)
        is_unwritten = check_stored(location, path, node, what, whole=False)
    rows = axis_labels(root, "obs", found.shape[0], url)
    columns = axis_labels(root, table, found.shape[1], url)
    if found.encoding == "csc":
        return column_stream(found, partial(_open_node, url, path), rows, columns, what)
    is_dense = found.encoding == "dense"
    return RandomAccess(
        reader=ZarrSource(url, path) if is_dense else _compressed_rows(url, path, found),
        stored_chunks=(node.shards or node.chunks) if is_dense else (1, found.shape[1]),
        row_labels=rows,
        column_labels=columns,
        dims=("obs", "var"),
        zarr_array=(url, path) if is_dense else None,
        is_unwritten=is_unwritten,
    )


def _open_copy(location: Location, root: Any, path: str, record: Any) -> RandomAccess:
    """Open a sparse matrix that `clustergrid.storage.sparse_ingest` wrote."""
    if not isinstance(record, dict) or not record.get("complete"):
        raise _unfinished(location)
    reader = compressed_rows(location.url, path)
    labels = []
    for dim, length in zip(record["labels"], reader.shape, strict=True):
        if dim in root:
            _check_labels(location, dim, root[dim])
            refuse_pickles(root[dim], f"{dim!r} of {location.url}")
        labels.append(read_labels(location.url, dim, length) if dim in root else None)
    return RandomAccess(
        reader=reader,
        stored_chunks=(1, reader.shape[1]),
        row_labels=labels[0],
        column_labels=labels[1],
        dim_names=(record["labels"][0], record["labels"][1]),
        name=record.get("name"),
    )


def _unfinished(location: Location) -> IntegrityError:
    return IntegrityError(
        f"{location.url} was not written to its end. Run what wrote it again, or delete it."
    )


def compressed_rows(url: str, path: str) -> SparseGroupSource:
    """Name a CSR group of a store.

    Raises
    ------
    DataTypeError, DataValueError
        It is not one.
    """
    with _open_node(url, path) as group:
        found = describe(group, f"{path} of {url}")
    return _compressed_rows(url, path, found)


def _compressed_rows(url: str, path: str, found: Annotated) -> SparseGroupSource:
    return SparseGroupSource(
        open_group=partial(_open_node, url, path),
        store=url,
        path=path,
        shape=found.shape,
        dtype=found.dtype,
        n_stored=found.n_stored,
    )


def _open_variable(location: Location, root: Any, layer: str | None) -> RandomAccess:
    """Open a variable of a group that xarray can read."""
    import zarr

    record = dict(root.attrs).get("clustergrid", {})
    copies = [name for name in record if isinstance(root.get(name), zarr.Group)]
    if layer in copies or (layer is None and len(copies) == 1):
        return _open_copy(location, root, layer or copies[0], record[layer or copies[0]])
    for name, array in root.arrays():
        # xarray reads the labels as it opens the group.
        refuse_pickles(array, f"{name!r} of {location.url}")
        _check_labels(location, name, array)
    dataset = _open_dataset(location.url)
    name = _choose_variable(dataset, layer, location.url)
    variable, stored = dataset[name], root[name]
    record = record.get(name, {})
    if not record.get("complete", True):
        raise _unfinished(location)
    what = f"{name!r} of {location.url}"
    check_number_dtype(variable.dtype, what)
    check_array(stored, what)
    is_unwritten = check_stored(location, name, stored, what, whole=bool(record))
    shape = (int(variable.shape[0]), int(variable.shape[1]))
    as_stored = variable.dtype == stored.dtype and _is_undecoded(variable)
    return RandomAccess(
        reader=ZarrSource(location.url, name)
        if as_stored
        else _Variable(location.url, name, shape, variable.dtype),
        stored_chunks=stored.shards or stored.chunks,
        row_labels=_labels(variable, 0),
        column_labels=_labels(variable, 1),
        dim_names=(variable.dims[0], variable.dims[1]),
        name=record.get("name", None if name == _XARRAY_UNNAMED else name),
        zarr_array=(location.url, name) if as_stored else None,
        is_unwritten=is_unwritten,
    )


def _check_labels(location: Location, name: str, array: Any) -> None:
    """Refuse labels that are read at once and cannot be: as many as a damaged shape claims."""
    if array.ndim == 1 and array.shape[0] > MOST_LABELS:
        raise DataValueError(
            f"{name!r} of {location.url} claims {array.shape[0]:,} labels; up to {MOST_LABELS:,} "
            "are read. Are its metadata damaged?"
        )


def _choose_variable(dataset: xarray.Dataset, layer: str | None, where: str) -> str:
    """Name of the variable that is asked for, or of the only matrix."""
    # Sorted: in which order a store lists its arrays is the file system's affair.
    found = sorted(str(name) for name, variable in dataset.data_vars.items() if variable.ndim == 2)
    if layer is not None and layer in dataset.data_vars and layer not in found:
        raise DataValueError(
            f"{layer!r} of {where} has shape {dataset[layer].shape}: a matrix has two dimensions"
        )
    if layer in found:
        return str(layer)
    listed = ", ".join(map(repr, found)) or "none"
    if layer is not None:
        raise DataValueError(f"{where} has no matrix {layer!r}; it has {listed}")
    if len(found) != 1:
        raise DataValueError(
            f"{where} has {len(found)} matrices ({listed}): choose one with layer=..."
        )
    return found[0]


def _is_undecoded(variable: xarray.DataArray) -> bool:
    """Whether xarray gives the stored numbers as they are."""
    encoding = variable.encoding
    fill = encoding.get("_FillValue")
    return (
        not {"scale_factor", "add_offset", "missing_value"}.intersection(encoding)
        and (fill is None or bool(np.isnan(fill)))
        and encoding.get("dtype", variable.dtype) == variable.dtype
    )


def _labels(variable: xarray.DataArray, axis: int) -> Any:
    """Labels along an axis, if it has any."""
    dim = variable.dims[axis]
    return plain_labels(variable.get_index(dim)) if dim in variable.coords else None


def _open_dataset(url: str) -> xarray.Dataset:
    """Open a group with xarray, lazily and without Dask."""
    import zarr

    local = _real_metadata(Location(url))
    group = zarr.open_group(zarr_store(url), mode="r", **local)
    consolidated = not local and group.metadata.consolidated_metadata is not None
    try:
        dataset: xarray.Dataset = xarray.open_zarr(
            zarr_store(url), chunks=None, consolidated=consolidated, decode_timedelta=False
        )
    except Exception as error:  # of every kind, as the metadata
        raise DataValueError(f"{url} is not a group that xarray reads: {error}") from error
    return dataset


@contextmanager
def _readable(path: str, url: str, rows: slice) -> Iterator[None]:
    """Turn what damaged chunks raise into an error that names the place."""
    try:
        yield
    except (ClustergridError, MemoryError):
        raise
    except Exception as error:  # every codec has its own
        raise IntegrityError(
            f"the array {path!r} in {url} is damaged in rows {rows.start} to {rows.stop}: {error}"
        ) from error


@contextmanager
def _open_node(url: str, path: str) -> Iterator[Any]:
    """Open a group whose arrays `describe` looked at."""
    import zarr

    group = zarr.open_group(zarr_store(url), path=path, mode="r", **_real_metadata(Location(url)))
    try:
        yield group
    except (ClustergridError, MemoryError):
        raise
    except Exception as error:  # every codec has its own
        raise IntegrityError(f"{path} of {url} cannot be read: {error}") from error

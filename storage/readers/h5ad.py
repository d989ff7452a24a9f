"""Driver: AnnData's HDF5 files, read with h5py alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from clustergrid.storage.errors import (
    ClustergridError,
    DataValueError,
    IntegrityError,
    MissingExtraError,
)
from clustergrid.storage.readers.annotated import axis_labels, choose_layer, column_stream, describe
from clustergrid.storage.readers.base import BlockReader, RandomAccess, Stream
from clustergrid.storage.readers.hdf5 import hdf5_object
from clustergrid.storage.readers.location import Location
from clustergrid.storage.readers.sparse import SparseGroupSource

__all__ = ["open_h5ad"]


@dataclass(frozen=True)
class _DenseElement:
    """A dense matrix in an HDF5 file."""

    location: Location
    path: str
    shape: tuple[int, int]
    dtype: np.dtype[Any]

    def read(self, rows: slice, columns: slice) -> np.ndarray:
        """Open the file, and return the values of a block."""
        what = f"{self.path} of {self.location.url}"
        with _open_file(self.location) as file, _readable(f"{what} in rows {rows.start} on"):
            return np.asarray(hdf5_object(file, self.path, self.location.url)[rows, columns])


def open_h5ad(location: Location, layer: str | None) -> RandomAccess | Stream:
    """Read the shape and the labels of ``X`` or of a layer.

    Parameters
    ----------
    location
        The file.
    layer
        Name of a layer, or ``"raw"`` for the values before filtering; ``None`` for ``X``.

    Raises
    ------
    MissingExtraError
        h5py is not installed.
    DataTypeError, DataValueError
        There is no such layer, or it is not a matrix of real numbers.
    IntegrityError
        The file is damaged.
    """
    with _open_file(location) as file, _readable(location.url):
        path, table = choose_layer(file, layer, location.url)
        node, what = hdf5_object(file, path, location.url), f"{path} of {location.url}"
        found = describe(node, what)
        rows = axis_labels(file, "obs", found.shape[0], location.url)
        columns = axis_labels(file, table, found.shape[1], location.url)
        stored = getattr(node, "chunks", None) or (1, found.shape[1])
    if found.encoding == "csc":
        return column_stream(found, partial(_open_node, location, path), rows, columns, what)
    reader: BlockReader = _DenseElement(location, path, found.shape, found.dtype)
    if found.encoding == "csr":
        reader = SparseGroupSource(
            open_group=partial(_open_node, location, path),
            store=location.url,
            path=path,
            shape=found.shape,
            dtype=found.dtype,
            n_stored=found.n_stored,
        )
    return RandomAccess(
        reader=reader,
        stored_chunks=stored,
        row_labels=rows,
        column_labels=columns,
        dims=("obs", "var"),
    )


@contextmanager
def _readable(what: str) -> Iterator[None]:
    """Turn what damaged bytes raise into an error that names the place."""
    try:
        yield
    except (ClustergridError, MemoryError):
        raise
    # HDF5's library, h5py and NumPy have their own of every kind.
    except Exception as error:
        raise IntegrityError(f"{what} cannot be read: {type(error).__name__}: {error}") from error


@contextmanager
def _open_node(location: Location, path: str) -> Iterator[Any]:
    """Open a group of the file."""
    with _open_file(location) as file, _readable(f"{path} of {location.url}"):
        yield hdf5_object(file, path, location.url)


@contextmanager
def _open_file(location: Location) -> Iterator[Any]:
    """Open an HDF5 file from a path or a URL."""
    try:
        import h5py
    except ImportError as error:
        raise MissingExtraError(
            f"reading {location.url} needs h5py: pip install 'clustergrid[anndata]'"
        ) from error

    with location.open() as raw:
        try:
            file = h5py.File(location.url if location.is_local else raw, "r")
        except (OSError, ValueError, RuntimeError) as error:
            raise DataValueError(f"{location.url} is not a readable HDF5 file: {error}") from error
        with file:
            yield file

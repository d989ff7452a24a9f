"""Driver: what AnnData's files have in common, in HDF5 and in Zarr.

The format is described at https://anndata.readthedocs.io/en/stable/fileformat-prose.html. It is
read here without anndata, which is slow to import and opens more than a matrix and its labels.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from clustergrid.storage.codecs import refuse_pickles
from clustergrid.storage.errors import DataTypeError, DataValueError
from clustergrid.storage.readers.base import Stream
from clustergrid.storage.readers.frame import check_number_dtype
from clustergrid.storage.readers.hdf5 import check_written, hdf5_object
from clustergrid.storage.readers.labels import plain_labels
from clustergrid.storage.readers.sparse import CompressedColumns, check_compressed

__all__ = ["Annotated", "axis_labels", "child", "choose_layer", "column_stream", "describe"]

_VERSIONS = ("", "0.1.0", "0.2.0")
"""Versions of the encodings that are known here; before 0.7 there were none."""
_MOST_CATEGORIES = 10_000_000
_MISSING = "nan"


@dataclass(frozen=True)
class Annotated:
    """How a matrix is stored."""

    encoding: str  # "dense", "csr" or "csc"
    shape: tuple[int, int]
    dtype: np.dtype[Any]
    n_stored: int


def child(root: Any, path: str, where: str) -> Any:
    """Open an object of a file or a store, once it is found to be safe to read.

    Raises
    ------
    DataTypeError, DataValueError
        There is none, it lies in another file, or reading it would run code.
    """
    if _is_hdf5(root):
        return hdf5_object(root, path, where)
    try:
        node = root[path]
    except KeyError:
        raise DataValueError(f"{where} has no {path!r}") from None
    if hasattr(node, "dtype"):
        refuse_pickles(node, f"{path!r} of {where}")
    return node


def choose_layer(root: Any, layer: str | None, where: str) -> tuple[str, str]:
    """Return the path of the matrix, and of the table that labels its columns."""
    if layer is None:
        if "X" not in root or "obs" not in root:
            raise DataValueError(
                f"{where} has no X and obs: it was not written by AnnData, or has layers alone "
                "(choose one with layer=...)"
            )
        return "X", "var"
    layers = sorted(child(root, "layers", where)) if "layers" in root else []
    if layer in layers:
        return f"layers/{layer}", "var"
    if layer == "raw" and "raw" in root:
        return "raw/X", "raw/var"
    raise DataValueError(
        f"{where} has no layer {layer!r}; it has {', '.join(map(repr, layers)) or 'none'}"
    )


def describe(node: Any, what: str) -> Annotated:
    """Read the encoding, the shape and the type of a matrix.

    Raises
    ------
    DataTypeError, DataValueError
        It is not a matrix of real numbers.
    IntegrityError
        It was not written to its end.
    """
    if hasattr(node, "dtype"):
        check_number_dtype(node.dtype, what)
        if node.shape is None or len(node.shape) != 2:
            raise DataValueError(f"{what} has shape {node.shape}: a matrix has two dimensions")
        if _is_hdf5(node):
            check_written(node, what)
        shape = int(node.shape[0]), int(node.shape[1])
        return Annotated("dense", shape, np.dtype(node.dtype), shape[0] * shape[1])
    attributes = dict(node.attrs)
    kind = str(attributes.get("encoding-type", attributes.get("h5sparse_format", "")))
    encoding = kind.removesuffix("_matrix")
    if encoding not in ("csr", "csc"):
        raise DataTypeError(f"{what} is stored as {kind or 'a group'!r}, not as a matrix")
    version = str(attributes.get("encoding-version", ""))
    if version not in _VERSIONS:
        raise DataValueError(
            f"{what} is stored in version {version!r} of {kind!r}, which is not known here: write "
            "it again with an AnnData of today"
        )
    shape = _shape(attributes.get("shape", attributes.get("h5sparse_shape")), what)
    parts = {name: child(node, name, what) for name in ("data", "indices", "indptr")}
    check_number_dtype(parts["data"].dtype, what)
    check_compressed(parts, shape[encoding == "csc"], what)
    for name, part in parts.items() if _is_hdf5(node) else ():
        check_written(part, f"{name} of {what}")
    data = parts["data"]
    return Annotated(encoding, shape, np.dtype(data.dtype), int(data.shape[0]))


def _shape(stored: Any, what: str) -> tuple[int, int]:
    """Read the shape that a group notes."""
    numbers = np.asarray([] if stored is None else stored)
    if numbers.shape != (2,) or numbers.dtype.kind not in "iu" or (numbers < 0).any():
        raise DataValueError(f"{what} does not say its shape, two whole numbers, but {stored!r}")
    return int(numbers[0]), int(numbers[1])


def column_stream(
    found: Annotated,
    open_group: Callable[[], AbstractContextManager[Any]],
    rows: pd.Index,
    columns: pd.Index,
    what: str,
) -> Stream:
    """Make a stream of rows of a matrix that is compressed by columns."""
    compressed = CompressedColumns(open_group, found.shape, found.dtype, rows, what, found.n_stored)
    return Stream(
        blocks=compressed.blocks,
        compressed=compressed,
        n_columns=found.shape[1],
        dtype=found.dtype,
        n_rows=found.shape[0],
        row_name=rows.name,
        column_labels=columns,
        dims=("obs", "var"),
    )


def axis_labels(root: Any, path: str, n: int, where: str) -> pd.Index:
    """Read the labels of an axis, and only these, from ``obs`` or ``var``.

    Parameters
    ----------
    root, path
        Where the table is.
    n
        How many labels there have to be.
    where
        What errors call the file.

    Raises
    ------
    DataTypeError, DataValueError
        There are fewer or more, or they cannot be read.
    """
    what = f"{path} of {where}"
    table = child(root, path, where)
    if hasattr(table, "dtype"):  # before AnnData 0.7, a table was one array of records
        if table.dtype.names is None:
            raise DataValueError(f"{what} is no table of labels")
        _check_length(table, n, what)
        records = table[:]
        return _index(records[records.dtype.names[0]], None)
    name = str(table.attrs.get("_index", "_index"))
    label = None if name in ("_index", "index") else name
    if "/" in name:
        raise DataValueError(f"{what} names {name!r} as its index, which is no column of it")
    column = child(table, name, what)
    what = f"the index {name!r} of {what}"
    if hasattr(column, "dtype"):
        return _index(_array(column, n, what), label)
    if "categories" in column:
        categories = child(column, "categories", what)
        if len(categories.shape) != 1 or categories.shape[0] > max(n, _MOST_CATEGORIES):
            raise DataValueError(f"{what} has categories of shape {categories.shape}")
        names = _array(categories, categories.shape[0], what)
        codes = _array(child(column, "codes", what), n, what)
        return _index(_decode(names, codes, what), label)
    return _index(_array(child(column, "values", what), n, what), label)  # nullable


def _decode(categories: np.ndarray, codes: np.ndarray, what: str) -> np.ndarray:
    """Put categories in the place of their codes; -1 stands for a missing one."""
    if codes.dtype.kind not in "iu":
        raise DataValueError(f"{what} has codes of type {codes.dtype}, not whole numbers")
    bad = np.flatnonzero((codes < -1) | (codes >= len(categories)))
    if len(bad):
        raise DataValueError(
            f"{what} has code {codes[bad[0]]} in row {bad[0]}, and {len(categories)} categories"
        )
    named: np.ndarray = np.append(categories.astype(object), _MISSING)[codes]
    return named


def _check_length(node: Any, n: int, what: str) -> None:
    if node.shape != (n,):
        raise DataValueError(
            f"{what} has {' x '.join(map(str, node.shape or ())) or 'no'} labels, and the matrix "
            f"{n:,} of these: it was not written whole"
        )


def _array(node: Any, n: int, what: str) -> np.ndarray:
    """Read an array of a known length; HDF5 gives text as bytes."""
    _check_length(node, n, what)
    if _is_hdf5(node):
        check_written(node, what)
        if node.dtype.kind in "OS":
            return np.asarray(node.asstr()[:])
    return np.asarray(node[:])


def _is_hdf5(node: Any) -> bool:
    return type(node).__module__.startswith("h5py")


def _index(values: np.ndarray, name: str | None) -> pd.Index:
    """Make labels."""
    if values.dtype.kind == "S":
        values = np.char.decode(values, "utf-8")
    if values.dtype.kind not in "iufb":
        values = values.astype(object)
    return plain_labels(pd.Index(values, name=name))

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

from clustergrid.storage.errors import DataTypeError, DataValueError
from clustergrid.storage.readers.base import Stream
from clustergrid.storage.readers.frame import check_number_dtype
from clustergrid.storage.readers.labels import plain_labels
from clustergrid.storage.readers.sparse import CompressedColumns

__all__ = ["Annotated", "axis_labels", "choose_layer", "column_stream", "describe"]


@dataclass(frozen=True)
class Annotated:
    """How a matrix is stored."""

    encoding: str  # "dense", "csr" or "csc"
    shape: tuple[int, int]
    dtype: np.dtype[Any]


def choose_layer(root: Any, layer: str | None, where: str) -> tuple[str, str]:
    """Return the path of the matrix, and of the table that labels its columns."""
    if layer is None:
        if "X" not in root or "obs" not in root:
            raise DataValueError(f"{where} has no X and obs: it was not written by AnnData")
        return "X", "var"
    layers = sorted(root["layers"]) if "layers" in root else []
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
    """
    if hasattr(node, "dtype"):
        check_number_dtype(node.dtype, what)
        if len(node.shape) != 2:
            raise DataValueError(f"{what} has shape {node.shape}: a matrix has two dimensions")
        return Annotated("dense", (int(node.shape[0]), int(node.shape[1])), np.dtype(node.dtype))
    attributes = dict(node.attrs)
    kind = str(attributes.get("encoding-type", attributes.get("h5sparse_format", "")))
    encoding = kind.removesuffix("_matrix")
    if encoding not in ("csr", "csc"):
        raise DataTypeError(f"{what} is stored as {kind or 'a group'!r}, not as a matrix")
    shape = attributes.get("shape", attributes.get("h5sparse_shape"))
    if shape is None:
        raise DataValueError(f"{what} does not say its shape")
    check_number_dtype(node["data"].dtype, what)
    return Annotated(encoding, (int(shape[0]), int(shape[1])), np.dtype(node["data"].dtype))


def column_stream(
    found: Annotated,
    open_group: Callable[[], AbstractContextManager[Any]],
    rows: pd.Index,
    columns: pd.Index,
) -> Stream:
    """Make a stream of rows of a matrix that is compressed by columns."""
    return Stream(
        blocks=CompressedColumns(open_group, found.shape, found.dtype, rows).blocks,
        n_columns=found.shape[1],
        dtype=found.dtype,
        n_rows=found.shape[0],
        row_name=rows.name,
        column_labels=columns,
        dims=("obs", "var"),
    )


def axis_labels(table: Any) -> pd.Index:
    """Read the labels of an axis, and only these, from ``obs`` or ``var``."""
    if hasattr(table, "dtype"):  # before AnnData 0.7, a table was one array of records
        records = table[:]
        return _index(records[records.dtype.names[0]], None)
    name = str(table.attrs.get("_index", "_index"))
    label = None if name in ("_index", "index") else name
    column = table[name]
    if hasattr(column, "dtype"):
        return _index(_array(column), label)
    if "categories" in column:
        categories = _array(column["categories"])
        return _index(categories[np.asarray(column["codes"][:])], label)
    return _index(_array(column["values"]), label)  # nullable text or numbers


def _array(node: Any) -> np.ndarray:
    """Read an array; HDF5 gives text as bytes."""
    return np.asarray(node.asstr()[:] if _is_hdf5_text(node) else node[:])


def _is_hdf5_text(node: Any) -> bool:
    """Whether a node is an HDF5 dataset of text."""
    return hasattr(node, "asstr") and node.dtype.kind in "OS"


def _index(values: np.ndarray, name: str | None) -> pd.Index:
    """Make labels."""
    if values.dtype.kind == "S":
        values = np.char.decode(values, "utf-8")
    if values.dtype.kind not in "iufb":
        values = values.astype(object)
    return plain_labels(pd.Index(values, name=name))

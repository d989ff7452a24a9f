"""Driver: the matrix in clustered order, lazily.

Nothing is moved. The reordered matrix is an index into the original one; a window of it looks its
rows and columns up and reads only the chunks that hold them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from clustergrid.pipeline.normalize import Normalization

__all__ = ["reordered_matrix"]


class _ReorderedArray(BackendArray):
    """Reads windows of a reordered, normalized matrix; xarray composes the indexers."""

    def __init__(
        self,
        matrix: xr.DataArray,
        normalization: Normalization,
        row_order: np.ndarray,
        column_order: np.ndarray,
        dtype: np.dtype[Any],
    ) -> None:
        self._matrix = matrix
        self._normalization = normalization
        self._orders = (row_order, column_order)
        self.shape = matrix.shape
        self.dtype = dtype

    def __getitem__(self, key: indexing.ExplicitIndexer) -> np.ndarray:
        result: np.ndarray = indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.OUTER, self._read
        )
        return result

    def _read(self, key: tuple[Any, ...]) -> np.ndarray:
        rows, columns = (order[index] for order, index in zip(self._orders, key, strict=True))
        block = _window(self._matrix, np.atleast_1d(rows), np.atleast_1d(columns))
        if self._normalization.axis is not None:
            block = _normalize(self._normalization, block, rows, columns)
        block = block.astype(self.dtype, copy=False)
        if np.ndim(columns) == 0:
            block = block[:, 0]
        return block[0] if np.ndim(rows) == 0 else block


def _window(matrix: xr.DataArray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Read some rows and columns in the given order, each chunk once.

    The lazy array is asked for increasing indices, which it reads chunk by chunk; the order is
    put on the small result.
    """
    row_index, row_place = np.unique(rows, return_inverse=True)
    column_index, column_place = np.unique(columns, return_inverse=True)
    values = matrix.isel({matrix.dims[0]: row_index, matrix.dims[1]: column_index}).to_numpy()
    return np.asarray(values)[np.ix_(row_place, column_place)]


def _normalize(
    normalization: Normalization, block: np.ndarray, rows: np.ndarray, columns: np.ndarray
) -> np.ndarray:
    assert normalization.shift is not None
    assert normalization.scale is not None
    index = np.atleast_1d(rows if normalization.axis == 0 else columns)
    picked = Normalization(
        axis=normalization.axis,
        shift=normalization.shift[index],
        scale=normalization.scale[index],
    )
    return picked.apply(block, slice(None), slice(None))


def reordered_matrix(
    matrix: xr.DataArray,
    row_order: np.ndarray,
    column_order: np.ndarray,
    normalization: Normalization | None = None,
) -> xr.DataArray:
    """Return the matrix in another order of rows and columns, without reading it.

    Parameters
    ----------
    matrix
        ``(n, k)``, of any kind; its labels come along.
    row_order, column_order
        ``(n,)`` and ``(k,)`` int: which row (column) stands where.
    normalization
        Applied to what is read.

    Returns
    -------
    xarray.DataArray
        Lazy: indexing composes, and reading a window reads the chunks that hold its rows and
        columns. ``.chunk()`` makes a Dask array of it.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> m = xr.DataArray([[1, 2], [3, 4]], dims=("gene", "sample"), coords={"gene": ["a", "b"]})
    >>> lazy = reordered_matrix(m, np.array([1, 0]), np.array([0, 1]))
    >>> lazy.sel(gene="b").values.tolist()
    [3, 4]
    """
    normalization = normalization or Normalization()
    dtype = matrix.dtype
    if normalization.axis is not None and dtype.kind != "f":
        dtype = np.dtype(np.float64)
    array = _ReorderedArray(
        matrix, normalization, np.asarray(row_order), np.asarray(column_order), dtype
    )
    orders = dict(zip(matrix.dims, (row_order, column_order), strict=True))
    template = xr.Dataset(coords=matrix.coords).isel(orders, missing_dims="ignore")
    variable = xr.Variable(matrix.dims, indexing.LazilyIndexedArray(array), matrix.attrs)
    return xr.DataArray(variable, coords=template.coords, name=matrix.name)

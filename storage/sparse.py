"""Driver: a sparse matrix as tasks read it: whole rows as they are stored, or a dense block.

Rows are compressed (CSR). The transpose of a matrix in memory is made once; rows of a matrix that
is at rest by columns (CSC) cannot be read, see ``sparse_copy.py``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import numpy as np

__all__ = [
    "CompressedParts",
    "SparseArraySource",
    "SparseSource",
    "as_sparse",
    "canonical",
    "csr_parts",
    "dense_block",
    "density",
]

CompressedParts = tuple[np.ndarray, np.ndarray, np.ndarray]
"""``data``, ``indices`` and ``indptr`` of some rows, as `scipy.sparse.csr_array` has them."""


class SparseSource(Protocol):
    """A `MatrixSource` that can also be read as it is stored."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        ...

    @property
    def chunks(self) -> tuple[int, int]:
        """Rows and columns that are cheap to read together."""
        ...

    @property
    def n_stored(self) -> int:
        """Stored values of the whole matrix; the others are zero."""
        ...

    def read(self, rows: slice, columns: slice) -> np.ndarray:
        """Return a dense block."""
        ...

    def read_compressed(self, rows: slice) -> CompressedParts:
        """Return whole rows: columns in increasing order, each once; zeros may be stored."""
        ...

    def transpose(self) -> SparseSource:
        """Return the transposed matrix."""
        ...


def as_sparse(source: Any) -> SparseSource | None:
    """Return a source that can be read as it is stored; None of one that cannot."""
    return source if hasattr(type(source), "read_compressed") else None


def density(source: SparseSource) -> float:
    """Share of a matrix that is stored."""
    rows, columns = source.shape
    return source.n_stored / (rows * columns)


@dataclass(frozen=True, eq=False)
class SparseArraySource:
    """A `scipy.sparse` matrix in memory.

    Parameters
    ----------
    matrix
        ``(n, k)`` of any format.
    """

    matrix: Any
    _other: SparseArraySource | None = field(default=None, repr=False)

    @cached_property
    def _rows(self) -> Any:
        """The matrix by rows, in canonical format; the caller's is left as it is."""
        return canonical(self.matrix)

    def __getstate__(self) -> dict[str, Any]:
        """Send the matrix by rows, and nothing twice."""
        return {"matrix": self._rows, "_other": None}

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        rows, columns = self.matrix.shape
        return rows, columns

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        dtype: np.dtype[Any] = self.matrix.dtype
        return dtype

    @property
    def chunks(self) -> tuple[int, int]:
        """The whole matrix."""
        return self.shape

    @property
    def n_stored(self) -> int:
        """Stored values."""
        return int(self._rows.nnz)

    @property
    def nbytes(self) -> int:
        """Bytes that the matrix takes by rows."""
        rows = self._rows
        return int(rows.data.nbytes + rows.indices.nbytes + rows.indptr.nbytes)

    def read(self, rows: slice, columns: slice) -> np.ndarray:
        """Return a dense block."""
        return dense_block(self.read_compressed(rows), self.shape[1], columns)

    def read_compressed(self, rows: slice) -> CompressedParts:
        """Return whole rows; the values and columns are views."""
        matrix = self._rows
        pointers = matrix.indptr[rows.start : rows.stop + 1].astype(np.int64)
        entries = slice(int(pointers[0]), int(pointers[-1]))
        return matrix.data[entries], matrix.indices[entries], pointers - pointers[0]

    def transpose(self) -> SparseArraySource:
        """Return the transposed matrix, which is made by rows when it is first read."""
        return self._transposed

    @cached_property
    def _transposed(self) -> SparseArraySource:
        return self._other or SparseArraySource(self._rows.T, self)


def csr_parts(data: np.ndarray, indices: np.ndarray, indptr: np.ndarray, n_columns: int) -> Any:
    """Put stored rows together as a matrix in canonical format."""
    import scipy.sparse

    shape = (len(indptr) - 1, n_columns)
    return canonical(scipy.sparse.csr_array((data, indices, indptr), shape=shape))


def canonical(matrix: Any) -> Any:
    """Return a matrix by rows, columns in increasing order and each once; not in place.

    Indices are int32, unless there are more columns than that counts.
    """
    import scipy.sparse

    # Not tocsr: conversions add up what is there twice in float64, and truth values to True.
    rows = scipy.sparse.csr_array(matrix)
    if not rows.has_canonical_format:
        rows = rows.copy()
        rows.sum_duplicates()
    index_dtype = np.int32 if rows.shape[1] <= np.iinfo(np.int32).max else np.int64
    if rows.indices.dtype != index_dtype:
        rows.indices = rows.indices.astype(index_dtype)
    return rows


def dense_block(parts: CompressedParts, n_columns: int, columns: slice) -> np.ndarray:
    """Make some columns of compressed rows dense."""
    data, indices, indptr = parts
    first, last, _ = columns.indices(n_columns)
    block = np.zeros((len(indptr) - 1, last - first), data.dtype)
    rows = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))
    if (first, last) != (0, n_columns):
        inside = (indices >= first) & (indices < last)
        data, rows, indices = data[inside], rows[inside], indices[inside]
    block[rows, indices - first] = data
    return block

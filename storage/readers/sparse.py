"""Driver: compressed sparse matrices in files, by rows (CSR) and by columns (CSC).

Single-cell counts are mostly zeros. Rows are read where they are, as they are stored. Of a matrix
that is compressed by columns no row can be read: `sparse_copy` puts it at rest by rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from clustergrid.storage.errors import (
    ClustergridError,
    DataTypeError,
    DataValueError,
    IntegrityError,
)
from clustergrid.storage.readers.base import RowBlock
from clustergrid.storage.readers.chunking import block_rows
from clustergrid.storage.sparse import CompressedParts, csr_parts, dense_block

__all__ = ["CompressedColumns", "SparseGroupSource", "check_compressed"]

_SLAB_ENTRIES = 2**22
"""Entries of columns that are read at once, unless one column has more."""


def check_compressed(parts: Mapping[str, Any], n: int, what: str) -> None:
    """Check what the shapes and types of the parts of a compressed matrix tell.

    Parameters
    ----------
    parts
        The arrays ``data``, ``indices`` and ``indptr``.
    n
        Rows of a CSR matrix, columns of a CSC one.
    what
        What errors call the matrix.

    Raises
    ------
    DataTypeError, DataValueError
        They are not those of one matrix.
    """
    for name, part in parts.items():
        if not hasattr(part, "dtype") or len(part.shape) != 1:
            raise DataValueError(f"{name} of {what} is not an array of one dimension")
        if name != "data" and part.dtype.kind not in "iu":
            raise DataTypeError(f"{name} of {what} has type {part.dtype}, not whole numbers")
    n_data, n_indices, n_pointers = (int(part.shape[0]) for part in parts.values())
    if n_pointers != n + 1:
        raise DataValueError(
            f"indptr of {what} has {n_pointers:,} entries, instead of {n + 1:,} for its shape"
        )
    if n_data != n_indices:
        raise DataValueError(f"{what} has {n_data:,} values and {n_indices:,} indices")


def _check_pointers(pointers: np.ndarray, first: int, n_entries: int, what: str) -> None:
    """Refuse pointers that go back, or beyond the entries; `first` is the number of the first."""
    bad = np.flatnonzero((pointers < 0) | (pointers > n_entries))
    if len(bad):
        raise DataValueError(
            f"indptr of {what} is damaged: entry {first + bad[0]} is {pointers[bad[0]]}, and there "
            f"are {n_entries:,} values"
        )
    bad = np.flatnonzero(np.diff(pointers) < 0)
    if len(bad):
        raise DataValueError(
            f"indptr of {what} is damaged: entry {first + bad[0] + 1} is less than the one before"
        )


def _check_indices(indices: np.ndarray, first: int, n: int, what: str) -> None:
    """Refuse indices outside of the matrix, where SciPy would write beyond its memory."""
    bad = np.flatnonzero((indices < 0) | (indices >= n))
    if len(bad):
        raise DataValueError(
            f"indices of {what} are damaged: entry {first + bad[0]} is {indices[bad[0]]}, and the "
            f"matrix has {n:,}"
        )


@dataclass(frozen=True, kw_only=True)
class SparseGroupSource:
    """A CSR group of a file, read where it is: a `SparseSource` that every task opens again.

    Attributes
    ----------
    open_group
        Opens the file; a context manager that gives the group with ``data``, ``indices`` and
        ``indptr``.
    store, path
        Which file or store, and which group of it.
    shape, dtype, n_stored
        Rows and columns, type of the values, and how many of them there are.
    """

    open_group: Callable[[], AbstractContextManager[Any]]
    store: str
    path: str
    shape: tuple[int, int]
    dtype: np.dtype[Any]
    n_stored: int

    @property
    def chunks(self) -> tuple[int, int]:
        """Rows of about 32 MB when they are dense."""
        rows = max(1, block_rows(self.shape[1], self.dtype.itemsize))
        return min(rows, self.shape[0]), self.shape[1]

    def read(self, rows: slice, columns: slice) -> np.ndarray:
        """Return a dense block.

        Raises
        ------
        DataValueError, IntegrityError
            The entries do not lie in the matrix, or cannot be read.
        """
        return dense_block(self.read_compressed(rows), self.shape[1], columns)

    def read_compressed(self, rows: slice) -> CompressedParts:
        """Return whole rows, columns in increasing order and each once.

        Raises
        ------
        DataValueError, IntegrityError
            The entries do not lie in the matrix, or cannot be read.
        """
        start, stop, _ = rows.indices(self.shape[0])
        with self.open_group() as group, self._readable(start, stop):
            data, indices, pointers = self._read(group, start, stop)
        block = csr_parts(data, indices, pointers, self.shape[1])
        return block.data, block.indices, block.indptr.astype(np.int64)

    @contextmanager
    def _readable(self, start: int, stop: int) -> Iterator[None]:
        """Name the rows of what damaged bytes raise: every codec has its own errors."""
        try:
            yield
        except (ClustergridError, MemoryError):
            raise
        except Exception as error:
            raise IntegrityError(
                f"{self.path!r} in {self.store} is damaged in rows {start} to {stop} and cannot be "
                f"read: {type(error).__name__}: {error}"
            ) from error

    def _read(self, group: Any, start: int, stop: int) -> CompressedParts:
        what, n_columns = f"{self.path} of {self.store}", self.shape[1]
        pointers = np.asarray(group["indptr"][start : stop + 1]).astype(np.int64)
        _check_pointers(pointers, start, int(group["data"].shape[0]), what)
        entries = slice(int(pointers[0]), int(pointers[-1]))
        if entries.stop - entries.start > (stop - start) * n_columns:
            raise DataValueError(
                f"indptr of {what} is damaged: rows {start} to {stop} have more entries than cells"
            )
        data, indices = np.asarray(group["data"][entries]), np.asarray(group["indices"][entries])
        _check_indices(indices, entries.start, n_columns, what)
        return data, indices, pointers - pointers[0]

    def transpose(self) -> Any:
        """Refuse: columns of rows at rest cannot be read; ``sparse_copy.py`` deals them anew."""
        raise TypeError(f"{self.path} of {self.store} is compressed by rows: copy its transpose")


@dataclass(frozen=True)
class CompressedColumns:
    """A CSC group of a file, read column by column.

    Parameters
    ----------
    open_group
        Opens the file; a context manager that gives the group.
    shape, dtype
        Of the matrix.
    row_labels
        Labels of its rows, dealt out with the blocks.
    what
        What errors call the matrix.
    n_stored
        How many values are stored.
    """

    open_group: Callable[[], AbstractContextManager[Any]]
    shape: tuple[int, int]
    dtype: np.dtype[Any]
    row_labels: pd.Index
    what: str
    n_stored: int

    def blocks(self) -> Iterator[RowBlock]:
        """Make the rows dense, all in memory: for a small matrix."""
        whole: list[CompressedParts] = [parts for _, parts in self.slabs()]
        data, indices = (np.concatenate([parts[at] for parts in whole]) for at in (0, 1))
        lengths = np.concatenate([np.diff(parts[2]) for parts in whole])
        pointers = np.concatenate([[0], np.cumsum(lengths)])
        rows = csr_parts(data, indices, pointers, self.shape[0]).T.tocsr()
        step = block_rows(self.shape[1], self.dtype.itemsize)
        for start in range(0, self.shape[0], step):
            block = rows[start : start + step]
            yield self.row_labels[start : start + step], np.asarray(block.toarray(), self.dtype)

    def slabs(self) -> Iterator[tuple[int, CompressedParts]]:
        """Read the columns in their order, some at a time: the first one's number, and these.

        Raises
        ------
        DataValueError, IntegrityError
            Entries do not lie in the matrix, or cannot be read.
        """
        with self.open_group() as group:
            pointers = np.asarray(group["indptr"][:]).astype(np.int64)
            _check_pointers(pointers, 0, int(group["data"].shape[0]), self.what)
            first = 0
            while first < self.shape[1]:
                most = pointers[first] + _SLAB_ENTRIES
                last = int(np.searchsorted(pointers, most, side="right")) - 1
                last = min(max(last, first + 1), self.shape[1])
                part = slice(int(pointers[first]), int(pointers[last]))
                rows = np.asarray(group["indices"][part])
                _check_indices(rows, part.start, self.shape[0], self.what)
                values = np.asarray(group["data"][part])
                yield first, (values, rows, pointers[first : last + 1] - part.start)
                first = last

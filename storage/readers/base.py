"""Driver: what a reader returns, blocks at any place or a stream of them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pandas as pd

__all__ = ["BlockReader", "RandomAccess", "RowBlock", "Stream", "working_dtype"]

RowBlock = tuple[pd.Index | None, np.ndarray]
"""Labels of some consecutive rows, where the format has labels, and their values."""


class BlockReader(Protocol):
    """A small picklable object that names a file, and opens it again for every block."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values that `read` returns."""
        ...

    def read(self, rows: slice, columns: slice) -> np.ndarray:
        """Return the values of a block, ``slice.step`` being 1 or None."""
        ...


@dataclass(frozen=True, kw_only=True)
class RandomAccess:
    """A format whose blocks can be read at any place.

    Parameters
    ----------
    reader
        Reads a block; goes into every task.
    stored_chunks
        Rows and columns that the format keeps together; ``(1, n_columns)`` if it is plain rows.
    row_labels, column_labels
        Where the format has them.
    dim_names
        Names of the dimensions, where the format has them; otherwise those of the labels.
    dims
        Names of the dimensions where there are no others.
    name
        Name of the matrix, if the format gives it one.
    zarr_array
        Location ``(store, path)``, if the values are exactly one Zarr array.
    is_unwritten
        Whether nothing of it is stored, so that it reads as fill values everywhere.
    """

    reader: BlockReader
    stored_chunks: tuple[int, int]
    row_labels: pd.Index | None = None
    column_labels: pd.Index | None = None
    dim_names: tuple[Hashable, Hashable] = (None, None)
    dims: tuple[str, str] = ("row", "column")
    name: str | None = None
    zarr_array: tuple[str, str] | None = None
    is_unwritten: bool = False


@dataclass(frozen=True, kw_only=True)
class Stream:
    """A format that is read from its beginning to its end.

    Parameters
    ----------
    blocks
        Starts reading; yields ``(labels, values)`` of consecutive rows, each of bounded size.
    n_columns, dtype
        Of the values of every block.
    n_rows
        Of all blocks, where the format says it at its beginning.
    row_name
        Name of the rows' labels, which come with the blocks.
    column_labels, dims, name
        As in `RandomAccess`.
    compressed
        A `CompressedColumns`, where the format is that: it can be copied as it is compressed.
    """

    blocks: Callable[[], Iterator[RowBlock]]
    n_columns: int
    dtype: np.dtype[Any]
    n_rows: int | None = None
    row_name: Hashable = None
    column_labels: pd.Index | None = None
    dims: tuple[str, str] = ("row", "column")
    name: str | None = None
    compressed: Any = None


def working_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Type that values of a file's type are opened and kept as: nothing later knows all of them.

    Examples
    --------
    >>> working_dtype(np.dtype("float16")), working_dtype(np.dtype(">i4")).isnative
    (dtype('float32'), True)
    """
    return np.dtype(np.float32) if dtype == np.float16 else dtype.newbyteorder("=")

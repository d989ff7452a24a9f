"""Driver: a matrix that tasks can read block by block, in memory or at rest.

A source is small or shared: it is sent to every task, which opens what it names.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from clustergrid.storage.arrays import is_stored, open_array
from clustergrid.storage.errors import ClustergridError, IntegrityError
from clustergrid.storage.reading import read_region

if TYPE_CHECKING:
    import zarr

__all__ = ["ArraySource", "MatrixSource", "ZarrSource"]


class MatrixSource(Protocol):
    """A two-dimensional matrix that is read by slices."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values at rest."""
        ...

    @property
    def chunks(self) -> tuple[int, int]:
        """Rows and columns that are cheap to read together."""
        ...

    def read(self, rows: slice, columns: slice) -> np.ndarray:
        """Return the values of a block; may be a view, so do not write into it."""
        ...

    def transpose(self) -> MatrixSource:
        """Return the transposed matrix, without moving a value."""
        ...


@dataclass(frozen=True)
class ArraySource:
    """A matrix in memory."""

    array: np.ndarray

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.array.shape[0], self.array.shape[1]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        return self.array.dtype

    @property
    def chunks(self) -> tuple[int, int]:
        """The whole matrix."""
        return self.shape

    def read(self, rows: slice, columns: slice) -> np.ndarray:
        """Return a view of a block."""
        return self.array[rows, columns]

    def transpose(self) -> ArraySource:
        """Return the transposed matrix, a view."""
        return ArraySource(self.array.T)


@dataclass(frozen=True)
class ZarrSource:
    """A matrix at rest; tasks reopen it from its location."""

    store: str
    path: str
    transposed: bool = False

    @cached_property
    def _array(self) -> zarr.Array[Any]:
        return open_array(self.store, self.path)

    def __getstate__(self) -> dict[str, Any]:
        """Send the location, not the open array."""
        return {"store": self.store, "path": self.path, "transposed": self.transposed}

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        rows, columns = self._array.shape
        return (columns, rows) if self.transposed else (rows, columns)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values at rest."""
        dtype: np.dtype[Any] = self._array.dtype
        return dtype

    @property
    def chunks(self) -> tuple[int, int]:
        """The array's chunks (its shards, where it has them)."""
        rows, columns = self._array.shards or self._array.chunks
        return (columns, rows) if self.transposed else (rows, columns)

    def read(self, rows: slice, columns: slice) -> np.ndarray:
        """Read a block from the store.

        Raises
        ------
        IntegrityError
            A chunk fails its checksum.
        """
        if self.transposed:
            rows, columns = columns, rows
        try:
            block = read_region(self._array, rows, columns)
        except (ClustergridError, MemoryError):
            raise
        except Exception as error:  # every codec has its own, besides those of checksums
            raise IntegrityError(
                f"the array {self.path!r} in {self.store} is damaged in rows {rows.start} to "
                f"{rows.stop}: {error}"
            ) from error
        return block.T if self.transposed else block

    def holds(self, row: int, column: int) -> bool:
        """Whether the chunk of a value is there; if it was lost, it reads as the fill value."""
        place = (column, row) if self.transposed else (row, column)
        unit = self._array.shards or self._array.chunks
        return is_stored(self._array, (place[0] // unit[0], place[1] // unit[1]))

    def transpose(self) -> ZarrSource:
        """Return the transposed matrix, reading from the same array."""
        return ZarrSource(self.store, self.path, transposed=not self.transposed)

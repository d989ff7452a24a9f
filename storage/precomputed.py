"""Driver: distances that somebody else computed, as tiles read from where they are.

A square matrix, in memory or at rest, gives a tile as the block above the diagonal. SciPy's
condensed vector gives it row by row: the part of a row that falls into a tile is contiguous.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from math import isqrt
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from clustergrid.storage.arrays import open_array
from clustergrid.storage.condensed_tiles import Tiles
from clustergrid.storage.errors import ClustergridError, DataValueError, IntegrityError
from clustergrid.storage.grid import TriangleGrid
from clustergrid.storage.readers.location import Location
from clustergrid.storage.source import MatrixSource

if TYPE_CHECKING:
    import zarr

__all__ = [
    "ArrayVector",
    "ConvertedTiles",
    "DistanceVector",
    "NpyVector",
    "SquareTiles",
    "VectorTiles",
    "ZarrVector",
    "observations_of",
    "open_vector",
]


@dataclass(frozen=True, eq=False)
class SquareTiles:
    """Tiles of a symmetric matrix, of which the upper triangle counts.

    Parameters
    ----------
    grid
        How the pairs are cut into tiles.
    source
        ``(n, n)``.
    dtype
        Type of the distances.
    has_negative
        Whether values just below zero, which are rounding, are to be made zero.
    """

    grid: TriangleGrid
    source: MatrixSource
    dtype: np.dtype[Any]
    has_negative: bool = False

    def read(self, i: int, j: int) -> np.ndarray:
        """Return a tile: off the diagonal a view, where the matrix is in memory as it is wanted."""
        tile = self.source.read(self.grid.rows(i), self.grid.rows(j))
        tile = tile.astype(self.dtype, copy=False)
        if self.has_negative:
            tile = np.maximum(tile, 0)
        if i == j:
            upper = np.triu(tile, 1)
            tile = upper + upper.T
        return tile


@dataclass(frozen=True, eq=False)
class ConvertedTiles:
    """Tiles of another type, converted as they are read.

    Parameters
    ----------
    tiles
        The tiles as they are.
    dtype
        Type of the distances that are wanted.
    """

    tiles: Tiles
    dtype: np.dtype[Any]

    def read(self, i: int, j: int) -> np.ndarray:
        """Return a tile."""
        return self.tiles.read(i, j).astype(self.dtype, copy=False)


class DistanceVector(Protocol):
    """SciPy's condensed vector, read by ranges."""

    @property
    def size(self) -> int:
        """Number of distances."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        ...

    @property
    def read_together(self) -> int:
        """Values that cost no more to read than one of them."""
        ...

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return a range; may be a view, so do not write into it."""
        ...


@dataclass(frozen=True, eq=False)
class ArrayVector:
    """A vector in memory."""

    array: np.ndarray

    read_together = 1

    @property
    def size(self) -> int:
        """Number of distances."""
        return self.array.size

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        return self.array.dtype

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return a view of a range."""
        return self.array[start:stop]


@dataclass(frozen=True, eq=False)
class NpyVector:
    """A vector in a ``.npy`` file, of which the ranges are read that are wanted."""

    path: str

    read_together = 1

    @cached_property
    def _array(self) -> np.ndarray:
        array: np.ndarray = np.load(self.path, mmap_mode="r", allow_pickle=False)
        return array

    def __getstate__(self) -> dict[str, Any]:
        """Send the path, not the bytes."""
        return {"path": self.path}

    @property
    def size(self) -> int:
        """Number of distances."""
        return self._array.size

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        return self._array.dtype.newbyteorder("=")

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return a range."""
        return np.asarray(self._array[start:stop])


@dataclass(frozen=True, eq=False)
class ZarrVector:
    """A vector at rest in Zarr; tasks reopen it from its location."""

    store: str
    path: str

    @cached_property
    def _array(self) -> zarr.Array[Any]:
        return open_array(self.store, self.path)

    def __getstate__(self) -> dict[str, Any]:
        """Send the location, not the open array."""
        return {"store": self.store, "path": self.path}

    @property
    def size(self) -> int:
        """Number of distances."""
        return int(self._array.shape[0])

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        return np.dtype(self._array.dtype).newbyteorder("=")

    @property
    def read_together(self) -> int:
        """Values of a chunk: it is decoded as a whole."""
        return int(self._array.chunks[0])

    def read(self, start: int, stop: int) -> np.ndarray:
        """Read a range.

        Raises
        ------
        IntegrityError
            A chunk cannot be decoded.
        """
        try:
            return np.asarray(self._array[start:stop])
        except (ClustergridError, MemoryError):
            raise
        except Exception as error:  # every codec has its own, besides those of checksums
            raise IntegrityError(
                f"the vector {self.path!r} in {self.store} is damaged between {start:,} and "
                f"{stop:,}: {error}"
            ) from error


@dataclass(frozen=True, eq=False)
class VectorTiles:
    """Tiles gathered from a condensed vector.

    The part of a row that falls into a tile is one range. Where several rows are in one chunk they
    are read together, so a tile decodes a chunk once, and a chunk is decoded as often as a row of
    tiles is long. Whoever reads tiles of a vector in Zarr more than once or twice had better put
    them at rest as tiles.

    Parameters
    ----------
    grid
        How the pairs are cut into tiles.
    vector
        ``(n (n - 1) / 2,)``, SciPy's order.
    dtype
        Type of the distances.
    has_negative
        Whether values just below zero, which are rounding, are to be made zero.
    """

    grid: TriangleGrid
    vector: DistanceVector
    dtype: np.dtype[Any]
    has_negative: bool = False

    def read(self, i: int, j: int) -> np.ndarray:
        """Gather a tile."""
        rows, columns = self.grid.rows(i), self.grid.rows(j)
        tile = np.zeros(self.grid.tile_shape(i, j), dtype=self.dtype)
        at_once = max(1, self.vector.read_together // self.grid.n)
        for top in range(rows.start, rows.stop, at_once):
            bottom = min(top + at_once, rows.stop)
            self._gather(tile, range(top, bottom), rows.start, columns)
        if self.has_negative:
            np.maximum(tile, 0, out=tile)
        return tile + tile.T if i == j else tile

    def _gather(self, tile: np.ndarray, rows: range, top: int, columns: slice) -> None:
        """Fill some rows of a tile from one range of the vector, above the diagonal only."""
        places = []
        for row in rows:
            first = max(columns.start, row + 1)
            if first < columns.stop:
                start = self._place(row, first)
                places.append((row, first, start, start + columns.stop - first))
        if not places:
            return
        begin = places[0][2]
        values = self.vector.read(begin, places[-1][3])
        for row, first, start, stop in places:
            tile[row - top, first - columns.start :] = values[start - begin : stop - begin]

    def _place(self, i: int, j: int) -> int:
        """SciPy's index of the pair ``(i, j)``, ``i < j``."""
        return self.grid.n * i - i * (i + 1) // 2 + j - i - 1


def observations_of(size: int) -> int:
    """Observations of so many distances.

    Raises
    ------
    DataValueError
        No number of observations has so many; the message names the nearest.

    Examples
    --------
    >>> observations_of(10)
    5
    """
    n = (1 + isqrt(1 + 8 * size)) // 2
    if size and n * (n - 1) // 2 == size:
        return n
    nearest = min((max(2, n), n + 1), key=lambda m: abs(m * (m - 1) // 2 - size))
    raise DataValueError(
        f"a condensed distance matrix of n observations has n (n - 1) / 2 distances, and no n has "
        f"{size:,}: the nearest, {nearest:,} observations, have {nearest * (nearest - 1) // 2:,}"
    )


def open_vector(data: Any) -> DistanceVector | None:
    """Open a condensed vector; None where it is something else, a square for instance.

    Parameters
    ----------
    data
        A one-dimensional NumPy array or list of numbers, a `zarr.Array`, or a path or URL of a
        Zarr array or of a ``.npy`` file.

    Raises
    ------
    DataValueError
        Its length is not that of any condensed distance matrix.
    """
    vector = _vector(data)
    if vector is not None:
        observations_of(vector.size)
    return vector


def _vector(data: Any) -> DistanceVector | None:
    if isinstance(data, list | tuple) and all(np.isscalar(value) for value in data):
        data = np.asarray(data)
    if isinstance(data, np.ndarray):
        return ArrayVector(data) if data.ndim == 1 else None
    if isinstance(data, str | os.PathLike):
        return _vector_at(Location.parse(data))
    if type(data).__module__.partition(".")[0] == "zarr" and getattr(data, "ndim", None) == 1:
        return _zarr_vector(data)
    return None


def _zarr_vector(array: Any) -> DistanceVector:
    from zarr.storage import LocalStore

    if isinstance(array.store, LocalStore):
        return ZarrVector(str(array.store.root), array.path)
    return ArrayVector(np.asarray(array[:]))


def _vector_at(location: Location) -> DistanceVector | None:
    """Open a vector at a location; None where there is none."""
    if location.is_local and location.suffix == ".npy" and not location.is_compressed:
        try:
            vector = NpyVector(location.url)
            return vector if vector._array.ndim == 1 else None
        except (OSError, ValueError):  # `open_matrix` says what is wrong with it
            return None
    if not location.is_directory():
        return None
    try:
        array = open_array(location.url, "")
    except ClustergridError:
        return None
    return ZarrVector(location.url, "") if array.ndim == 1 else None

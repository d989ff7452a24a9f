"""Driver: the condensed distance matrix, as packed tiles of the upper triangle.

``condensed_tiles.py`` says where the tiles are, ``condensed_views.py`` makes lazy squares of them,
``condensed_chunks.py`` tells which tiles at rest can be trusted.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from clustergrid.storage.condensed_places import find_tiles
from clustergrid.storage.condensed_tiles import (
    LABELS,
    DistanceDescription,
    PackedTiles,
    StoredTiles,
    Tiles,
    create_tiles,
)
from clustergrid.storage.grid import TriangleGrid
from clustergrid.storage.places import AnyPlace

if TYPE_CHECKING:
    import dask.array
    import pandas as pd
    import xarray

__all__ = [
    "CondensedDistances",
    "DistanceDescription",
    "allocate_condensed",
    "create_condensed",
    "open_condensed",
    "write_tile",
]


@dataclass(frozen=True, eq=False, repr=False)
class CondensedDistances:
    """Distances between all pairs of `n` observations, each pair once.

    Parameters
    ----------
    grid
        How the pairs are cut into tiles.
    tiles
        Where they are: in memory, or at rest.
    about
        What they are distances of.

    Examples
    --------
    >>> from clustergrid.pipeline import pdist
    >>> d = pdist([[0.0, 0.0], [3.0, 4.0], [0.0, 1.0]])
    >>> d.n, d.to_numpy().round(3).tolist()
    (3, [5.0, 1.0, 4.243])
    >>> d[0, 1], d[-1, 0]
    (5.0, 1.0)
    >>> d[0, :].tolist()
    [0.0, 5.0, 1.0]
    >>> d.rows(slice(1, 3))
    dask.array<getitem, shape=(2, 3), dtype=float64, chunksize=(2, 3), chunktype=numpy.ndarray>
    """

    grid: TriangleGrid
    tiles: Tiles
    about: DistanceDescription = field(default_factory=DistanceDescription)

    @property
    def n(self) -> int:
        """Number of observations."""
        return self.grid.n

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the distances."""
        return self.tiles.dtype

    @property
    def shape(self) -> tuple[int]:
        """``(n (n - 1) / 2,)``, as SciPy's condensed matrix has it."""
        return (self.n * (self.n - 1) // 2,)

    @property
    def nbytes(self) -> int:
        """Bytes of `to_numpy`."""
        return self.shape[0] * self.dtype.itemsize

    @property
    def metric(self) -> str | None:
        """Name of the metric; None where nobody said it."""
        return self.about.metric

    @property
    def keywords(self) -> Mapping[str, Any]:
        """Keywords of the metric; arrays of more than 64 values at rest as shape and digest."""
        return self.about.keywords

    @property
    def dim(self) -> str:
        """Name of the dimension that the observations are along."""
        return self.about.dim

    @cached_property
    def labels(self) -> pd.Index | None:
        """Labels of the observations, ``(n,)``; None where they have none."""
        if self.about.labels is not None or not isinstance(self.tiles, StoredTiles):
            return self.about.labels
        if not self.tiles.has_labels:
            return None
        from clustergrid.storage.labels import read_labels

        return read_labels(self.tiles.store, f"{self.tiles.path}/{LABELS}", self.n)

    def __len__(self) -> int:
        return self.shape[0]

    __iter__ = None
    """Else Python, and NumPy, would take the rows of the square for the items."""

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Return `to_numpy`, which is a copy."""
        if copy is False:
            raise ValueError("distances in tiles become SciPy's vector by a copy only")
        return self.to_numpy().astype(dtype or self.dtype, copy=False)

    def __repr__(self) -> str:
        """Say what is there, in one line."""
        metric = "" if self.metric is None else f" {self.metric}"
        where = "in memory"
        if isinstance(self.tiles, StoredTiles):
            where = f"at rest in {self.tiles.store}/{self.tiles.path}"
        return (
            f"<CondensedDistances of {self.n:,} observations along {self.dim!r}: {len(self):,} "
            f"{self.dtype}{metric} distances in {self.grid.n_tiles:,} tiles, {where}>"
        )

    def __getitem__(self, key: Any) -> Any:
        """Distances between some observations and some others, by their numbers.

        Parameters
        ----------
        key
            ``d[i, j]``: one distance, a float. ``d[i, :]``, ``d[i]``, ``d[2:5, ::2]``: an array,
            as the square matrix would give it. Tiles at rest are read whole. Labels are looked up
            with ``d.to_xarray().sel``.

        Raises
        ------
        IndexError
            There is no such observation.
        TypeError
            It is neither an integer nor a slice.
        """
        pair = key if isinstance(key, tuple) else (key, slice(None))
        if len(pair) != 2:
            raise IndexError(f"distances are between two observations, got {len(pair)} indices")
        (rows, in_rows), (columns, in_columns) = (self._range(part) for part in pair)
        found = self.block(rows, columns)[in_rows, in_columns]
        return float(found) if found.ndim == 0 else found

    def _range(self, part: Any) -> tuple[slice, Any]:
        """Range of observations that an index is within, and the index within that."""
        if isinstance(part, slice):
            chosen = range(self.n)[part]
            if not len(chosen):
                return slice(0, 0), slice(0, 0)
            low, high = min(chosen[0], chosen[-1]), max(chosen[0], chosen[-1])
            return slice(low, high + 1), slice(None, None, chosen.step)
        try:
            index = operator.index(part)
        except TypeError:
            raise TypeError(
                f"observations are chosen by integers and slices, not by {part!r}: use "
                "to_xarray().sel() for labels, and square() for arrays"
            ) from None
        if not -self.n <= index < self.n:
            raise IndexError(
                f"there is no observation {index} among {self.n:,} (0 to {self.n - 1:,})"
            )
        index %= self.n
        return slice(index, index + 1), 0

    def block(self, rows: slice, columns: slice) -> np.ndarray:
        """Distances between two ranges of observations, a copy; each tile is read once.

        Parameters
        ----------
        rows, columns
            Ranges with a start and a stop, within the observations.

        Returns
        -------
        numpy.ndarray
            ``(rows, columns)``.
        """
        found = np.empty((rows.stop - rows.start, columns.stop - columns.start), self.dtype)
        for i, in_rows, to_rows in self._touched(rows):
            for j, in_columns, to_columns in self._touched(columns):
                found[to_rows, to_columns] = self.tile(i, j)[in_rows, in_columns]
        return found

    def _touched(self, part: slice) -> Iterator[tuple[int, slice, slice]]:
        """Tile rows that a range reaches into, which part of each, and where in the range."""
        edge = self.grid.tile_edge
        for i in range(part.start // edge, -(-part.stop // edge)):
            whole = self.grid.rows(i)
            start, stop = max(part.start, whole.start), min(part.stop, whole.stop)
            if start < stop:
                yield (
                    i,
                    slice(start - whole.start, stop - whole.start),
                    slice(start - part.start, stop - part.start),
                )

    def tile(self, i: int, j: int) -> np.ndarray:
        """Return tile ``(i, j)`` as a NumPy array of up to ``(tile_edge, tile_edge)``.

        Tiles below the diagonal are the transposed ones above it. Of distances in memory it is a
        view: do not write into it.

        Raises
        ------
        IndexError
            There is no such tile.
        TileError
            A tile at rest was never written, or is not what was written.
        """
        return self.tiles.read(i, j) if i <= j else self.tiles.read(j, i).T

    def tile_out(self, i: int, j: int) -> np.ndarray:
        """Return the place of tile ``(i, j)``, ``i <= j``, in memory, to compute into.

        Returns
        -------
        numpy.ndarray
            C-contiguous view of ``grid.tile_shape(i, j)``. Views of different tiles share no
            value, so threads may fill them at once. A diagonal tile is to be symmetric, with
            zeros on its diagonal.

        Raises
        ------
        TypeError
            The tiles are not in memory: compute one, and give it to `write_tile`.
        """
        if not isinstance(self.tiles, PackedTiles):
            raise TypeError("these tiles are not in memory: give them to write_tile")
        return self.tiles.read(i, j)

    @property
    def stored(self) -> StoredTiles:
        """The tiles, which are at rest.

        Raises
        ------
        TypeError
            They are in memory.
        """
        if not isinstance(self.tiles, StoredTiles):
            raise TypeError("these distances are not at rest: give a store to whoever makes them")
        return self.tiles

    def iter_tiles(self) -> Iterator[tuple[slice, slice, np.ndarray]]:
        """Yield rows, columns and values of every tile with ``i <= j``, one at a time."""
        for position in range(self.grid.n_tiles):
            i, j = self.grid.tile(position)
            yield self.grid.rows(i), self.grid.rows(j), self.tile(i, j)

    def to_numpy(self) -> np.ndarray:
        """Return SciPy's condensed distance matrix, ``(n (n - 1) / 2,)``.

        The bytes are `nbytes`, besides one tile at a time.
        """
        n = self.n
        condensed = np.empty(self.shape, dtype=self.dtype)
        for rows, columns, tile in self.iter_tiles():
            for i in range(rows.start, rows.stop):
                first = max(columns.start, i + 1)
                # SciPy's index of (i, j) is n i - i (i + 1) / 2 + j - i - 1.
                start = n * i - i * (i + 1) // 2 + first - i - 1
                values = tile[i - rows.start, first - columns.start :]
                condensed[start : start + len(values)] = values
        return condensed

    def square(self) -> dask.array.Array:
        """Return the square matrix, ``(n, n)``, as a lazy Dask array of one block a tile.

        A block is read from its tile when it is computed; below the diagonal it is the transposed
        one, so that computing the whole square reads a tile twice. Tasks take the location of
        tiles at rest with them, and open it where they run. Tiles in memory travel with the graph:
        for a cluster, put distances into a store.
        """
        from clustergrid.storage.condensed_views import lazy_square

        return lazy_square(self)

    def rows(self, rows: slice) -> dask.array.Array:
        """Return the distances of some observations to all, lazily; see `square`.

        Parameters
        ----------
        rows
            Which observations, as in NumPy.

        Returns
        -------
        dask.array.Array
            ``(len(rows), n)``, cut where the tiles are.
        """
        if not isinstance(rows, slice):
            raise TypeError(f"rows are chosen by a slice, not by {rows!r}: d[i] gives one row")
        found: dask.array.Array = self.square()[rows]
        return found

    def to_xarray(self) -> xarray.DataArray:
        """Return the square matrix, lazily, with labels on both dimensions.

        xarray cannot select or align along two dimensions of one name. So the rows keep the name
        of the observations' dimension, and align with the matrix that they are of; the columns
        have the same labels under that name with ``_2``.
        """
        from clustergrid.storage.condensed_views import square_data_array

        return square_data_array(self)


def allocate_condensed(
    *,
    n: int,
    tile_edge: int,
    dtype: np.dtype[Any] | str,
    about: DistanceDescription | None = None,
) -> CondensedDistances:
    """Make room for the tiles in memory; `CondensedDistances.tile_out` gives the place of each.

    Examples
    --------
    >>> d = allocate_condensed(n=3, tile_edge=2, dtype="float32")
    >>> d.tile_out(0, 1)[:] = 5
    >>> d[0, 2], d.tiles.values.size
    (5.0, 7)
    """
    grid = TriangleGrid(n=n, tile_edge=min(tile_edge, n))
    tiles = PackedTiles(grid, np.zeros(grid.n_values, dtype=dtype))
    return CondensedDistances(grid, tiles, about or DistanceDescription())


def create_condensed(
    store: AnyPlace,
    path: str,
    *,
    n: int,
    tile_edge: int,
    dtype: np.dtype[Any] | str,
    about: DistanceDescription | None = None,
    overwrite: bool = False,
) -> CondensedDistances:
    """Create the tiles at rest, and note what they are distances of.

    Raises
    ------
    StorageError
        The location cannot be written, or holds something of somebody else.
    """
    grid = TriangleGrid(n=n, tile_edge=min(tile_edge, n))
    about = about or DistanceDescription()
    tiles = create_tiles(store, path, grid, dtype, about, overwrite=overwrite)
    return CondensedDistances(grid, tiles, about)


def open_condensed(
    store: AnyPlace, path: str | None = None, *, mode: str = "r"
) -> CondensedDistances:
    """Open a condensed distance matrix at rest.

    Parameters
    ----------
    store
        The ``store=`` of `pdist`, `linkage` or `clustermap`, or a run directory.
    path
        Which distances, ``"condensed_row"`` or ``"condensed_col"``; need not be given where there
        is one.
    mode
        ``"r"`` to read, ``"r+"`` for who writes the tiles.

    Raises
    ------
    StorageError
        There are no such distances; the message says what is there.

    Examples
    --------
    >>> import tempfile
    >>> from clustergrid.pipeline import pdist
    >>> folder = tempfile.mkdtemp()
    >>> d = pdist([[0.0], [3.0], [4.0]], "cityblock", store=folder)
    >>> open_condensed(folder).to_numpy().tolist()
    [3.0, 4.0, 1.0]
    """
    tiles, attributes = find_tiles(store, path, mode=mode)
    about = DistanceDescription(
        metric=attributes.get("metric"),
        keywords=attributes.get("keywords") or {},
        dim=attributes.get("dim") or "row",
    )
    return CondensedDistances(tiles.grid, tiles, about)


def write_tile(condensed: CondensedDistances, i: int, j: int, tile: np.ndarray) -> None:
    """Put tile ``(i, j)``, ``i <= j``, in its place; at rest as one whole chunk.

    Raises
    ------
    ValueError
        It has another shape than the tile.
    TypeError
        These distances are only read.
    """
    expected = condensed.grid.tile_shape(i, j)
    if tile.shape != expected:
        raise ValueError(f"tile ({i}, {j}) has shape {expected}, got {tile.shape}")
    if not isinstance(condensed.tiles, PackedTiles | StoredTiles):
        raise TypeError("these distances are read from elsewhere, and not written")
    condensed.tiles.write(i, j, tile)

"""Driver: the condensed distance matrix, as packed tiles of the upper triangle.

One tile is one chunk: ``tiles[position]`` holds tile ``(i, j)``, ``i <= j``, of
`clustergrid.storage.grid.TriangleGrid`, padded with zeros at the right and lower edge. Diagonal
tiles are whole, with zeros on their diagonal. The tiles are a NumPy array, or a Zarr array whose
chunks carry checksums.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import numpy as np

from clustergrid.storage.arrays import create_array, open_array, write_block
from clustergrid.storage.errors import StorageError
from clustergrid.storage.grid import TriangleGrid

if TYPE_CHECKING:
    import zarr

__all__ = ["CondensedDistances", "create_condensed", "open_condensed", "write_tile"]


@dataclass(frozen=True, eq=False)
class CondensedDistances:
    """Distances between all pairs of `n` observations, each pair once.

    Parameters
    ----------
    grid
        How the pairs are cut into tiles.
    tiles
        ``(n_tiles, tile_edge, tile_edge)`` NumPy or Zarr array.

    Examples
    --------
    >>> from clustergrid.pipeline import pdist
    >>> d = pdist([[0.0, 0.0], [3.0, 4.0], [0.0, 1.0]])
    >>> d.n, d.to_numpy().round(3).tolist()
    (3, [5.0, 1.0, 4.243])
    >>> d[0, 1]
    5.0
    """

    grid: TriangleGrid
    tiles: np.ndarray | zarr.Array[Any]

    @property
    def n(self) -> int:
        """Number of observations."""
        return self.grid.n

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the distances."""
        dtype: np.dtype[Any] = self.tiles.dtype
        return dtype

    @property
    def shape(self) -> tuple[int]:
        """``(n (n - 1) / 2,)``, as SciPy's condensed matrix has it."""
        return (self.n * (self.n - 1) // 2,)

    @property
    def nbytes(self) -> int:
        """Bytes of `to_numpy`."""
        return self.shape[0] * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, pair: tuple[int, int]) -> float:
        """Distance between two observations."""
        i, j = sorted(range(self.n)[index] for index in pair)
        edge = self.grid.tile_edge
        position = self.grid.position(i // edge, j // edge)
        return float(np.asarray(self.tiles[position, i % edge, j % edge]))

    def tile(self, i: int, j: int) -> np.ndarray:
        """Return tile ``(i, j)`` as a NumPy array of up to ``(tile_edge, tile_edge)``.

        Tiles below the diagonal are the transposed ones above it.
        """
        if i > j:
            return self.tile(j, i).T
        rows, columns = self.grid.rows(i), self.grid.rows(j)
        tile = self.tiles[
            self.grid.position(i, j), : rows.stop - rows.start, : columns.stop - columns.start
        ]
        return np.asarray(tile)

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


def create_condensed(
    store: str | PurePath,
    path: str,
    *,
    n: int,
    tile_edge: int,
    dtype: np.dtype[Any] | str,
    overwrite: bool = False,
) -> CondensedDistances:
    """Create the tiles at rest, raw (distances barely compress) with a checksum each."""
    grid = TriangleGrid(n=n, tile_edge=min(tile_edge, n))
    if overwrite:
        _refuse_foreign(store, path)
    array = create_array(
        store,
        path,
        shape=(grid.n_tiles, grid.tile_edge, grid.tile_edge),
        chunks=(1, grid.tile_edge, grid.tile_edge),
        dtype=dtype,
        compressed=False,
        attributes={"clustergrid": "condensed", "n": n, "tile_edge": grid.tile_edge},
        overwrite=overwrite,
    )
    return CondensedDistances(grid, array)


def _refuse_foreign(store: str | PurePath, path: str) -> None:
    """Refuse to replace an array that is not a condensed distance matrix of ours."""
    try:
        attributes = dict(open_array(store, path).attrs)
    except StorageError:
        return
    if attributes.get("clustergrid") != "condensed":
        raise StorageError(
            f"{store} holds an array {path!r} that clustergrid did not write and would replace: "
            "name another store"
        )


def open_condensed(store: str | PurePath, path: str, *, mode: str = "r") -> CondensedDistances:
    """Open the tiles that `create_condensed` made.

    Raises
    ------
    StorageError
        There is no such array, or it holds something else.
    """
    array = open_array(store, path, mode=mode)
    attributes = dict(array.attrs)
    if attributes.get("clustergrid") != "condensed":
        raise StorageError(f"{store}/{path} is not a condensed distance matrix of clustergrid")
    n, tile_edge = attributes.get("n"), attributes.get("tile_edge")
    if not (isinstance(n, int) and isinstance(tile_edge, int)):
        raise StorageError(f"{store}/{path} does not say its n and tile_edge")
    return CondensedDistances(TriangleGrid(n=n, tile_edge=tile_edge), array)


def write_tile(condensed: CondensedDistances, i: int, j: int, tile: np.ndarray) -> None:
    """Write tile ``(i, j)``, padded to a whole chunk."""
    edge = condensed.grid.tile_edge
    position = condensed.grid.position(i, j)
    if tile.shape != (edge, edge):
        padded = np.zeros((edge, edge), dtype=condensed.dtype)
        padded[: tile.shape[0], : tile.shape[1]] = tile
        tile = padded
    if isinstance(condensed.tiles, np.ndarray):
        condensed.tiles[position] = tile
    else:
        write_block(condensed.tiles, (position, 0, 0), tile[None])

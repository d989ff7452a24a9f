"""Driver: where the tiles of a condensed distance matrix are: in memory, or at rest in Zarr.

At rest they are a Zarr group, whose attributes say what the distances are of::

    condensed_row/
        tiles    (t, edge, edge)        one tile a chunk, of full width
        border   (t, edge, remainder)   the last column of tiles, where it is narrower
        corner   (1, remainder, remainder)
        labels   (n,)                   where the observations have any

A tile is one chunk and one file, which one task writes as a whole, and none is padded. Chunks are
raw bytes with a CRC-32C. A chunk that was never written reads as NaN, which no distance is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from clustergrid.storage.arrays import create_array, open_array, write_block
from clustergrid.storage.errors import ClustergridError, StorageError, TileError
from clustergrid.storage.grid import TriangleGrid
from clustergrid.storage.places import AnyPlace, zarr_store

if TYPE_CHECKING:
    import pandas as pd
    import zarr

__all__ = [
    "LABELS",
    "DistanceDescription",
    "PackedTiles",
    "StoredTiles",
    "Tiles",
    "create_tiles",
    "is_condensed",
    "open_tiles",
]

LABELS = "labels"
"""Name of the array of labels in the group."""

_KIND = {"clustergrid": "condensed"}
_DTYPES = ("float32", "float64")
_MOST_SHOWN = 64
"""Values of a keyword (weights, variances) that are noted as they are."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DistanceDescription:
    """What distances are of.

    Attributes
    ----------
    metric
        Its name; None where nobody said it.
    keywords
        Of the metric, as ``{"p": 3}``.
    dim
        Name of the dimension that the observations are along.
    labels
        ``(n,)`` of the observations, numbers or text; None where they have none.
    """

    metric: str | None = None
    keywords: Mapping[str, Any] = field(default_factory=dict)
    dim: str = "row"
    labels: pd.Index | None = None


class Tiles(Protocol):
    """Something that gives the tiles ``(i, j)``, ``i <= j``, of a triangle."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the distances."""
        ...

    def read(self, i: int, j: int) -> np.ndarray:
        """Return tile ``(i, j)``, ``i <= j``; may be a view, so do not write into it."""
        ...


@dataclass(frozen=True, eq=False)
class PackedTiles:
    """Tiles in memory, one after another without a gap.

    Parameters
    ----------
    grid
        How the pairs are cut into tiles.
    values
        ``(grid.n_values,)``: the tiles in their order, each row by row.
    """

    grid: TriangleGrid
    values: np.ndarray

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the distances."""
        return self.values.dtype

    def read(self, i: int, j: int) -> np.ndarray:
        """Return a contiguous view of a tile, which may be written into."""
        shape = self.grid.tile_shape(i, j)
        start = self.grid.offset(i, j)
        return self.values[start : start + shape[0] * shape[1]].reshape(shape)

    def write(self, i: int, j: int, tile: np.ndarray) -> None:
        """Copy a tile to its place."""
        self.read(i, j)[:] = tile


@dataclass(frozen=True, eq=False)
class StoredTiles:
    """Tiles at rest; tasks reopen them from their location."""

    grid: TriangleGrid
    dtype: np.dtype[Any]
    store: str
    path: str
    mode: str = "r"
    has_labels: bool = False

    @cached_property
    def _opened(self) -> dict[str, zarr.Array[Any]]:
        return {}

    def __getstate__(self) -> dict[str, Any]:
        """Send the location, not the open arrays."""
        return {name: value for name, value in vars(self).items() if name != "_opened"}

    def place(self, i: int, j: int) -> tuple[str, tuple[int, int, int]]:
        """Array in the store that holds tile ``(i, j)``, ``i <= j``, and its chunk there."""
        stack, number = self.grid.place(i, j)
        return f"{self.path}/{stack}", (number, 0, 0)

    def _array(self, path: str) -> zarr.Array[Any]:
        if path not in self._opened:
            array = open_array(self.store, path, mode=self.mode)
            shape = self.grid.stacks[path.rpartition("/")[2]]
            if (array.shape, array.chunks, array.dtype) != (shape, (1, *shape[1:]), self.dtype):
                raise TileError(
                    f"{self.store}/{path} has {array.dtype} {array.shape} in chunks of "
                    f"{array.chunks}, and tiles of {self.dtype} {shape} were written there"
                )
            self._opened[path] = array
        return self._opened[path]

    def read(self, i: int, j: int) -> np.ndarray:
        """Read a tile.

        Raises
        ------
        TileError
            It was never written, or fails its checksum.
        """
        path, (number, _, _) = self.place(i, j)
        array = self._array(path)
        try:
            tile = np.asarray(array[number])
        except (ClustergridError, MemoryError):
            raise
        except Exception as error:  # every codec has its own, besides those of checksums
            raise TileError(
                f"tile ({i}, {j}) of {self.store}/{self.path} is damaged: {error}"
            ) from error
        if np.isnan(tile[-1, -1]):
            raise TileError(
                f"tile ({i}, {j}) of {self.store}/{self.path} is not there: whoever computed the "
                "distances did not finish, or it was lost. Compute them again."
            )
        return tile

    def write(self, i: int, j: int, tile: np.ndarray) -> None:
        """Write a tile as one whole chunk."""
        path, place = self.place(i, j)
        write_block(self._array(path), place, tile[None])


def create_tiles(
    store: AnyPlace,
    path: str,
    grid: TriangleGrid,
    dtype: np.dtype[Any] | str,
    about: DistanceDescription,
    *,
    overwrite: bool,
) -> StoredTiles:
    """Create the group and its arrays, raw (distances barely compress) with a checksum a chunk.

    Raises
    ------
    StorageError
        The location cannot be written, or holds something of somebody else.
    """
    import zarr

    dtype = np.dtype(dtype)
    if overwrite:
        _refuse_foreign(store, path)
    attributes = {
        **_KIND,
        "n": grid.n,
        "tile_edge": grid.tile_edge,
        "dtype": dtype.name,
        "metric": about.metric,
        "keywords": {name: _plain(value) for name, value in about.keywords.items()},
        "dim": about.dim,
        LABELS: about.labels is not None,
    }
    try:
        root = zarr.open_group(zarr_store(store), mode="a", zarr_format=3)
        root.create_group(path, overwrite=overwrite, attributes=attributes)
    except (OSError, ValueError) as error:
        raise StorageError(f"cannot create the group {path!r} in {store}: {error}") from error
    for stack, shape in grid.stacks.items():
        create_array(
            store,
            f"{path}/{stack}",
            shape=shape,
            chunks=(1, *shape[1:]),
            dtype=dtype,
            compressed=False,
            fill_value=np.nan,
        )
    if about.labels is not None:
        from clustergrid.storage.labels import write_labels

        write_labels(store, f"{path}/{LABELS}", about.labels, about.dim)
    return StoredTiles(grid, dtype, str(store), path, "r+", about.labels is not None)


def open_tiles(
    store: AnyPlace, path: str, *, mode: str = "r"
) -> tuple[StoredTiles, Mapping[str, Any]]:
    """Open what `create_tiles` made, with the attributes of the group.

    Raises
    ------
    StorageError
        There is no such group, or it holds something else.
    """
    attributes = _attributes(store, path)
    if attributes is None:
        raise StorageError(f"there is no condensed distance matrix {path!r} in {store}")
    if not is_condensed(attributes):
        raise StorageError(f"{store}/{path} is not a condensed distance matrix of clustergrid")
    n, tile_edge, dtype = (attributes.get(name) for name in ("n", "tile_edge", "dtype"))
    if not (isinstance(n, int) and isinstance(tile_edge, int) and isinstance(dtype, str)):
        raise StorageError(
            f"{store}/{path} does not say its n, tile_edge and dtype: it was written by an older "
            "version. Compute the distances again."
        )
    if n < 1 or tile_edge < 1 or dtype not in _DTYPES:
        raise StorageError(
            f"{store}/{path} says it holds {dtype!r} distances of {n} observations in tiles of "
            f"{tile_edge}: its metadata are damaged"
        )
    grid = TriangleGrid(n=n, tile_edge=tile_edge)
    has_labels = attributes.get(LABELS) is True
    return StoredTiles(grid, np.dtype(dtype), str(store), path, mode, has_labels), attributes


def is_condensed(attributes: Mapping[str, Any]) -> bool:
    """Whether a Zarr node with these attributes holds distances that `create_tiles` made."""
    return attributes.get("clustergrid") == _KIND["clustergrid"]


def _attributes(store: AnyPlace, path: str) -> dict[str, Any] | None:
    """Return the attributes of a Zarr group or array; None where there is none."""
    import zarr

    try:
        return dict(zarr.open(zarr_store(store), path=path, mode="r").attrs)
    except (OSError, KeyError, ValueError):
        return None


def _refuse_foreign(store: AnyPlace, path: str) -> None:
    """Refuse to replace what is not a condensed distance matrix of ours."""
    attributes = _attributes(store, path)
    if attributes is not None and not is_condensed(attributes):
        raise StorageError(
            f"{store} holds {path!r}, which clustergrid did not write and would replace: "
            "name another store"
        )


def _plain(value: Any) -> Any:
    """Make JSON of a keyword: of a long array its shape and digest."""
    values = np.asarray(value)
    if values.ndim == 0 or values.size <= _MOST_SHOWN:
        return values.tolist()
    return {
        "shape": list(values.shape),
        "dtype": values.dtype.name,
        "sha256": hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest(),
    }

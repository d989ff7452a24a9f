"""Driver: the square of a condensed distance matrix, lazily: as Dask array, and with labels."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray

from clustergrid.storage.condensed import CondensedDistances
from clustergrid.storage.readers.labels import plain_labels
from clustergrid.storage.readers.lazy import lazy_blocks

if TYPE_CHECKING:
    import dask.array

__all__ = ["lazy_square", "square_data_array"]


@dataclass(frozen=True, eq=False)
class _Square:
    """Blocks of the square; goes into tasks, with the location of tiles that are at rest."""

    condensed: CondensedDistances

    @property
    def shape(self) -> tuple[int, int]:
        return self.condensed.n, self.condensed.n

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.condensed.dtype

    def read(self, rows: slice, columns: slice) -> np.ndarray:
        return self.condensed.block(rows, columns)


def lazy_square(condensed: CondensedDistances) -> dask.array.Array:
    """Make a Dask array of the square, one block a tile; nothing is read."""
    edge = condensed.grid.tile_edge
    # A name of its own: a hash would read all values, and a store may be written anew.
    square: dask.array.Array = lazy_blocks(
        _Square(condensed), (edge, edge), {"distances": uuid.uuid4().hex}
    )
    return square


def _attributes(keywords: Mapping[str, Any]) -> dict[str, Any]:
    """Return keywords as netCDF and Zarr can keep attributes, digests of long arrays as text."""
    return {
        name: json.dumps(value) if isinstance(value, Mapping) else value
        for name, value in keywords.items()
    }


def square_data_array(condensed: CondensedDistances) -> xarray.DataArray:
    """Put labels on both dimensions of the lazy square."""
    dims = (condensed.dim, f"{condensed.dim}_2")
    labels = condensed.labels
    coords = {}
    if labels is not None:
        coords = {dim: plain_labels(labels).rename(dim) for dim in dims}
    return xarray.DataArray(
        lazy_square(condensed),
        dims=dims,
        coords=coords,
        name="distance",
        attrs={"metric": condensed.metric or "", **_attributes(condensed.keywords)},
    )

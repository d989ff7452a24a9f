"""Driver: the reordered matrix at several resolutions: mean, minimum, maximum and count.

::

    GROUP/
        matrix                      level 0
        pyramid/1/mean              half as many rows and columns
        pyramid/1/minimum  maximum  count
        pyramid/2/...               until a level fits one tile

A cell of level ``l`` covers ``2**l x 2**l`` cells of the matrix, fewer at its lower and right
edge. Missing cells are left out: ``count`` says how many are there, and where it is 0 the others
are NaN. Each level is a group that xarray opens, in chunks of a tile.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from clustergrid.storage.arrays import create_array, open_array, write_block
from clustergrid.storage.errors import StorageError
from clustergrid.storage.grid import slabs
from clustergrid.storage.places import AnyPlace, zarr_store
from clustergrid.storage.pyramid_plan import TILE, level_for, levels, region_cells
from clustergrid.storage.reading import read_region

if TYPE_CHECKING:
    import xarray as xr

__all__ = [
    "PARTS",
    "PYRAMID",
    "TILE",
    "Level",
    "below",
    "create_level",
    "halved",
    "level_for",
    "level_path",
    "levels",
    "open_level",
    "write_region",
]

PARTS = ("mean", "minimum", "maximum", "count")
"""Arrays of a level."""

PYRAMID = "pyramid"
"""Group of the levels."""

_KEY = "clustergrid_key"
_STRIP_CELLS = 2**17


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """One level of a pyramid, of which there is room in a store.

    Attributes
    ----------
    store
        Directory of the Zarr group.
    source
        Name of the matrix in it.
    number
        1 for the first above the matrix.
    shape
        Rows and columns.
    dtype
        Of mean, minimum and maximum.
    tile
        Rows and columns of a chunk.
    """

    store: str
    source: str
    number: int
    shape: tuple[int, int]
    dtype: np.dtype[Any]
    tile: int = TILE

    @property
    def chunks(self) -> tuple[int, int]:
        """Rows and columns of a chunk."""
        return min(self.tile, self.shape[0]), min(self.tile, self.shape[1])

    def regions(self, cells: int | None = None) -> list[tuple[slice, slice]]:
        """Cut the level into regions of whole tiles beside one another, of so many cells."""
        height, width = self.chunks
        cells = region_cells(self.number, self.dtype.itemsize) if cells is None else cells
        across = max(1, cells // (height * width)) * width
        return [(r, c) for r in slabs(self.shape[0], height) for c in slabs(self.shape[1], across)]


def level_path(number: int) -> str:
    """Name of a level's group.

    Examples
    --------
    >>> level_path(2)
    'pyramid/2'
    """
    return f"{PYRAMID}/{number}"


def level_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Type of means: single precision of a matrix in single precision, else double.

    Examples
    --------
    >>> level_dtype(np.dtype("float32")), level_dtype(np.dtype("int64"))
    (dtype('float32'), dtype('float64'))
    """
    is_single = dtype.kind == "f" and dtype.itemsize <= 4
    return np.dtype(np.float32 if is_single else np.float64)


def create_level(level: Level, dims: tuple[str, str], key: str) -> list[str]:
    """Make the empty arrays of a level, in place of those that are there; return their names."""
    names = [f"{level_path(level.number)}/{part}" for part in PARTS]
    for name in names:
        is_count = name.endswith("/count")
        create_array(
            level.store,
            name,
            shape=level.shape,
            dtype=np.dtype(np.int64) if is_count else level.dtype,
            chunks=level.chunks,
            dimension_names=dims,
            attributes={_KEY: key, "cells": 2**level.number},
            fill_value=0 if is_count else np.nan,
            overwrite=True,
        )
    return names


def open_level(store: AnyPlace, number: int) -> xr.Dataset:
    """Open a level lazily.

    Parameters
    ----------
    store
        Directory of the Zarr group of a reordered matrix.
    number
        1 for the first above the matrix, as `level_for` says.

    Returns
    -------
    xarray.Dataset
        ``mean``, ``minimum``, ``maximum`` and ``count``.

    Raises
    ------
    StorageError
        There is no such level.
    """
    import xarray as xr

    try:
        level: xr.Dataset = xr.open_zarr(
            zarr_store(store), group=level_path(number), consolidated=False, mask_and_scale=False
        )
        return level
    except (OSError, KeyError, ValueError) as error:
        raise StorageError(f"no level {number} of a pyramid in {store}: {error}") from error


def halved(parts: Mapping[str, np.ndarray], dtype: np.dtype[Any]) -> dict[str, np.ndarray]:
    """Halve both axes: every cell of the result is what two by two cells are together.

    Parameters
    ----------
    parts
        ``(n, k)`` arrays by the names of `PARTS`; of a matrix, its values as ``"mean"`` alone.
    dtype
        Of the result's means and extremes.

    Returns
    -------
    dict
        ``(ceil(n / 2), ceil(k / 2))`` arrays, by the names of `PARTS`.

    Examples
    --------
    >>> parts = halved({"mean": np.array([[1.0, np.nan, 4.0], [3.0, 5.0, 6.0]])}, np.dtype("f8"))
    >>> {name: part.tolist() for name, part in parts.items()}
    {'mean': [[3.0, 5.0]], 'minimum': [[1.0, 4.0]], 'maximum': [[5.0, 6.0]], 'count': [[3, 2]]}
    """
    mean = np.asarray(parts["mean"], np.float64)
    count = parts.get("count")
    count = (~np.isnan(mean)).astype(np.int64) if count is None else count
    with np.errstate(invalid="ignore"):
        total = _together(np.add, np.where(count > 0, mean * count, 0.0), 0.0)
        counts = _together(np.add, count, 0)
        means = total / np.where(counts > 0, counts, np.nan)
    return {
        "mean": means.astype(dtype),
        "minimum": _together(np.fmin, parts.get("minimum", mean), np.nan).astype(dtype),
        "maximum": _together(np.fmax, parts.get("maximum", mean), np.nan).astype(dtype),
        "count": counts,
    }


def _halved_in_strips(parts: dict[str, np.ndarray], dtype: np.dtype[Any]) -> dict[str, np.ndarray]:
    """Halve some rows after others: what is computed on the way takes many times their memory."""
    n, k = parts["mean"].shape
    rows = max(1, _STRIP_CELLS // k) * 2
    strips = [
        halved({name: part[strip] for name, part in parts.items()}, dtype)
        for strip in slabs(n, rows)
    ]
    return {name: np.concatenate([strip[name] for strip in strips]) for name in PARTS}


def _together(ufunc: np.ufunc, values: np.ndarray, outside: float) -> np.ndarray:
    """Put two by two cells together; what is outside of the matrix is given."""
    odd = [(0, length % 2) for length in values.shape]
    if any(after for _, after in odd):
        values = np.pad(values, odd, constant_values=outside)
    rows = ufunc(values[0::2], values[1::2])
    pairs: np.ndarray = ufunc(rows[:, 0::2], rows[:, 1::2])
    return pairs


def below(level: Level, region: tuple[slice, slice]) -> dict[str, np.ndarray]:
    """Read what a region of a level is made of: cells of the matrix, or of the level below it."""
    names = {"mean": level.source}
    if level.number > 1:
        names = {part: f"{level_path(level.number - 1)}/{part}" for part in PARTS}
    rows, columns = (slice(2 * part.start, 2 * part.stop) for part in region)
    return {part: _read(level.store, name, rows, columns) for part, name in names.items()}


def write_region(level: Level, region: tuple[slice, slice], key: str) -> None:
    """Make some tiles of a level of the level below it, and write them.

    Raises
    ------
    StorageError
        The arrays are not those of the key, or cannot be written.
    """
    for part, values in _halved_in_strips(below(level, region), level.dtype).items():
        array = open_array(level.store, f"{level_path(level.number)}/{part}", mode="r+")
        if array.attrs.get(_KEY) != key:
            raise StorageError(f"level {level.number} in {level.store} was begun anew")
        write_block(array, (region[0].start, region[1].start), values)


def _read(store: str, name: str, rows: slice, columns: slice) -> np.ndarray:
    array = open_array(store, name)
    n, k = array.shape
    return read_region(
        array, slice(rows.start, min(rows.stop, n)), slice(columns.start, min(columns.stop, k))
    )

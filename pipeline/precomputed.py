"""Driver: distances that somebody else computed, checked tile by tile before they are used.

A square is compared with its mirror image, block by block; a condensed vector has nothing to
compare with. Nothing is copied: what passes is read from where it is.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from clustergrid.pipeline.checks import labels_of
from clustergrid.pipeline.execution import DaskExecutor, Executor, ThreadsExecutor
from clustergrid.pipeline.monitor import Listener, Progress, make_progress
from clustergrid.pipeline.normalize import MatrixStatistics
from clustergrid.pipeline.spec import AXIS_NAMES, distance_dtype
from clustergrid.pipeline.square import PRECOMPUTED, rounding
from clustergrid.storage.condensed import (
    CondensedDistances,
    DistanceDescription,
    allocate_condensed,
    create_condensed,
    open_condensed,
    write_tile,
)
from clustergrid.storage.condensed_tiles import StoredTiles
from clustergrid.storage.errors import DataValueError
from clustergrid.storage.grid import BLOCK_ROWS, TriangleGrid, slabs
from clustergrid.storage.identity import labels_along
from clustergrid.storage.precomputed import (
    ConvertedTiles,
    DistanceVector,
    NpyVector,
    SquareTiles,
    VectorTiles,
    ZarrVector,
    observations_of,
    open_vector,
)
from clustergrid.storage.readers.location import Location
from clustergrid.storage.source import MatrixSource

if TYPE_CHECKING:
    from distributed import Client

__all__ = [
    "check_square",
    "check_vector",
    "given_distances",
    "hold_in_memory",
    "put_at_rest",
    "square_distances",
    "stored_distances",
]

_NONE = -1
_VECTOR_EDGE = 1024
_VECTOR_VALUES = 2**22
_MEND = "Distances are finite, not negative, the same in both directions and zero on the diagonal"


@dataclass(frozen=True, slots=True)
class _Mirrored:
    """What a task needs to compare tiles of a square with their mirror images."""

    source: MatrixSource
    grid: TriangleGrid
    tolerance: float


def check_square(
    matrix: xr.DataArray,
    source: MatrixSource,
    statistics: MatrixStatistics,
    *,
    grid: TriangleGrid,
    executor: Executor,
    progress: Progress,
    name: str,
) -> None:
    """Check a square matrix of distances.

    What differs from a distance matrix by no more than `rounding` is taken for one: of two values
    the one above the diagonal counts, the diagonal is zero, and so is what is just below zero.

    Parameters
    ----------
    matrix
        ``(n, n)``, with labels.
    source, statistics
        Its values as tasks read them, and what is known of them.
    grid
        How it is cut into tiles.
    executor, progress, name
        Where tiles are compared, who is told, and as which stage.

    Raises
    ------
    DataValueError
        It is not symmetric, not zero on its diagonal, not finite, or negative. The message names
        the first pair.
    """
    rows = statistics.rows
    _refuse_not_finite(matrix, source, statistics)
    tolerance = rounding(source.dtype, float(rows.maximum.max(initial=0.0)))
    if rows.minimum.min(initial=0.0) < -tolerance:
        row = int(np.flatnonzero(rows.minimum < -tolerance)[0])
        values = source.read(slice(row, row + 1), slice(0, grid.n))[0]
        column = int(np.flatnonzero(values < -tolerance)[0])
        raise _refusal(matrix, row, column, f"is {values[column]!s}, which is negative")
    task = _Mirrored(source, grid, tolerance)
    places = [grid.tile(position) for position in range(grid.n_tiles)]
    tile_bytes = 2 * grid.tile_edge**2 * source.dtype.itemsize
    faults = []
    with progress.stage(name, total=grid.n_tiles, unit="tiles", unit_bytes=tile_bytes) as stage:
        for row, column in executor.map(_first_fault, executor.share(task), places, name=name):
            if row != _NONE:
                faults.append((row, column))
            stage.advance()
    if faults:
        raise _asymmetry(matrix, source, *min(faults))


def square_distances(
    matrix: xr.DataArray,
    source: MatrixSource,
    statistics: MatrixStatistics,
    *,
    grid: TriangleGrid,
    dtype: str,
) -> CondensedDistances:
    """Tiles of a square that `check_square` has passed, read from where it is.

    Parameters
    ----------
    matrix, source, statistics, grid
        As there.
    dtype
        Type of the distances.

    Raises
    ------
    DataValueError
        A distance is beyond that type. The message names the first pair.
    """
    limit = float(np.finfo(dtype).max)
    beyond = np.flatnonzero(statistics.rows.maximum > limit)
    if len(beyond):
        row = int(beyond[0])
        values = source.read(slice(row, row + 1), slice(0, grid.n))[0]
        column = int(np.flatnonzero(values > limit)[0])
        raise _refusal(matrix, row, column, *_too_large(values[column], dtype))
    has_negative = bool(statistics.rows.minimum.min(initial=0.0) < 0)
    tiles = SquareTiles(grid, source, np.dtype(dtype), has_negative)
    dim = matrix.dims[0]
    about = DistanceDescription(metric=PRECOMPUTED, dim=str(dim), labels=labels_along(matrix, dim))
    return CondensedDistances(grid, tiles, about)


def _first_fault(task: _Mirrored, tile: tuple[int, int]) -> tuple[int, int]:
    """First pair, row by row, that differs from its mirror image in a tile; (-1, -1): none."""
    i, j = tile
    rows, columns = task.grid.rows(i), task.grid.rows(j)
    upper = task.source.read(rows, columns)
    lower = upper if i == j else task.source.read(columns, rows)
    for block in slabs(len(upper), BLOCK_ROWS):
        one, other = upper[block].astype(np.float64), lower[:, block].T.astype(np.float64)
        differs = np.abs(one - other) > task.tolerance
        if i == j:
            diagonal = np.arange(block.start, block.stop)
            inside = one[diagonal - block.start, diagonal]
            differs[diagonal - block.start, diagonal] = np.abs(inside) > task.tolerance
        if differs.any():
            row, column = np.argwhere(differs)[0]
            return int(rows.start + block.start + row), int(columns.start + column)
    return _NONE, _NONE


def _refuse_not_finite(
    matrix: xr.DataArray, source: MatrixSource, statistics: MatrixStatistics
) -> None:
    n = source.shape[0]
    bad = np.flatnonzero((statistics.rows.count < n) | (statistics.rows.infinite > 0))
    if len(bad):
        row = int(bad[0])
        values = source.read(slice(row, row + 1), slice(0, n))[0]
        column = int(np.flatnonzero(~np.isfinite(values))[0])
        what = f"is {values[column]!s}, which is not finite, as are values of {len(bad):,} rows"
        raise _refusal(matrix, row, column, what)


def _asymmetry(matrix: xr.DataArray, source: MatrixSource, row: int, column: int) -> DataValueError:
    def value(i: int, j: int) -> str:
        return str(source.read(slice(i, i + 1), slice(j, j + 1))[0, 0])

    if row == column:
        return _refusal(matrix, row, row, f"to itself is {value(row, row)}, and not zero")
    what = f"is {value(row, column)} in one direction and {value(column, row)} in the other"
    return _refusal(matrix, row, column, what)


def _too_large(value: Any, dtype: str) -> tuple[str, str]:
    """Say that a value would become infinite, and what to do about it."""
    advice = "Give dtype='float64'" if dtype == "float32" else "Divide the distances by a number"
    return f"is {value!s}, and {dtype} ends at {np.finfo(dtype).max:.6g}", f"{advice}."


def _refusal(
    matrix: xr.DataArray, row: int, column: int, what: str, mend: str = f"{_MEND}."
) -> DataValueError:
    first, second = labels_of(matrix, 0, [row])[0], labels_of(matrix, 1, [column])[0]
    pair = f"distance of {first!r}" if row == column else f"distance of {first!r} and {second!r}"
    advice = (
        " If yours mean the same in both directions, give (d + d.T) / 2."
        if "direction" in what
        else ""
    )
    return DataValueError(
        f"metric='precomputed': the {pair} (row {row:,}, column {column:,}) {what}. {mend}{advice}"
    )


def given_distances(
    data: Any,
    *,
    dtype: Any = None,
    client: Client | None = None,
    progress: Progress | Listener | bool | None = None,
) -> CondensedDistances | None:
    """Take what is condensed already: tiles, in another type if asked; a vector once checked.

    Parameters
    ----------
    data
        What a user gave under ``metric="precomputed"``.
    dtype
        Type of the distances; by default their own, integers as float64.
    client, progress
        As in `clustergrid.pipeline.pdist`.

    Returns
    -------
    CondensedDistances or None
        None where it is a matrix.

    Raises
    ------
    ValueError
        The vector has a length that no condensed distance matrix has, or holds something else than
        distances; or a distance is beyond the type that was asked for.
    """
    if isinstance(data, CondensedDistances):
        return _converted(data, dtype, client, make_progress(progress))
    vector = open_vector(data)
    if vector is None:
        return None
    executor = _executor_of(vector, client)
    return check_vector(vector, dtype=dtype, executor=executor, progress=make_progress(progress))


def _converted(
    given: CondensedDistances, dtype: Any, client: Client | None, progress: Progress
) -> CondensedDistances:
    """Give tiles in the type that was asked for, as they are read; look first whether they fit."""
    kind = np.dtype(distance_dtype(given.dtype, dtype))
    if kind == given.dtype:
        return given
    if kind.itemsize < given.dtype.itemsize:
        _refuse_too_large(given, kind.name, _executor_of(given.tiles, client), progress)
    about = replace(given.about, labels=given.labels)
    return CondensedDistances(given.grid, ConvertedTiles(given.tiles, kind), about)


def _refuse_too_large(
    given: CondensedDistances, dtype: str, executor: Executor, progress: Progress
) -> None:
    grid, name = given.grid, "distance-row"
    places = [grid.tile(position) for position in range(grid.n_tiles)]
    tile_bytes = grid.tile_edge**2 * given.dtype.itemsize
    limit = float(np.finfo(dtype).max)
    found = []
    with progress.stage(name, total=grid.n_tiles, unit="tiles", unit_bytes=tile_bytes) as stage:
        for i, j, most in executor.map(_most_of_tile, executor.share(given), places, name=name):
            found += [(i, j)] if most > limit else []
            stage.advance()
    if found:
        i, j = min(found)
        tile = given.tile(i, j)
        row, column = np.argwhere(tile > limit)[0]
        pair = int(grid.rows(i).start + row), int(grid.rows(j).start + column)
        what, advice = _too_large(tile[row, column], dtype)
        raise DataValueError(
            f"metric='precomputed': the distance of observations {pair[0]:,} and {pair[1]:,} "
            f"{what}. {advice}"
        )


def _most_of_tile(given: CondensedDistances, tile: tuple[int, int]) -> tuple[int, int, float]:
    return *tile, float(given.tile(*tile).max())


def stored_distances(
    condensed: CondensedDistances,
    store: str | os.PathLike[str],
    client: Client | None = None,
    progress: Progress | Listener | bool | None = None,
) -> CondensedDistances:
    """Put distances at rest as ``condensed_row``, on workers where these can read them.

    Raises
    ------
    DataValueError
        They are read from that place, in another type: they would be gone before they are read.
    """
    url, path = Location.parse(store).url, f"condensed_{AXIS_NAMES[0]}"
    origin = _origin(condensed.tiles)
    executor = _executor_of(origin, client)
    if isinstance(origin, StoredTiles) and origin.path == path and _is_same(origin.store, url):
        if origin is condensed.tiles:
            return condensed
        raise DataValueError(
            f"{url} holds these distances as {origin.dtype}, and {condensed.dtype} would replace "
            "them while they are read: name another store"
        )
    return put_at_rest(condensed, url, path, executor=executor, progress=make_progress(progress))


def _is_same(store: str, other: str) -> bool:
    return store == other or os.path.realpath(store) == os.path.realpath(other)


def _origin(tiles: Any) -> Any:
    """Find what tiles are read from in the end."""
    while isinstance(tiles, VectorTiles | ConvertedTiles):
        tiles = tiles.vector if isinstance(tiles, VectorTiles) else tiles.tiles
    return tiles


def _executor_of(given: Any, client: Client | None) -> Executor:
    """Workers, for what they can open where it is; what is in memory stays in this process."""
    is_shared = isinstance(_origin(given), ZarrVector | NpyVector | StoredTiles)
    return DaskExecutor(client) if client is not None and is_shared else ThreadsExecutor()


def check_vector(
    vector: DistanceVector,
    *,
    dtype: Any,
    executor: Executor,
    progress: Progress,
    name: str = "distance-row",
) -> CondensedDistances:
    """Check a condensed vector; give its tiles, gathered from where it is.

    Raises
    ------
    DataValueError
        A distance is not finite, negative, or beyond the type. The message names the first pair.
    DataTypeError
        The distances are not numbers.
    """
    n = observations_of(vector.size)
    kind = distance_dtype(vector.dtype, dtype)
    low, high = 0.0, 0.0
    parts = list(slabs(vector.size, _VECTOR_VALUES))
    unit_bytes = _VECTOR_VALUES * vector.dtype.itemsize
    with progress.stage(name, total=len(parts), unit="parts", unit_bytes=unit_bytes) as stage:
        bad = []
        for least, most, fault in executor.map(
            _range_of_part, executor.share(vector), parts, name=name
        ):
            bad += [fault] if fault != _NONE else []
            low, high = min(low, least), max(high, most)
            stage.advance()
    if bad:
        raise _vector_refusal(vector, n, min(bad), "not finite")
    if low < -rounding(vector.dtype, high):
        tolerance = rounding(vector.dtype, high)
        for part in parts:
            below = np.flatnonzero(vector.read(part.start, part.stop) < -tolerance)
            if len(below):
                raise _vector_refusal(vector, n, part.start + int(below[0]), "negative")
    limit = float(np.finfo(kind).max)
    if high > limit:
        for part in parts:
            above = np.flatnonzero(vector.read(part.start, part.stop) > limit)
            if len(above):
                raise _vector_refusal(vector, n, part.start + int(above[0]), None, kind)
    grid = TriangleGrid(n=n, tile_edge=min(_VECTOR_EDGE, n))
    tiles = VectorTiles(grid, vector, np.dtype(kind), low < 0)
    return CondensedDistances(grid, tiles, DistanceDescription(metric=PRECOMPUTED))


def _range_of_part(vector: DistanceVector, part: slice) -> tuple[float, float, int]:
    """Least and greatest value of a part, and where the first that is not finite is."""
    values = vector.read(part.start, part.stop)
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        return 0.0, 0.0, part.start + int(bad[0])
    return float(values.min()), float(values.max()), _NONE


def _vector_refusal(
    vector: DistanceVector, n: int, place: int, fault: str | None, dtype: str = "float64"
) -> DataValueError:
    # The first row whose distances end behind the place.
    ends = np.cumsum(np.arange(n - 1, 0, -1))
    i = int(np.searchsorted(ends, place, side="right"))
    j = n - int(ends[i] - place)
    value = vector.read(place, place + 1)[0]
    what, mend = f"is {value!s}, which is {fault}", f"{_MEND}."
    if fault is None:
        what, mend = _too_large(value, dtype)
    return DataValueError(
        f"metric='precomputed': the distance of observations {i:,} and {j:,} (place {place:,} of "
        f"the vector) {what}. {mend}"
    )


def hold_in_memory(condensed: CondensedDistances) -> CondensedDistances:
    """Read all tiles into memory, where the matrix that they are of is soon gone."""
    grid = condensed.grid
    held = allocate_condensed(
        n=grid.n, tile_edge=grid.tile_edge, dtype=condensed.dtype, about=condensed.about
    )
    for position in range(grid.n_tiles):
        i, j = grid.tile(position)
        held.tile_out(i, j)[:] = condensed.tile(i, j)
    return held


@dataclass(frozen=True, slots=True)
class _Copy:
    condensed: CondensedDistances
    store: str
    path: str


def put_at_rest(
    condensed: CondensedDistances,
    store: str,
    path: str,
    *,
    executor: Executor,
    progress: Progress,
    name: str = "store",
) -> CondensedDistances:
    """Write distances that are read from elsewhere as packed tiles; tasks write whole chunks.

    Parameters
    ----------
    condensed
        The distances.
    store, path
        Zarr group, and name of the group of tiles in it; distances there are replaced.
    executor, progress, name
        Where, who is told, and as which stage.

    Raises
    ------
    StorageError
        The store refused the bytes.
    """
    grid = condensed.grid
    create_condensed(
        store,
        path,
        n=grid.n,
        tile_edge=grid.tile_edge,
        dtype=condensed.dtype,
        about=condensed.about,
        overwrite=True,
    )
    task = _Copy(condensed, store, path)
    places = [grid.tile(position) for position in range(grid.n_tiles)]
    tile_bytes = grid.tile_edge**2 * condensed.dtype.itemsize
    with progress.stage(name, total=grid.n_tiles, unit="tiles", unit_bytes=tile_bytes) as stage:
        for _ in executor.map(_copy_tile, executor.share(task), places, name="store-tile"):
            stage.advance()
    return open_condensed(store, path)


def _copy_tile(task: _Copy, tile: tuple[int, int]) -> None:
    target = open_condensed(task.store, task.path, mode="r+")
    write_tile(target, *tile, task.condensed.tile(*tile))

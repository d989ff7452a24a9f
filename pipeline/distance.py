"""Driver: pairwise distances, tile by tile of the upper triangle, on any executor.

``operands.py`` makes what every tile needs and ``tiles.py`` computes one; this module hands the
tiles out, and puts them into a store, into packed tiles or into the square that a linkage works on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from clustergrid.pipeline import kernels
from clustergrid.pipeline.execution import Executor, ThreadsExecutor, available_cores
from clustergrid.pipeline.monitor import Progress
from clustergrid.pipeline.resources import READ_THREADS
from clustergrid.pipeline.tiles import DistanceInput, tile_distances
from clustergrid.storage.condensed import (
    CondensedDistances,
    open_condensed,
    write_tile,
)
from clustergrid.storage.condensed_chunks import missing_tiles, tile_entry
from clustergrid.storage.errors import IntegrityError
from clustergrid.storage.grid import TriangleGrid, band_rows
from clustergrid.storage.manifest import Entry

_SMALL_TILE = 2**19
"""Values that NumPy transposes within a processor's cache."""

__all__ = [
    "compute_distances",
    "fill_condensed",
    "fill_square",
    "read_square",
    "write_distances",
]


TileCallback = Callable[[slice, slice, np.ndarray], None]
Tile = tuple[int, int]
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class _TileOnly:
    given: DistanceInput
    grid: TriangleGrid

    def __call__(self, tile: Tile) -> tuple[int, int, np.ndarray]:
        i, j = tile
        return i, j, tile_distances(self.given, self.grid.rows(i), self.grid.rows(j))


@dataclass(frozen=True, slots=True)
class _TileInto:
    given: DistanceInput
    grid: TriangleGrid
    take: TileCallback

    def __call__(self, tile: Tile) -> tuple[int, int, None]:
        i, j = tile
        rows, columns = self.grid.rows(i), self.grid.rows(j)
        self.take(rows, columns, tile_distances(self.given, rows, columns))
        return i, j, None


@dataclass(frozen=True, slots=True)
class _TileInPlace:
    given: DistanceInput
    condensed: CondensedDistances

    def __call__(self, tile: Tile) -> tuple[int, int, None]:
        i, j = tile
        grid = self.condensed.grid
        out = self.condensed.tile_out(i, j)
        tile_distances(self.given, grid.rows(i), grid.rows(j), out)
        return i, j, None


@dataclass(frozen=True, slots=True)
class _TileToStore:
    given: DistanceInput
    grid: TriangleGrid
    store: str
    path: str

    def __call__(self, tile: Tile) -> Entry:
        i, j = tile
        distances = tile_distances(self.given, self.grid.rows(i), self.grid.rows(j))
        condensed = open_condensed(self.store, self.path, mode="r+")
        if condensed.grid != self.grid:
            raise IntegrityError(f"{self.store}/{self.path} was cut anew while tiles were computed")
        write_tile(condensed, i, j, distances)
        return tile_entry(condensed.stored, i, j)


def _run_tile(task: Callable[[Tile], Result], tile: Tile) -> Result:
    return task(tile)


def compute_distances(
    given: DistanceInput,
    grid: TriangleGrid,
    take: TileCallback,
    *,
    executor: Executor,
    progress: Progress,
    name: str,
) -> None:
    """Compute every tile and hand it to `take` in this process.

    Parameters
    ----------
    given, grid
        The matrix and metric, and the tiles.
    take
        ``take(rows, columns, tile)``; called from several threads at once when the executor
        shares this process's memory, each time for another tile.
    executor, progress, name
        Where, who is told, and as which stage.
    """
    task = _TileInto(given, grid, take) if executor.in_process else _TileOnly(given, grid)
    for i, j, tile in _run_tiles(task, given, grid, executor, progress, name):
        if tile is not None:
            take(grid.rows(i), grid.rows(j), tile)


def fill_condensed(
    given: DistanceInput,
    condensed: CondensedDistances,
    *,
    executor: Executor,
    progress: Progress,
    name: str,
) -> None:
    """Compute every tile of distances in memory, where possible into its place.

    Parameters
    ----------
    given, condensed
        The matrix and metric, and the allocated tiles.
    executor, progress, name
        Where, who is told, and as which stage.
    """
    grid = condensed.grid
    task: _TileInPlace | _TileOnly = _TileOnly(given, grid)
    if executor.in_process:
        task = _TileInPlace(given, condensed)
    for i, j, tile in _run_tiles(task, given, grid, executor, progress, name):
        if tile is not None:
            write_tile(condensed, i, j, tile)


def _run_tiles(
    task: Callable[[Tile], tuple[int, int, np.ndarray | None]],
    given: DistanceInput,
    grid: TriangleGrid,
    executor: Executor,
    progress: Progress,
    name: str,
) -> Iterator[tuple[int, int, np.ndarray | None]]:
    tiles = _in_bands(grid, range(grid.n_tiles))
    tile_bytes = grid.tile_edge**2 * np.dtype(given.dtype).itemsize
    with progress.stage(name, total=grid.n_tiles, unit="tiles", unit_bytes=tile_bytes) as stage:
        for found in executor.map(_run_tile, executor.share(task), tiles, name="distance-tile"):
            yield found
            stage.advance()


def _in_bands(grid: TriangleGrid, positions: Iterable[int]) -> list[Tile]:
    """Order tiles by bands of rows, and by columns in these: neighbours share operands."""
    tiles, band = map(grid.tile, positions), band_rows(grid.tile_edge)
    return sorted(tiles, key=lambda tile: (tile[0] // band, tile[1], tile[0]))


def write_distances(
    given: DistanceInput,
    condensed: CondensedDistances,
    store: str,
    path: str,
    *,
    finished: frozenset[int] = frozenset(),
    on_tile: Callable[[Entry], None] | None = None,
    executor: Executor,
    progress: Progress,
    name: str,
) -> None:
    """Compute the tiles that are not finished; tasks write them to the store.

    Parameters
    ----------
    given, condensed
        The matrix and metric, and the created tiles at rest.
    store, path
        Where they are, for tasks to reopen.
    finished
        Positions of tiles that an earlier run wrote.
    on_tile
        Called with the manifest's entry of every tile, once its bytes are at rest.
    executor, progress, name
        Where, who is told, and as which stage.
    """
    grid = condensed.grid
    task = _TileToStore(given, grid, store, path)
    tiles = _in_bands(grid, (p for p in range(grid.n_tiles) if p not in finished))
    with progress.stage(
        name,
        total=grid.n_tiles,
        unit="tiles",
        kept=len(finished),
        unit_bytes=grid.tile_edge**2 * condensed.dtype.itemsize,
    ) as stage:
        for entry in executor.map(_run_tile, executor.share(task), tiles, name="distance-tile"):
            if on_tile is not None:
                on_tile(entry)
            stage.advance()
    lost = missing_tiles(condensed.stored)
    if lost:
        raise IntegrityError(
            f"{len(lost)} of {grid.n_tiles} tiles that workers wrote to {store}/{path} are not "
            "there. Name a store on a file system that every worker and this process share."
        )


def fill_square(
    square: np.ndarray, kept: np.ndarray, rows: slice, columns: slice, tile: np.ndarray
) -> None:
    """Write a tile of all observations, and its mirror image, into the square of the kept ones.

    Parameters
    ----------
    square
        ``(m, m)``.
    kept
        ``(m,)`` increasing indices of the observations that the square is of.
    rows, columns, tile
        Which observations the tile is of, and their distances.
    """
    first, last = np.searchsorted(kept, (rows.start, rows.stop))
    left, right = np.searchsorted(kept, (columns.start, columns.stop))
    if last - first < tile.shape[0]:
        tile = tile[kept[first:last] - rows.start]
    if right - left < tile.shape[1]:
        tile = tile[:, kept[left:right] - columns.start]
    if tile.size <= _SMALL_TILE:
        square[first:last, left:right] = tile
        square[left:right, first:last] = tile.T
    else:
        kernels.copy_both_ways(np.ascontiguousarray(tile), square, int(first), int(left))


@dataclass(frozen=True, slots=True)
class _TileFromStore:
    condensed: CondensedDistances
    square: np.ndarray
    kept: np.ndarray

    def fill(self, position: int) -> None:
        grid = self.condensed.grid
        i, j = grid.tile(position)
        tile = self.condensed.tile(i, j)
        fill_square(self.square, self.kept, grid.rows(i), grid.rows(j), tile)


def read_square(
    condensed: CondensedDistances, kept: np.ndarray, *, progress: Progress, name: str
) -> np.ndarray:
    """Read the tiles into the full symmetric matrix of the kept observations, with threads.

    Parameters
    ----------
    condensed
        The tiles, ``n`` observations.
    kept
        ``(m,)`` increasing indices of the observations to keep.
    progress, name
        Who is told, and as which stage.
    """
    square = np.empty((len(kept), len(kept)), dtype=condensed.dtype)
    task = _TileFromStore(condensed, square, kept)
    positions = range(condensed.grid.n_tiles)
    tile_bytes = condensed.grid.tile_edge**2 * condensed.dtype.itemsize
    with progress.stage(name, total=len(positions), unit="tiles", unit_bytes=tile_bytes) as stage:
        executor = ThreadsExecutor(min(READ_THREADS, available_cores()))
        for _ in executor.map(_TileFromStore.fill, task, positions, name="read-tile"):
            stage.advance()
    return square

"""Driver: pairwise distances, tile by tile of the upper triangle, on any executor.

``tiles.py`` computes one tile; this module makes what every tile needs, hands the tiles out, and
puts them into a store, into packed tiles or into the square that a linkage works on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from clustergrid.pipeline import kernels
from clustergrid.pipeline.engines.sparse import preferred_sparse, sparse_input
from clustergrid.pipeline.execution import Executor, ThreadsExecutor, available_cores
from clustergrid.pipeline.metrics import (
    SMALL_OPERATIONS,
    Function,
    Metric,
    engine_for,
    get_metric,
)
from clustergrid.pipeline.monitor import Progress
from clustergrid.pipeline.normalize import MatrixStatistics, Normalization
from clustergrid.pipeline.resources import READ_THREADS
from clustergrid.pipeline.tiles import DistanceInput, tile_distances
from clustergrid.storage.condensed import (
    CondensedDistances,
    open_condensed,
    write_tile,
)
from clustergrid.storage.condensed_chunks import missing_tiles, tile_entry
from clustergrid.storage.errors import DataValueError, IntegrityError
from clustergrid.storage.grid import BLOCK_FEATURES, TriangleGrid, pass_block, round_up, slabs
from clustergrid.storage.manifest import Entry
from clustergrid.storage.source import MatrixSource

_SMALL_TILE = 2**19
"""Values that NumPy transposes within a processor's cache."""

__all__ = [
    "DistanceInput",
    "UndefinedRowsError",
    "compute_distances",
    "distance_input",
    "fill_square",
    "read_square",
    "write_distances",
]


def distance_input(
    source: MatrixSource,
    statistics: MatrixStatistics,
    normalization: Normalization,
    metric: str | Function,
    *,
    dtype: np.dtype[np.floating],
    features_at_once: int,
    executor: Executor,
    progress: Progress,
    name: str,
) -> DistanceInput:
    """Choose the engine and make the pass over the rows that the metric asks for.

    Parameters
    ----------
    source, statistics, normalization
        The matrix with observations in rows, ``(n, k)``, and what is known of it.
    metric
        Name of the metric.
    dtype
        Type of the distances.
    features_at_once
        Features that a task holds in memory.
    executor, progress
        Where the pass runs, and who is told.
    name
        Name of the stage.

    Raises
    ------
    DataValueError
        A row has no distance under this metric: it is constant, or all zero.
    """
    n, k = source.shape
    found = get_metric(metric)
    engine = engine_for(found, n, k)
    stored = preferred_sparse(source, metric if callable(metric) else found.name, normalization)
    if stored is not None and n * n * k > SMALL_OPERATIONS:
        sparse = sparse_input(
            stored,
            normalization,
            found.name,
            dtype=dtype,
            executor=executor,
            progress=progress,
            name=name,
        )
        if found.undefined is not None:
            _refuse_undefined(found, sparse.totals)
        return DistanceInput(
            source=source,
            normalization=normalization,
            metric=found.name,
            engine="sparse",
            dtype=np.dtype(dtype).name,
            centre=None,
            totals=sparse.totals,
            features_at_once=features_at_once,
            sparse=sparse,
        )
    centred = engine == "product" and found.product is not None and found.product.kind == "centred"
    given = DistanceInput(
        source=source,
        normalization=normalization,
        metric=metric if callable(metric) else found.name,
        engine=engine,
        dtype=np.dtype(dtype).name,
        centre=_centre(statistics, normalization) if centred else None,
        totals=np.zeros((n, 2)),
        features_at_once=features_at_once,
    )
    if not centred and found.totals == "none":
        return given
    totals = np.empty((n, 2))
    rows_at_once, width = pass_block((n, k), source.chunks)
    passing = replace(given, features_at_once=round_up(width, BLOCK_FEATURES))
    row_bytes = k * source.dtype.itemsize
    with progress.stage(f"{name}-norms", total=n, unit="rows", unit_bytes=row_bytes) as stage:
        for rows, part in executor.map(
            _row_totals, executor.share(passing), slabs(n, rows_at_once), name=f"{name}-norms"
        ):
            totals[rows] = part
            stage.advance(rows.stop - rows.start)
    if found.undefined is not None:
        _refuse_undefined(found, totals)
    return replace(given, totals=totals, scale=_scale(given, totals) if centred else 1.0)


def _scale(given: DistanceInput, totals: np.ndarray) -> float:
    """Power of two that brings rows near length one, where float32 could not hold products."""
    longest = np.sqrt(totals[:, 1].max())
    if given.dtype != "float32" or longest == 0 or 2.0**-40 < longest < 2.0**40:
        return 1.0
    return float(np.ldexp(1.0, -int(np.frexp(longest)[1])))


def _centre(statistics: MatrixStatistics, normalization: Normalization) -> np.ndarray | None:
    """Column means of the normalized matrix, where the statistics give them.

    Any centre is right; one near the data keeps digits. Rows that are normalized one by one have
    no common offset worth removing.
    """
    columns = statistics.columns
    if normalization.axis is None:
        return columns.mean
    if normalization.axis == 0:
        return None
    assert normalization.shift is not None
    assert normalization.scale is not None
    centre: np.ndarray = (columns.mean - normalization.shift) / normalization.scale
    return centre


def _row_totals(given: DistanceInput, rows: slice) -> tuple[slice, np.ndarray]:
    """Mean and sum of squares of some rows, merged over feature blocks in their order."""
    metric = get_metric(given.metric)
    total = np.zeros((rows.stop - rows.start, 2))
    counted = 0
    for features in slabs(given.source.shape[1], given.features_at_once):
        values = given.values(rows, features)
        for block in slabs(values.shape[1], BLOCK_FEATURES):
            part = np.ascontiguousarray(values[:, block])
            if given.centre is not None:
                start = features.start + block.start
                part = part - given.centre[start : start + part.shape[1]]
            if metric.totals != "deviations":
                total[:, 1] += np.square(part).sum(axis=1)
                continue
            mean = part.mean(axis=1)
            # Else the means of blocks of equal values would differ by a rounding.
            constant = part.max(axis=1) == part.min(axis=1)
            mean[constant] = part[constant, 0]
            squares = np.square(part - mean[:, None]).sum(axis=1)
            share = part.shape[1] / (counted + part.shape[1])
            difference = mean - total[:, 0]
            total[:, 1] += squares + difference * difference * counted * share
            total[:, 0] += difference * share
            counted += part.shape[1]
    return rows, total


def _refuse_undefined(metric: Metric, totals: np.ndarray) -> None:
    undefined = np.flatnonzero(~(totals[:, 1] > 0))
    if len(undefined):
        raise UndefinedRowsError(metric.name, metric.undefined or "", undefined)


class UndefinedRowsError(DataValueError):
    """Some rows have no distance under a metric; the caller knows their labels.

    Attributes
    ----------
    metric, reason
        Name of the metric, and what the rows are: constant, or all zero.
    rows
        Their indices.
    """

    def __init__(self, metric: str, reason: str, rows: np.ndarray) -> None:
        self.metric, self.reason, self.rows = metric, reason, rows
        super().__init__(
            f"{len(rows):,} of the rows are {reason}, and have no {metric} distance "
            f"(the first: {', '.join(str(row) for row in rows[:5])})."
        )


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
    task: _TileInto | _TileOnly
    task = _TileInto(given, grid, take) if executor.in_process else _TileOnly(given, grid)
    tiles = [grid.tile(position) for position in range(grid.n_tiles)]
    tile_bytes = grid.tile_edge**2 * np.dtype(given.dtype).itemsize
    with progress.stage(name, total=grid.n_tiles, unit="tiles", unit_bytes=tile_bytes) as stage:
        for i, j, tile in executor.map(
            _run_tile, executor.share(task), tiles, name="distance-tile"
        ):
            if tile is not None:
                take(grid.rows(i), grid.rows(j), tile)
            stage.advance()


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
    tiles = [grid.tile(p) for p in range(grid.n_tiles) if p not in finished]
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

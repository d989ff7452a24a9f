"""Driver: the minimum spanning tree of all observations, from tiles that nobody keeps.

It is the tree of single linkage, whatever the metric. A task computes a tile of distances, returns
the few edges of it that may belong to the tree (``hierarchy/_forest.py``), and forgets the rest;
this module merges them into the one forest that there is, in batches that are a share of it.
Memory is O(n), beside the tiles in flight.

Tiles take turns in three groups, because a tile is compared with what is known by then:

1. those on the diagonal, which give a tree of every strip of rows;
2. those of the first strip of rows, which join the strips;
3. the rest, each compared with the tree as it is when its task is handed out.

What a task is told may be newer or older, depending on how fast the others are. It changes how
many edges come back, and no more: the minimum spanning tree is one. So a tree can go on anywhere,
from the forest of the tiles that are finished (`Checkpoint`), with other tiles and other memory.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from clustergrid.pipeline.execution import Executor
from clustergrid.pipeline.hierarchy._edges import Edges, spanning_forest
from clustergrid.pipeline.hierarchy._forest import tree_of_square, tree_of_tile
from clustergrid.pipeline.hierarchy._path_bounds import Bounds, path_bounds
from clustergrid.pipeline.monitor import Progress
from clustergrid.pipeline.tiles import DistanceInput, tile_distances
from clustergrid.pipeline.tree_engine import rows_choice
from clustergrid.storage.errors import DataValueError
from clustergrid.storage.grid import TriangleGrid, band_rows

__all__ = ["CHECKPOINT_SECONDS", "CHECKPOINT_SHARE", "Checkpoint", "spanning_tree"]

_BATCH_SHARE = 4
"""Edges are merged into the forest when they are a quarter of the observations."""

CHECKPOINT_SECONDS = 10.0
"""Least time between two checkpoints ..."""
CHECKPOINT_SHARE = 20
"""... which take no more than a twentieth of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """Where a spanning tree stands: all that later tiles need of the earlier ones.

    Attributes
    ----------
    grid
        The tiles.
    forest
        The minimum spanning forest of the tiles that are finished, at most ``n - 1`` sorted edges.
    finished
        Positions, in the grid, of these tiles.

    Raises
    ------
    DataValueError
        An edge, or a tile, is none of the grid's.
    """

    grid: TriangleGrid
    forest: Edges
    finished: frozenset[int]

    def __post_init__(self) -> None:
        grid, forest = self.grid, self.forest
        observations = (int(forest.lower.min(initial=0)), int(forest.higher.max(initial=0)))
        tiles = (min(self.finished, default=0), max(self.finished, default=0))
        is_inside = min(*observations, *tiles) >= 0
        is_inside &= observations[1] < grid.n and tiles[1] < grid.n_tiles
        if not (is_inside and len(forest) < grid.n):
            raise DataValueError(
                f"a forest of {len(forest):,} edges between observations {observations[0]:,} to "
                f"{observations[1]:,}, of the tiles {tiles[0]:,} to {tiles[1]:,}, is not of "
                f"{grid.n:,} observations in {grid.n_tiles:,} tiles: start anew"
            )

    def cut_as(self, grid: TriangleGrid) -> Checkpoint:
        """Return the same for other tiles of the same observations.

        A tile is finished if all of it was.

        Raises
        ------
        DataValueError
            The grid is of another number of observations.

        Examples
        --------
        >>> small, large = TriangleGrid(n=8, tile_edge=2), TriangleGrid(n=8, tile_edge=4)
        >>> seen = Checkpoint(
        ...     grid=small, forest=Edges.none("float64"), finished=frozenset({0, 1, 4, 5})
        ... )
        >>> sorted(seen.cut_as(large).finished)
        [0]
        """
        if grid.n != self.grid.n:
            raise DataValueError(
                f"a tree of {self.grid.n:,} observations is resumed on {grid.n:,}: start anew"
            )
        if grid == self.grid:
            return self
        seen = np.zeros((self.grid.n_edges, self.grid.n_edges), np.bool_)
        for position in self.finished:
            i, j = self.grid.tile(position)
            seen[i, j] = seen[j, i] = True
        edge = self.grid.tile_edge

        def is_seen(i: int, j: int) -> bool:
            rows, columns = (
                slice(part.start // edge, -(-part.stop // edge))
                for part in (grid.rows(i), grid.rows(j))
            )
            return bool(seen[rows, columns].all())

        finished = (p for p in range(grid.n_tiles) if is_seen(*grid.tile(p)))
        return Checkpoint(grid=grid, forest=self.forest, finished=frozenset(finished))

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return it as arrays, to be put at rest."""
        return {
            "grid": np.array([self.grid.n, self.grid.tile_edge]),
            "lower": self.forest.lower,
            "higher": self.forest.higher,
            "weight": self.forest.weight,
            "finished": np.array(sorted(self.finished), np.int64),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Checkpoint:
        """Return what `to_arrays` was called of."""
        n, tile_edge = (int(size) for size in arrays["grid"])
        names = ("lower", "higher", "weight")
        return cls(
            grid=TriangleGrid(n=n, tile_edge=tile_edge),
            forest=Edges(**{name: np.asarray(arrays[name]) for name in names}),
            finished=frozenset(arrays["finished"].tolist()),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """A tile, and what its task is told of the forest."""

    tile: tuple[int, int]
    row_bounds: Bounds | None = None
    column_bounds: Bounds | None = None
    known: Edges | None = None


@dataclass(frozen=True)
class _TreeOfTile:
    """What every task is given."""

    given: DistanceInput
    grid: TriangleGrid
    _rooms: deque[np.ndarray] = field(default_factory=deque)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the rooms behind: every process has its own."""
        return {"given": self.given, "grid": self.grid, "_rooms": deque()}

    def __call__(self, work: _Work) -> tuple[int, Edges]:
        i, j = work.tile
        rows, columns = self.grid.rows(i), self.grid.rows(j)
        room = self._room()
        height, width = self.grid.tile_shape(i, j)
        tile = room[: height * width].reshape(height, width)
        tile_distances(self.given, rows, columns, tile)
        if i == j:
            edges = tree_of_square(tile, rows.start)
        else:
            assert work.row_bounds is not None
            assert work.column_bounds is not None
            edges = tree_of_tile(
                tile,
                rows,
                columns,
                row_bounds=work.row_bounds,
                column_bounds=work.column_bounds,
                known=work.known,
            )
        self._rooms.append(room)
        return self.grid.position(i, j), edges

    def _room(self) -> np.ndarray:
        """Memory of a tile that is done with: the system takes long to hand out new one."""
        try:
            return self._rooms.pop()
        except IndexError:
            return np.empty(min(self.grid.tile_edge, self.grid.n) ** 2, self.given.dtype)


def _run(task: _TreeOfTile, work: _Work) -> tuple[int, Edges]:
    return task(work)


class _Forest:
    """The forest of the tiles that are finished, and edges that wait to be merged into it."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.grid, self.edges = checkpoint.grid, checkpoint.forest
        self._finished = set(checkpoint.finished)
        self._waiting: list[Edges] = []
        self._n_waiting = 0

    def add(self, position: int, edges: Edges) -> None:
        """Take the edges of a tile."""
        self._finished.add(position)
        self._waiting.append(edges)
        self._n_waiting += len(edges)
        if self._n_waiting >= self.grid.n // _BATCH_SHARE:
            self.merge()

    def merge(self) -> None:
        """Merge what waits."""
        if self._n_waiting:
            everything = Edges.joined([self.edges, *self._waiting])
            self.edges = spanning_forest(everything, self.grid.n)
            self._waiting, self._n_waiting = [], 0
            self.__dict__.pop("bounds", None)

    @cached_property
    def bounds(self) -> Bounds:
        """What the forest tells of the paths in the minimum spanning tree."""
        return path_bounds(self.edges, self.grid.n)

    def within(self, *strips: int) -> Edges:
        """Return the edges that lie within some strips of rows."""
        is_inside = np.zeros(self.grid.n, np.bool_)
        for strip in strips:
            is_inside[self.grid.rows(strip)] = True
        return self.edges[is_inside[self.edges.lower] & is_inside[self.edges.higher]]

    def unfinished(self, tiles: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
        """Return the tiles that are to be seen."""
        return [tile for tile in tiles if self.grid.position(*tile) not in self._finished]

    def checkpoint(self) -> Checkpoint:
        """Return where it stands."""
        self.merge()
        return Checkpoint(grid=self.grid, forest=self.edges, finished=frozenset(self._finished))


def spanning_tree(
    given: DistanceInput,
    grid: TriangleGrid,
    *,
    executor: Executor,
    progress: Progress,
    name: str,
    resumed: Checkpoint | None = None,
    on_checkpoint: Callable[[Checkpoint], None] | None = None,
) -> Edges:
    """Compute every tile, and keep the minimum spanning tree.

    Edges are ordered by distance, lower index and higher index, so that the result has the same
    bits whatever the tiles and the executor are, and wherever it was resumed.

    Parameters
    ----------
    given, grid
        The matrix and metric, and the tiles.
    executor, progress, name
        Where, who is told, and as which stage.
    resumed
        Where an earlier run stood, of the same matrix and metric, in whatever tiles.
    on_checkpoint
        Called every `CHECKPOINT_SECONDS` or less often, in this thread, with where the tree
        stands.

    Returns
    -------
    Edges
        ``n - 1`` edges, sorted; their `merges` are those of single linkage.

    Raises
    ------
    UndefinedPairError
        A ValueError: a distance is not finite.
    DataValueError
        What is resumed is of another grid.

    Examples
    --------
    >>> from clustergrid.pipeline.execution import SerialExecutor
    >>> from clustergrid.pipeline.normalize import Normalization
    >>> from clustergrid.storage.source import ArraySource
    >>> given = DistanceInput(
    ...     source=ArraySource(np.array([[0.0], [7.0], [1.0], [3.0]])),
    ...     normalization=Normalization(),
    ...     name="euclidean",
    ...     engine="scipy",
    ...     dtype="float64",
    ...     totals=np.zeros((4, 2)),
    ...     features_at_once=2048,
    ... )
    >>> grid = TriangleGrid(n=4, tile_edge=4)
    >>> where = {"executor": SerialExecutor(), "progress": Progress(), "name": "linkage"}
    >>> tree = spanning_tree(given, grid, **where)
    >>> tree.lower.tolist(), tree.higher.tolist(), tree.weight.tolist()
    ([0, 2, 1], [2, 3, 3], [1.0, 2.0, 4.0])
    """
    begun = Checkpoint(grid=grid, forest=Edges.none(given.dtype), finished=frozenset())
    begun = begun if resumed is None else resumed.cut_as(grid)
    forest = _Forest(begun)
    checkpoints = _Checkpoints(forest, on_checkpoint)
    shared = executor.share(_TreeOfTile(given, grid))
    tile_bytes = grid.tile_edge**2 * np.dtype(given.dtype).itemsize
    with progress.stage(
        name,
        total=grid.n_tiles,
        unit="tiles",
        kept=len(begun.finished),
        unit_bytes=tile_bytes,
        why=rows_choice("single", given.metric.name),
    ) as stage:
        # A group waits for the one before, whose edges its tasks are told.
        for works in (_of_diagonal, _of_first_strip, _of_all):
            found = executor.map(_run, shared, works(forest), name="spanning-tile")
            for position, edges in found:
                forest.add(position, edges)
                stage.advance()
                checkpoints.take_if_due()
            forest.merge()
    return forest.edges


class _Checkpoints:
    """Takes one from time to time."""

    def __init__(self, forest: _Forest, take: Callable[[Checkpoint], None] | None) -> None:
        self._forest, self._take = forest, take
        self._due = time.monotonic() + CHECKPOINT_SECONDS

    def take_if_due(self) -> None:
        """Take one, unless the last was taken a moment ago."""
        now = time.monotonic()
        if self._take is None or now < self._due:
            return
        self._take(self._forest.checkpoint())
        after = time.monotonic()
        self._due = after + max(CHECKPOINT_SECONDS, CHECKPOINT_SHARE * (after - now))


def _of_diagonal(forest: _Forest) -> Iterator[_Work]:
    """Yield the tiles on the diagonal: each gives the tree of a strip of rows."""
    strips = range(forest.grid.n_edges)
    return (_Work(tile=tile) for tile in forest.unfinished((i, i) for i in strips))


def _of_first_strip(forest: _Forest) -> Iterator[_Work]:
    """Yield the tiles that join the first strip of rows to the others."""
    grid = forest.grid
    nothing = path_bounds(Edges.none(forest.edges.weight.dtype), grid.n)
    for i, j in forest.unfinished((0, j) for j in range(1, grid.n_edges)):
        yield _Work(
            tile=(i, j),
            row_bounds=nothing.of(grid.rows(i)),
            column_bounds=nothing.of(grid.rows(j)),
            known=forest.within(i, j),
        )


def _of_all(forest: _Forest) -> Iterator[_Work]:
    """Yield what remains, in bands of rows, each with what is known when it is handed out."""
    grid = forest.grid
    band = band_rows(grid.tile_edge)
    tiles = forest.unfinished(map(grid.tile, range(grid.n_tiles)))
    for i, j in sorted(tiles, key=lambda tile: (tile[0] // band, tile[1], tile[0])):
        yield _Work(
            tile=(i, j),
            row_bounds=forest.bounds.of(grid.rows(i)),
            column_bounds=forest.bounds.of(grid.rows(j)),
        )

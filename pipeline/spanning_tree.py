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
many edges come back, and no more: the minimum spanning tree is one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from clustergrid.pipeline.execution import Executor
from clustergrid.pipeline.hierarchy._edges import Edges, add_edges
from clustergrid.pipeline.hierarchy._forest import tree_of_square, tree_of_tile
from clustergrid.pipeline.hierarchy._path_bounds import Bounds, path_bounds
from clustergrid.pipeline.monitor import Progress, Stage
from clustergrid.pipeline.tiles import DistanceInput, tile_distances
from clustergrid.storage.errors import DataValueError
from clustergrid.storage.grid import TriangleGrid, band_rows

__all__ = ["Checkpoint", "spanning_tree"]

_BATCH_SHARE = 4
"""Edges are merged into the forest when they are a quarter of the observations."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """Where a spanning tree stands: all that later tiles need of the earlier ones.

    Attributes
    ----------
    tree
        The minimum spanning tree of what was seen, ``n - 1`` sorted edges.
    finished
        Positions, in the grid, of the tiles that need not be seen again.
    """

    tree: Edges
    finished: frozenset[int]


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

    def __init__(self, n: int, tree: Edges) -> None:
        self.n, self.tree = n, tree
        self._waiting: list[Edges] = []
        self._n_waiting = 0
        self.bounds = path_bounds(tree, n)

    def add(self, edges: Edges) -> bool:
        """Take the edges of a tile; say whether they, and those that waited, are merged."""
        self._waiting.append(edges)
        self._n_waiting += len(edges)
        if self._n_waiting < self.n // _BATCH_SHARE:
            return False
        self.merge()
        return True

    def merge(self) -> None:
        """Merge what waits."""
        if self._n_waiting:
            self.tree = add_edges(self.tree, Edges.joined(self._waiting), self.n)
            self.bounds = path_bounds(self.tree, self.n)
            self._waiting, self._n_waiting = [], 0


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
    bits whatever the tiles and the executor are.

    Parameters
    ----------
    given, grid
        The matrix and metric, and the tiles.
    executor, progress, name
        Where, who is told, and as which stage.
    resumed
        Where an earlier run of the same grid stood.
    on_checkpoint
        Called from time to time, in this thread, with where the tree stands. The first comes
        when the tiles so far join all observations.

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
    if resumed is not None:
        _check_resumed(resumed, grid)
    kept = 0 if resumed is None else len(resumed.finished)
    shared = executor.share(_TreeOfTile(given, grid))
    tile_bytes = grid.tile_edge**2 * np.dtype(given.dtype).itemsize
    with progress.stage(
        name, total=grid.n_tiles, unit="tiles", kept=kept, unit_bytes=tile_bytes
    ) as stage:

        def results(works: Iterable[_Work]) -> Iterator[tuple[int, Edges]]:
            return _advancing(stage, executor.map(_run, shared, works, name="spanning-tile"))

        if resumed is None:
            forest, finished = _joined_strips(given, grid, results)
        else:
            forest, finished = _Forest(grid.n, resumed.tree), set(resumed.finished)
        for position, edges in results(_remaining(grid, forest, frozenset(finished))):
            is_merged = forest.add(edges)
            finished.add(position)
            if is_merged and on_checkpoint is not None:
                on_checkpoint(Checkpoint(tree=forest.tree, finished=frozenset(finished)))
        forest.merge()
    return forest.tree


Results = Callable[[Iterable[_Work]], Iterator[tuple[int, Edges]]]


def _advancing(stage: Stage, results: Iterator[tuple[int, Edges]]) -> Iterator[tuple[int, Edges]]:
    for result in results:
        yield result
        stage.advance()


def _joined_strips(
    given: DistanceInput, grid: TriangleGrid, results: Results
) -> tuple[_Forest, set[int]]:
    """See the tiles on the diagonal and in the first row, which join all observations."""
    strips = range(grid.n_edges)
    of_strip: dict[int, Edges] = {}
    for position, edges in results(_Work(tile=(i, i)) for i in strips):
        of_strip[grid.tile(position)[0]] = edges
    nothing = path_bounds(Edges.none(given.dtype), grid.n)
    works = (
        _Work(
            tile=(0, j),
            row_bounds=nothing.of(grid.rows(0)),
            column_bounds=nothing.of(grid.rows(j)),
            known=Edges.joined([of_strip[0], of_strip[j]]),
        )
        for j in strips[1:]
    )
    finished = {grid.position(i, i) for i in strips}
    found = list(of_strip.values())
    for position, edges in results(works):
        found.append(edges)
        finished.add(position)
    tree = add_edges(Edges.none(given.dtype), Edges.joined(found), grid.n)
    return _Forest(grid.n, tree), finished


def _remaining(grid: TriangleGrid, forest: _Forest, finished: frozenset[int]) -> Iterator[_Work]:
    """Tiles that are to be seen, in bands of rows, each with what is known when it starts."""
    tiles = (grid.tile(p) for p in range(grid.n_tiles) if p not in finished)
    band = band_rows(grid.tile_edge)
    for i, j in sorted(tiles, key=lambda tile: (tile[0] // band, tile[1], tile[0])):
        yield _Work(
            tile=(i, j),
            row_bounds=forest.bounds.of(grid.rows(i)),
            column_bounds=forest.bounds.of(grid.rows(j)),
        )


def _check_resumed(resumed: Checkpoint, grid: TriangleGrid) -> None:
    is_tree = len(resumed.tree) == grid.n - 1 and (
        grid.n == 1 or int(resumed.tree.higher.max()) < grid.n
    )
    if not is_tree or max(resumed.finished, default=-1) >= grid.n_tiles:
        raise DataValueError(
            f"a tree of {len(resumed.tree) + 1:,} observations is resumed on {grid.n:,}, in "
            f"{grid.n_tiles:,} tiles: start anew, or resume with the tiles that it was begun with"
        )

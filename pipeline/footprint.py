"""Plan: bytes of memory that a stage holds, in the driver's process and in each worker's.

Every formula is here or, for the distances of a tile, in `tile_memory.py`: `planning.py` composes
them into stages and refuses what does not fit. A footprint has two parts. What the *driver* holds
is there once: the libraries, the matrix where it is in memory, the square that a tree is made of.
What a *task* takes is there once a thread, in the driver where tasks run in its threads, otherwise
in every worker process, which has libraries of its own.

::

    driver_bytes = DRIVER_BYTES + what the stage holds  [+ threads x task, without workers]
    worker_bytes = WORKER_BYTES + threads of a worker x task

The constants were measured, and ``tests/pipeline/test_memory_promise.py`` measures every stage
against its formula.
"""

from __future__ import annotations

from dataclasses import dataclass

from clustergrid.pipeline.rank_plan import rank_task_bytes
from clustergrid.pipeline.resources import Resources
from clustergrid.pipeline.row_tree_plan import RowTreeMemory
from clustergrid.pipeline.tile_memory import StoredMatrix, TileWork, with_slack
from clustergrid.pipeline.tree.optimal import (
    ENTRIES_ASKED,
    leaves_ordered_at_once,
    ordering_bytes,
)
from clustergrid.storage.grid import BLOCK_ROWS, READ_BLOCK, TriangleGrid

__all__ = [
    "DRIVER_BYTES",
    "TERMINATE_SHARE",
    "WORKER_BYTES",
    "AxisWork",
    "Footprint",
    "Ground",
    "centroid_tree_bytes",
    "distance_footprint",
    "ingest_footprint",
    "linkage_footprint",
    "ordering_footprint",
    "rank_footprint",
    "statistics_footprint",
    "worker_memory_limit",
]

DRIVER_BYTES = 400_000_000
"""What the interpreter, the libraries and machine code weigh."""

SCHEDULER_BYTES = 80_000_000
"""What a local scheduler, nannies and the dashboard weigh besides, in the driver's process."""

WORKER_BYTES = 200_000_000
"""What a worker process weighs before its first task."""

TERMINATE_SHARE = 0.98
"""Of its limit, at which a worker that a run starts is ended."""

_INGEST_BLOCK_BYTES = 2**26
_STATISTICS_BYTES = 56
"""Seven numbers of every row in every block of columns, and of every column likewise."""
_TREE_BYTES = 200
"""A merge and the vectors of the engines, an observation."""
_FOREST_BYTES = 400
"""An observation of a spanning forest: edges, those that wait, the greatest edges of paths from up
to seven roots, and the merges."""
_CENTROID_CODE_BYTES = 80_000_000
"""Of a tree of centroids: its kernels, which are many, as they are compiled."""
_CLUSTER_BYTES = 1000
"""A centroid's list of its nearest, what else is known of it, and half of both to pack them."""
_NORMS_BYTES = 32
"""Norms and means of an observation, in the driver and on their way to a task."""
_COVARIANCE_BYTES = 48
"""Of every pair of features: their covariance, its inverse, and what finds the root of that."""
_LABEL_BYTES = 300
"""A label as text, in an index and on its way into a file."""
_SMALL_PAIR_BYTES = 16
"""Of every pair, where SciPy makes the tree: two condensed vectors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """Memory that a stage takes at its peak.

    Attributes
    ----------
    driver_bytes
        Of the driver's process, its libraries included.
    worker_bytes
        Of each worker process, its libraries included; 0 where tasks run in the driver.
    peak_bytes
        Of the driver's machine: the whole local process tree.
    """

    driver_bytes: int
    worker_bytes: int = 0
    peak_bytes: int

    def then(self, later: Footprint) -> Footprint:
        """Footprint of a stage of two parts, one after the other.

        Its peak may be less than the sum: the driver has its own in one, workers in the other.
        """
        return Footprint(
            driver_bytes=max(self.driver_bytes, later.driver_bytes),
            worker_bytes=max(self.worker_bytes, later.worker_bytes),
            peak_bytes=max(self.peak_bytes, later.peak_bytes),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What is there in every stage: the processes, and the matrix.

    Attributes
    ----------
    resources
        What may be used.
    matrix
        As tasks read it.
    matrix_bytes_held
        Of the matrix, in the driver's process.
    """

    resources: Resources
    matrix: StoredMatrix
    matrix_bytes_held: int = 0

    @property
    def base_bytes(self) -> int:
        """What the driver holds in every stage."""
        scheduler = SCHEDULER_BYTES if self.resources.worker_processes else 0
        labels = _LABEL_BYTES * sum(self.matrix.shape)
        return DRIVER_BYTES + scheduler + labels + self.matrix_bytes_held

    def footprint(self, *, held_bytes: int, task_bytes: int) -> Footprint:
        """Footprint of a stage of which the driver holds something and each task takes something.

        Examples
        --------
        >>> two = Resources(memory_bytes=8 * 10**9, threads=2)
        >>> ground = Ground(resources=two, matrix=StoredMatrix(shape=(1000, 1000), itemsize=8))
        >>> ground.footprint(held_bytes=10**9, task_bytes=10**8)
        Footprint(driver_bytes=1600600000, worker_bytes=0, peak_bytes=1600600000)
        """
        resources = self.resources
        driver = self.base_bytes + held_bytes
        if not resources.worker_processes:
            driver += resources.threads * task_bytes
            return Footprint(driver_bytes=driver, peak_bytes=driver)
        worker = WORKER_BYTES + resources.threads_per_worker * task_bytes
        return Footprint(
            driver_bytes=driver,
            worker_bytes=worker,
            peak_bytes=driver + resources.local_workers * worker,
        )


def worker_memory_limit(memory_bytes: int, workers: int) -> int:
    """Limit of each local worker, which it may fill beside a driver that holds nothing large.

    A worker is ended a little below its limit, which therefore is a little more than its part.

    Examples
    --------
    >>> worker_memory_limit(8_400_000_000, 4)
    2020408163
    """
    left = memory_bytes - DRIVER_BYTES - SCHEDULER_BYTES
    return int(max(WORKER_BYTES, left // workers) / TERMINATE_SHARE)


@dataclass(frozen=True, slots=True, kw_only=True)
class AxisWork:
    """The distances, and perhaps the tree, of one axis.

    Attributes
    ----------
    tile
        What a task does: the observations, the metric's engine, the matrix.
    in_memory
        Whether the distances stay in the driver's process.
    tree
        Whether a tree is made of them, of their square.
    optimal_ordering
        Whether its leaves are ordered optimally.
    engine
        What makes the tree, of `clustergrid.pipeline.tree_engine.ENGINES_OF_ROWS`.
    method
        Of the tree.
    way
        How it is made from rows, as `clustergrid.pipeline.row_tree_plan.way_from_rows` says.
    threads
        Of the driver's process.
    """

    tile: TileWork
    in_memory: bool
    tree: bool
    optimal_ordering: bool = False
    engine: str = "square"
    method: str = "average"
    way: str = ""
    threads: int = 1

    @property
    def is_read_back(self) -> bool:
        """Whether the driver reads the tiles, from where they are at rest, into a square."""
        return self.tree and not self.in_memory and self.engine != "tiles"

    @property
    def square_bytes(self) -> int:
        """Of the square matrix of the distances, where there is one."""
        if self.engine in ("data", "tiles"):
            return 0
        return self.tile.n * self.tile.n * self.tile.itemsize

    @property
    def is_packed(self) -> bool:
        """Whether the distances are held as tiles of a triangle, which nobody makes a square of."""
        if not self.in_memory:
            return False
        # A tree reads tiles that were given from where they are.
        is_made = self.tile.engine != "precomputed"
        return not self.tree or (self.engine == "tiles" and is_made)

    def distances_bytes(self, tile_edge: int) -> int:
        """Of the distances where they are in memory: their square, or tiles of a triangle."""
        if self.is_packed:
            grid = TriangleGrid(n=self.tile.n, tile_edge=min(tile_edge, self.tile.n))
            return grid.n_values * self.tile.itemsize
        return self.square_bytes if self.in_memory else 0

    def held_bytes(self, tile_edge: int) -> int:
        """Say what the driver holds beside the tasks, in the hungriest of the stages."""
        return max(self.merging_bytes(tile_edge), self.ordering_held_bytes)

    def merging_bytes(self, tile_edge: int) -> int:
        """Say what the driver holds beside the tasks, before leaves are ordered."""
        is_square = self.tree and not self.is_packed
        square = self.square_bytes if is_square else self.distances_bytes(tile_edge)
        return square + max(self.operand_bytes, self._tree_bytes if self.tree else 0)

    @property
    def _is_ordered(self) -> bool:
        return self.tree and self.optimal_ordering

    @property
    def _copied_bytes(self) -> int:
        """Of the copy of the distances that leaves are ordered by: merging uses up the square."""
        return self.square_bytes // 2 if self._is_ordered else 0

    @property
    def ordering_held_bytes(self) -> int:
        """What the driver holds while leaves are ordered; 0 where they are not."""
        if not self._is_ordered:
            return 0
        distances = self._asked_rows_bytes if self.engine == "data" else self._copied_bytes
        return distances + self._tree_vectors_bytes + ordering_bytes(self.tile.n)

    @property
    def _asked_rows_bytes(self) -> int:
        """Of distances that are computed from rows when they are asked for, and of the matrix."""
        tile = self.tile
        matrix = tile.matrix
        held = 0 if matrix.in_memory else matrix.values * matrix.itemsize
        if matrix.n_stored is not None:
            held = 0 if matrix.in_memory else matrix.n_stored * (matrix.itemsize + 8)
        # Rows on both sides: as they are, in double precision, and as operands.
        rows = 2 * (leaves_ordered_at_once(tile.n) + BLOCK_ROWS)
        gathered = rows * tile.k * (matrix.itemsize + 3 * 8)
        # A block of distances, the tiles that it is put together of, and whether they are finite.
        return held + gathered + min(ENTRIES_ASKED, tile.n**2) * (2 * tile.itemsize + 1)

    @property
    def operand_bytes(self) -> int:
        """What is known of the observations and features before the first tile."""
        features = _COVARIANCE_BYTES * self.tile.k**2 if self.tile.is_transformed else 0
        return _NORMS_BYTES * self.tile.n + features

    @property
    def row_tree(self) -> RowTreeMemory | None:
        """What a tree by rounds takes that is made straight from rows; None where it is not."""
        if not self.tree or self.engine != "data" or self.way not in ("summaries", "points"):
            return None
        return RowTreeMemory(n=self.tile.n, k=self.tile.k, way=self.way, threads=self.threads)

    @property
    def _tree_bytes(self) -> int:
        if self.engine == "data":
            n, k = self.tile.n, self.tile.k
            if self.row_tree is not None:
                least = self.row_tree.resting
                return least.rows_bytes + least.least_bytes
            if self.method == "single":
                return _FOREST_BYTES * n
            return _CENTROID_CODE_BYTES + centroid_tree_bytes(n, k)
        pair = _SMALL_PAIR_BYTES if self.engine == "scipy" else 0
        return self._tree_vectors_bytes + pair * self.tile.n**2 + self._copied_bytes

    @property
    def _tree_vectors_bytes(self) -> int:
        return _TREE_BYTES * self.tile.n


def centroid_tree_bytes(n: int, k: int) -> int:
    """Most memory that a tree of centroids takes, of `n` different rows of `k` features.

    Examples
    --------
    >>> centroid_tree_bytes(30_000, 50)
    102000000
    """
    # Points as they were read, scaled, what unions add, in panels, in single precision or packed;
    # and what is read at once.
    copies = 6
    return n * (copies * 8 * k + _CLUSTER_BYTES)


def ingest_footprint(ground: Ground, matrix_bytes: int) -> Footprint:
    """Of the copy of the matrix: a block and its encoded chunks a task."""
    # Blocks as they are read, and as chunks, encoded; or a band of rows, made of many blocks.
    blocks = 3 * min(matrix_bytes, _INGEST_BLOCK_BYTES)
    band = 5 * min(matrix_bytes, ground.resources.copy_bytes) // (2 * ground.resources.threads)
    if ground.matrix_bytes_held:
        band = 0  # it is written from where it is
    return ground.footprint(held_bytes=0, task_bytes=with_slack(max(blocks, band)))


def statistics_footprint(ground: Ground) -> Footprint:
    """Of the first pass: partial statistics, and the blocks under way."""
    n, k = ground.matrix.shape
    partial = n * -(-k // READ_BLOCK) + k * -(-n // READ_BLOCK)
    return ground.footprint(
        held_bytes=2 * _STATISTICS_BYTES * partial, task_bytes=_block_task_bytes(ground)
    )


def distance_footprint(
    ground: Ground, work: AxisWork, tile_edge: int, task_bytes: int
) -> Footprint:
    """Of the distances: tiles under way, and those that are held where they are in memory."""
    held = work.distances_bytes(tile_edge) + work.operand_bytes
    return ground.footprint(held_bytes=held, task_bytes=task_bytes)


def rank_footprint(ground: Ground, matrix: StoredMatrix, ranks: StoredMatrix) -> Footprint:
    """Of the ranks of a matrix's rows: rows under way, and all ranks where they are in memory."""
    held = ranks.values * ranks.itemsize if ranks.in_memory else 0
    return ground.footprint(held_bytes=held, task_bytes=rank_task_bytes(matrix))


def linkage_footprint(ground: Ground, work: AxisWork, tile_edge: int) -> Footprint:
    """Of the tree: the search for duplicates, then the square, and the tiles it is read from."""
    search = ground.footprint(held_bytes=0, task_bytes=work.tile.digest_task_bytes)
    reading = 0
    if work.is_read_back:
        reading = ground.resources.reading_threads * work.tile.read_tile_bytes(tile_edge)
    held = work.merging_bytes(tile_edge) + reading
    return search.then(ground.footprint(held_bytes=held, task_bytes=0))


def ordering_footprint(ground: Ground, work: AxisWork) -> Footprint:
    """Of the leaves' order: distances, kept for it or asked for, and the shortest paths."""
    return ground.footprint(held_bytes=work.ordering_held_bytes, task_bytes=0)


def _block_task_bytes(ground: Ground) -> int:
    """Sum a block as it is read, in float64, normalized, and what is made of it."""
    matrix = ground.matrix
    rows, columns = min(matrix.shape[0], READ_BLOCK), min(matrix.shape[1], READ_BLOCK)
    return with_slack(matrix.read_bytes(rows, columns) + 22 * rows * columns)

"""Plan: bytes of memory that a stage holds, in the driver's process and in each worker's.

Every formula is here, and nothing else: `planning.py` composes them into stages and refuses what
does not fit. A footprint has two parts. What the *driver* holds is there once: the libraries, the
matrix where it is in memory, the square that a tree is made of. What a *task* takes is there once a
thread, in the driver where tasks run in its threads, otherwise in every worker process, which has
libraries of its own.

::

    driver_bytes = DRIVER_BYTES + what the stage holds  [+ threads x task, without workers]
    worker_bytes = WORKER_BYTES + threads of a worker x task
"""

from __future__ import annotations

from dataclasses import dataclass

from clustergrid.pipeline.resources import Resources
from clustergrid.storage.grid import BLOCK_FEATURES, BLOCK_ROWS, READ_BLOCK

__all__ = [
    "DRIVER_BYTES",
    "WORKER_BYTES",
    "AxisWork",
    "Footprint",
    "Ground",
    "distance_footprint",
    "downsample_footprint",
    "ingest_footprint",
    "least_distance_bytes",
    "linkage_footprint",
    "picture_footprint",
    "smallest_task_bytes",
    "statistics_footprint",
    "tile_task_bytes",
]

DRIVER_BYTES = 250_000_000
"""What the interpreter and the libraries weigh; with workers, the scheduler and nannies too."""

WORKER_BYTES = 200_000_000
"""What a worker process weighs before its first task."""

_INGEST_BLOCK_BYTES = 2**26
_STATISTICS_BYTES = 56
"""Seven numbers of every row in every block of columns, and of every column likewise."""
_PICTURE_BYTES = 50_000_000
_LEAF_BYTES = 500
_TREE_BYTES = 200
"""A merge and the vectors of the engines, an observation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """Memory that a stage takes at its peak.

    Attributes
    ----------
    driver_bytes
        Of the driver's process, its libraries included.
    worker_bytes
        Of each worker process, its libraries included; 0 where tasks run in the driver.
    local_workers
        Worker processes on the driver's machine.
    """

    driver_bytes: int
    worker_bytes: int = 0
    local_workers: int = 0

    @property
    def peak_bytes(self) -> int:
        """Of the driver's machine: the whole local process tree."""
        return self.driver_bytes + self.local_workers * self.worker_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What is there in every stage: the processes, and a matrix that is in memory.

    Attributes
    ----------
    resources
        What may be used.
    matrix_bytes_held
        Of the matrix, in the driver's process.
    """

    resources: Resources
    matrix_bytes_held: int = 0

    def footprint(self, *, held_bytes: int, task_bytes: int) -> Footprint:
        """Footprint of a stage of which the driver holds something and each task takes something.

        Examples
        --------
        >>> two = Ground(resources=Resources(memory_bytes=8 * 10**9, threads=2))
        >>> two.footprint(held_bytes=10**9, task_bytes=10**8)
        Footprint(driver_bytes=1450000000, worker_bytes=0, local_workers=0)
        """
        resources = self.resources
        driver = DRIVER_BYTES + self.matrix_bytes_held + held_bytes
        if not resources.threads_per_worker:
            return Footprint(driver_bytes=driver + resources.threads * task_bytes)
        return Footprint(
            driver_bytes=driver,
            worker_bytes=WORKER_BYTES + resources.threads_per_worker * task_bytes,
            local_workers=resources.local_workers,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class AxisWork:
    """The distances, and perhaps the tree, of one axis.

    Attributes
    ----------
    n, k
        Observations and features.
    itemsize
        Bytes of a distance.
    in_memory
        Whether the distances stay in the driver's process.
    tree
        Whether a tree is made of them, of their square.
    """

    n: int
    k: int
    itemsize: int
    in_memory: bool
    tree: bool

    @property
    def square_bytes(self) -> int:
        """Of the square matrix of the distances."""
        return self.n * self.n * self.itemsize

    @property
    def held_bytes(self) -> int:
        """What the driver holds beside the tasks, in the hungrier of the two stages."""
        square = self.square_bytes if self.in_memory or self.tree else 0
        return square + (_TREE_BYTES * self.n if self.tree else 0)


def tile_task_bytes(edge: int, features: int, itemsize: int) -> int:
    """Sum the tile, its flags and what its write holds; two operands and a block of values."""
    return edge * edge * (2 * itemsize + 2) + 2 * edge * features * (itemsize + 8)


def smallest_task_bytes(n: int, k: int, itemsize: int) -> int:
    """Memory of a task on the smallest tile there is."""
    return tile_task_bytes(min(BLOCK_ROWS, n), min(BLOCK_FEATURES, k), itemsize)


def least_distance_bytes(n: int, k: int, itemsize: int, threads: int, held_bytes: int) -> int:
    """Memory with which the smallest tiles fit: in half of it, and beside what is held."""
    smallest = threads * smallest_task_bytes(n, k, itemsize)
    return max(2 * smallest, held_bytes + smallest)


def ingest_footprint(ground: Ground, matrix_bytes: int) -> Footprint:
    """Of the copy of the matrix: a block and its encoded chunks a task."""
    return ground.footprint(held_bytes=0, task_bytes=2 * min(matrix_bytes, _INGEST_BLOCK_BYTES))


def statistics_footprint(ground: Ground, n: int, k: int) -> Footprint:
    """Of the first pass: partial statistics, and the blocks under way."""
    partial = n * -(-k // READ_BLOCK) + k * -(-n // READ_BLOCK)
    return ground.footprint(
        held_bytes=2 * _STATISTICS_BYTES * partial, task_bytes=_block_task_bytes(n, k)
    )


def distance_footprint(ground: Ground, work: AxisWork, task_bytes: int) -> Footprint:
    """Of the distances: tiles under way, and the square they fill where it is in memory."""
    square = work.square_bytes if work.in_memory else 0
    return ground.footprint(held_bytes=square, task_bytes=task_bytes)


def linkage_footprint(ground: Ground, work: AxisWork, task_bytes: int) -> Footprint:
    """Of the tree: the square, and what the tasks before it have not given back."""
    kept = 0 if work.in_memory else task_bytes
    return ground.footprint(held_bytes=work.held_bytes, task_bytes=kept)


def downsample_footprint(ground: Ground, n: int, k: int) -> Footprint:
    """Of the picture's pass."""
    return ground.footprint(held_bytes=0, task_bytes=_block_task_bytes(n, k))


def picture_footprint(ground: Ground, leaves: int) -> Footprint:
    """Of the figure: matplotlib, the image in a few forms, a path of every leaf."""
    held = _PICTURE_BYTES + _LEAF_BYTES * leaves
    return ground.footprint(held_bytes=held, task_bytes=0)


def _block_task_bytes(n: int, k: int) -> int:
    """Sum a block as it is read, in float64, and what is made of it."""
    return 4 * min(n, READ_BLOCK) * min(k, READ_BLOCK) * 8

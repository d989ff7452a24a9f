"""Plan: how the distance stage cuts its work into tiles that the memory holds."""

from __future__ import annotations

from dataclasses import dataclass

from clustergrid.pipeline.errors import MemoryLimitError
from clustergrid.pipeline.resources import Resources
from clustergrid.pipeline.sizes import format_bytes
from clustergrid.pipeline.tile_memory import StoredMatrix, TileWork
from clustergrid.storage.grid import BLOCK_FEATURES, BLOCK_ROWS, TriangleGrid

__all__ = [
    "LARGEST_EDGE",
    "StoredMatrix",
    "TileWork",
    "Tiling",
    "least_distance_bytes",
    "reading_bytes",
    "tile_the_triangle",
]

LARGEST_EDGE = 4096
_MOST_TASKS, _ENOUGH_TASKS = 50_000, 4096
"""Of a stage; and as many as do for any number of threads: a scheduler hands out a few hundred a
second, so that more and smaller ones would keep threads waiting."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiling:
    """How the distance stage cuts its work.

    Attributes
    ----------
    tile_edge
        Observations along a tile's edge: a multiple of `BLOCK_ROWS`.
    features_at_once
        Features a task holds in memory: a multiple of `BLOCK_FEATURES`.
    task_bytes
        Most memory that one task takes.
    largest_edge
        Up to which tiles that an earlier run cut, for other memory or other threads, can be
        finished as they are.
    largest_read_edge
        Up to which those that are complete can be read as they are, beside all else.
    """

    tile_edge: int
    features_at_once: int
    task_bytes: int
    largest_edge: int
    largest_read_edge: int = LARGEST_EDGE


def tile_the_triangle(
    work: TileWork,
    resources: Resources,
    *,
    held_bytes: int = 0,
    is_read_back: bool = False,
    most_edge: int = LARGEST_EDGE,
) -> Tiling:
    """Choose tiles as large as half of the memory allows, but enough of them for every thread.

    Parameters
    ----------
    work
        The observations, and what a task does with them.
    resources
        Memory and threads that the stage may use.
    held_bytes
        What is held besides the tasks; tiles take no more than it leaves.
    is_read_back
        Whether the driver reads the tiles again, some at once, beside what is held.
    most_edge
        No tile is larger.

    Raises
    ------
    MemoryLimitError
        Not even the smallest tile fits.

    Examples
    --------
    >>> matrix = StoredMatrix(shape=(28_057, 115), itemsize=8)
    >>> work = TileWork(n=28_057, k=115, itemsize=8, matrix=matrix)
    >>> tile_the_triangle(work, Resources(memory_bytes=8 * 10**9, threads=2)).tile_edge
    2048
    """
    smallest = work.smallest_task_bytes
    needed = least_distance_bytes(work, resources, held_bytes, is_read_back=is_read_back)
    if needed > resources.memory_bytes:
        raise MemoryLimitError(
            f"the distances of {work.n:,} x {work.k:,} need {format_bytes(needed)} with "
            f"{resources.threads} threads, and the run may use "
            f"{format_bytes(resources.memory_bytes)}",
            needed_bytes=needed,
            limit_bytes=resources.memory_bytes,
        )
    budget = _task_budget(resources, smallest, held_bytes)
    if smallest > budget:
        raise MemoryLimitError(
            f"the smallest task of {work.n:,} x {work.k:,} takes {format_bytes(smallest)}, and a "
            f"worker has {format_bytes(budget)} for each",
            needed_bytes=smallest,
            limit_bytes=budget,
        )

    def fits(edge: int, features: int) -> bool:
        reading = reading_bytes(work, resources, edge) if is_read_back else 0
        return (
            work.task_bytes(edge, features) <= budget
            and held_bytes + reading <= resources.memory_bytes
        )

    edge = BLOCK_ROWS
    while (
        edge < most_edge
        and fits(2 * edge, BLOCK_FEATURES)
        and _is_worth_doubling(work, edge, resources)
    ):
        edge *= 2
    features = BLOCK_FEATURES
    while features < work.k and fits(edge, 2 * features):
        features *= 2
    largest = edge
    while largest < most_edge and fits(2 * largest, features):
        largest *= 2
    return Tiling(
        tile_edge=edge,
        features_at_once=features,
        task_bytes=work.task_bytes(edge, features),
        largest_edge=largest,
    )


def least_distance_bytes(
    work: TileWork, resources: Resources, held_bytes: int, *, is_read_back: bool = False
) -> int:
    """Memory with which the smallest tiles fit beside what is held, and are read there again."""
    reading = reading_bytes(work, resources, BLOCK_ROWS) if is_read_back else 0
    return held_bytes + max(resources.local_threads * work.smallest_task_bytes, reading)


def _task_budget(resources: Resources, smallest: int, held_bytes: int) -> int:
    """Most that a task may take: of this machine's memory, and of its worker's."""
    budgets = [] if resources.task_bytes is None else [resources.task_bytes]
    if resources.local_threads:
        left = (resources.memory_bytes - held_bytes) // resources.local_threads
        half = resources.memory_bytes // 2 // resources.local_threads
        budgets.append(min(left, max(half, smallest)))
    # Of workers elsewhere of which nothing is known yet, what the driver has.
    return min(budgets, default=max(smallest, resources.memory_bytes))


def reading_bytes(work: TileWork, resources: Resources, edge: int) -> int:
    """Memory of the tiles that the driver reads at once."""
    return resources.reading_threads * work.read_tile_bytes(edge)


def _is_worth_doubling(work: TileWork, edge: int, resources: Resources) -> bool:
    tasks_now = TriangleGrid(n=work.n, tile_edge=edge).n_tiles
    tasks_then = TriangleGrid(n=work.n, tile_edge=2 * edge).n_tiles
    wanted = min(16 * resources.threads, _ENOUGH_TASKS)
    return tasks_now > _MOST_TASKS or tasks_then >= wanted

"""Plan: how the distance stage cuts its work into tiles that the memory holds."""

from __future__ import annotations

from dataclasses import dataclass

from clustergrid.pipeline.errors import MemoryLimitError
from clustergrid.pipeline.footprint import (
    least_distance_bytes,
    smallest_task_bytes,
    tile_task_bytes,
)
from clustergrid.pipeline.resources import Resources
from clustergrid.pipeline.sizes import format_bytes
from clustergrid.storage.grid import BLOCK_FEATURES, BLOCK_ROWS, TriangleGrid

__all__ = ["Tiling", "tile_the_triangle"]

_LARGEST_EDGE = 4096
_MOST_TASKS = 50_000


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
    """

    tile_edge: int
    features_at_once: int
    task_bytes: int


def tile_the_triangle(
    n: int, k: int, itemsize: int, resources: Resources, *, held_bytes: int = 0
) -> Tiling:
    """Choose tiles as large as half of the memory allows, but enough of them for every thread.

    Parameters
    ----------
    n, k
        Observations and features.
    itemsize
        Bytes of a distance.
    resources
        Memory and threads that the stage may use.
    held_bytes
        What is held besides the tasks; tiles take no more than it leaves.

    Raises
    ------
    MemoryLimitError
        Not even the smallest tile fits.

    Examples
    --------
    >>> tile_the_triangle(28_057, 115, 8, Resources(memory_bytes=8 * 10**9, threads=2)).tile_edge
    2048
    """
    needed = least_distance_bytes(n, k, itemsize, resources.local_threads, held_bytes)
    if needed > resources.memory_bytes:
        raise MemoryLimitError(
            f"the distances of {n:,} x {k:,} need {format_bytes(needed)} with {resources.threads} "
            f"threads, and the run may use {format_bytes(resources.memory_bytes)}",
            needed_bytes=needed,
            limit_bytes=resources.memory_bytes,
        )
    budget = resources.task_bytes
    if budget is None:
        left = resources.memory_bytes - held_bytes
        budget = min(resources.memory_bytes // 2, left) // resources.threads
    smallest = smallest_task_bytes(n, k, itemsize)
    if smallest > budget:
        raise MemoryLimitError(
            f"the smallest task of {n:,} x {k:,} takes {format_bytes(smallest)}, and the workers "
            f"have {format_bytes(budget)} for each. Start workers with more memory a thread.",
            needed_bytes=smallest,
            limit_bytes=budget,
        )
    edge = BLOCK_ROWS
    while edge < _LARGEST_EDGE and _is_worth_doubling(edge, n, k, itemsize, resources, budget):
        edge *= 2
    features = BLOCK_FEATURES
    while features < k and tile_task_bytes(edge, 2 * features, itemsize) <= budget:
        features *= 2
    return Tiling(
        tile_edge=edge,
        features_at_once=features,
        task_bytes=tile_task_bytes(min(edge, n), min(features, k), itemsize),
    )


def _is_worth_doubling(
    edge: int, n: int, k: int, itemsize: int, resources: Resources, budget: int
) -> bool:
    tasks_now = TriangleGrid(n=n, tile_edge=edge).n_tiles
    tasks_then = TriangleGrid(n=n, tile_edge=2 * edge).n_tiles
    fits = tile_task_bytes(2 * edge, min(BLOCK_FEATURES, k), itemsize) <= budget
    return fits and (tasks_now > _MOST_TASKS or tasks_then >= 16 * resources.threads)

"""Plan: what one axis needs: what its tree is made from, which tiles, and the least memory."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

from clustergrid.pipeline.errors import MemoryLimitError
from clustergrid.pipeline.footprint import (
    WORKER_BYTES,
    AxisWork,
    Footprint,
    Ground,
    rank_footprint,
)
from clustergrid.pipeline.metrics import (
    SMALL_OPERATIONS,
    Engine,
    engine_for,
)
from clustergrid.pipeline.rank_plan import rank_matrix
from clustergrid.pipeline.refusal import rounded_up
from clustergrid.pipeline.row_tree_plan import RowTreeMemory, way_from_rows
from clustergrid.pipeline.sparseness import prefers_stored
from clustergrid.pipeline.spec import AXIS_NAMES, AxisSpec
from clustergrid.pipeline.stored.memory import StoredMemory
from clustergrid.pipeline.tile_memory import StoredMatrix, TileWork
from clustergrid.pipeline.tiling import (
    LARGEST_EDGE,
    Tiling,
    least_distance_bytes,
    reading_bytes,
    tile_the_triangle,
)
from clustergrid.pipeline.tree_engine import TreeOfRows, rows_engines
from clustergrid.storage.grid import BLOCK_ROWS

__all__ = ["AxisNeeds"]

_PACKED_EDGE = BLOCK_ROWS

_LARGER_SQUARE = 1.25
"""So many times as many clusters are left for a square where rows at rest pay: rows that take less
than a third of the memory stay there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AxisNeeds:
    """What is asked of one axis, and the least that it needs.

    Attributes
    ----------
    name
        ``"row"`` or ``"col"``.
    spec
        How it is clustered.
    n, k
        Observations and features.
    stored_bytes
        Of the matrix, where a pass over it reads the store.
    ground
        What is there in every stage.
    in_memory
        Whether the distances stay in this process.
    tree
        Whether a tree is made of them.
    is_boolean, is_normalized
        Whether the matrix, normalized, holds booleans; and whether it is normalized.
    chosen
        What the tree is made from, once the memory was looked at (`decided`); empty before.
    """

    name: str
    spec: AxisSpec
    n: int
    k: int
    stored_bytes: int
    ground: Ground
    in_memory: bool
    tree: bool
    is_boolean: bool
    is_normalized: bool
    chosen: str = ""

    @property
    def engine(self) -> Engine:
        """What computes the distances."""
        metric = self.spec.found_metric
        is_sparse = (
            self.matrix.n_stored is not None
            and self.n * self.n * self.k > SMALL_OPERATIONS
            and prefers_stored(
                metric,
                self.matrix.density,
                itemsize=self.itemsize,
                is_normalized=self.is_normalized,
                is_boolean=self.is_boolean,
            )
        )
        if is_sparse:
            return "sparse"
        return engine_for(metric, self.n, self.k, is_boolean=self.is_boolean)

    @property
    def tree_engines(self) -> tuple[str, ...]:
        """What makes the tree where there is memory enough, and what may in its stead."""
        spec, metric = self.spec, self.spec.found_metric
        return rows_engines(
            TreeOfRows(
                asked=spec.engine,
                method=spec.method,
                metric_name=metric.name,
                n=self.n,
                k=self.k,
                itemsize=self.itemsize,
                is_product=metric.product is not None,
                is_called=metric.function is not None,
                is_sparse=self.engine == "sparse",
                is_boolean=self.is_boolean,
                is_ordered=spec.optimal_ordering,
            )
        )

    @property
    def tree_engine(self) -> str:
        """What makes the tree."""
        return self.chosen or self.tree_engines[0]

    @property
    def decided(self) -> Self:
        """The same with the first engine whose plan fits, or else the one that needs the least."""
        if not self.tree:
            return self
        engines = self.tree_engines
        candidates = [replace(self, chosen=engine) for engine in engines]
        if len(candidates) == 1:
            return candidates[0]
        fitting = (one for one in candidates if one.fits)
        least = min(candidates, key=lambda one: one.settled.least_bytes)
        return next(fitting, least)

    @property
    def is_in_stead(self) -> bool:
        """Whether the tree is made from something else because of the memory."""
        return self.tree_engine != self.tree_engines[0]

    @property
    def fits(self) -> bool:
        """Whether the smallest tiles, and what is held beside them, fit here and in workers."""
        resources = self.ground.resources
        limit = resources.worker_memory_bytes
        return self.settled.least_bytes <= resources.memory_bytes and (
            limit is None or self.least_worker_bytes <= limit
        )

    @property
    def is_from_rows(self) -> bool:
        """Whether a tree is made of the rows themselves."""
        return self.tree and self.tree_engine == "data"

    @property
    def way(self) -> str:
        """How a tree is made from rows, where it can be."""
        return way_from_rows(
            self.spec.method, self.spec.found_metric.name, is_boolean=self.is_boolean
        )

    @property
    def is_from_tiles(self) -> bool:
        """Whether a tree is made of tiles that are read a few times, and of no square of all."""
        return self.tree and self.tree_engine == "tiles"

    @property
    def makes_distances(self) -> bool:
        """Whether distances of all pairs are made and kept."""
        return not self.is_from_rows

    @property
    def itemsize(self) -> int:
        """Bytes of a distance."""
        return 4 if self.spec.dtype == "float32" else 8

    @property
    def matrix(self) -> StoredMatrix:
        """Observations in rows, as they are in the matrix."""
        matrix = self.ground.matrix
        return matrix if self.name == AXIS_NAMES[0] else matrix.transpose()

    @property
    def ranks(self) -> StoredMatrix | None:
        """What tiles are computed of instead."""
        if not self.spec.found_metric.ranks:
            return None
        return rank_matrix(self.n, self.k, self.ground.resources)

    @property
    def ranks_at_rest_bytes(self) -> int:
        """Of the ranks, where they are put into the store."""
        ranks = self.ranks
        return 0 if ranks is None or ranks.in_memory else ranks.values * ranks.itemsize

    @property
    def tile_ground(self) -> Ground:
        """What is there while there are tiles, ranks included."""
        ranks = self.ranks
        if ranks is None or not ranks.in_memory:
            return self.ground
        held = self.ground.matrix_bytes_held + ranks.values * ranks.itemsize
        return replace(self.ground, matrix_bytes_held=held)

    @property
    def tile_stored_bytes(self) -> int:
        """Bytes at rest that tiles are computed of; 0 where they are in memory."""
        return self.stored_bytes if self.ranks is None else self.ranks_at_rest_bytes

    @property
    def work(self) -> AxisWork:
        """What a task does, and what is made of it."""
        metric = self.spec.found_metric
        return AxisWork(
            tile=TileWork(
                n=self.n,
                k=self.k,
                itemsize=self.itemsize,
                engine=self.engine,
                needs_whole_rows=metric.needs_whole_rows,
                is_transformed=metric.name == "mahalanobis",
                matrix=self.ranks or self.matrix,
            ),
            in_memory=self.in_memory,
            tree=self.tree,
            optimal_ordering=self.spec.optimal_ordering,
            engine=self.tree_engine,
            method=self.spec.method,
            way=self.way,
            threads=self.ground.resources.reading_threads,
        )

    def held_bytes(self, tile_edge: int) -> int:
        """Say what is held beside the tasks, by the hungriest of the stages."""
        held = self.work.held_bytes(tile_edge)
        return self.tile_ground.footprint(held_bytes=held, task_bytes=0).peak_bytes

    @property
    def hungriest(self) -> str:
        """Name of the stage that needs the most memory."""
        if not self.tree:
            return f"distance-{self.name}"
        work = self.work
        is_ordering = work.ordering_held_bytes > work.merging_bytes(BLOCK_ROWS)
        return f"{'ordering' if is_ordering else 'linkage'}-{self.name}"

    @property
    def tiled(self) -> str:
        """Name of the stage whose tasks compute tiles."""
        return f"{'distance' if self.makes_distances else 'linkage'}-{self.name}"

    @property
    def holding(self) -> str:
        """What the hungriest stage holds in memory, in words; empty where it is little."""
        if not self.tree:
            return ""
        if self.is_from_tiles:
            return "lists of near observations, and parts of their distances, are held in memory"
        if self.makes_distances:
            return "the square matrix of its distances is held in memory"
        if self.way == "spanning":
            return ""
        if self.way == "centroids":
            return "some copies of the matrix are held in memory"
        if self.row_memory is not None and self.row_memory.at_rest:
            return "lists of near rows, and a window of rows that are at rest, are held in memory"
        return "the rows, and lists of near ones, are held in memory"

    @property
    def settled(self) -> Self:
        """The same with the least memory that does, where ranks might stay in that memory."""
        ranks, least = self.ranks, self.least_bytes
        if ranks is None or ranks.in_memory or least <= self.ground.resources.memory_bytes:
            return self
        # As much as a refusal says would do: it may be enough for ranks where the least is not.
        resources = replace(self.ground.resources, memory_bytes=rounded_up(least))
        return replace(self, ground=replace(self.ground, resources=resources))

    @property
    def least_bytes(self) -> int:
        """Of this machine, with the smallest tiles."""
        work = self.work
        least = least_distance_bytes(
            work.tile,
            self.ground.resources,
            self.held_bytes(BLOCK_ROWS),
            is_read_back=self.is_read_back,
        )
        if self.is_from_tiles:
            tiles = self.tile_tree_memory(BLOCK_ROWS).shortened(0)
            least = max(least, self.tile_tree_footprint(BLOCK_ROWS, tiles.least_bytes).peak_bytes)
        memory = self.row_memory
        if memory is None:
            return least
        return max(least, self.rounds_footprint(memory, memory.least_bytes).peak_bytes)

    @property
    def row_memory(self) -> RowTreeMemory | None:
        """What a tree by rounds takes; its rows rest where that leaves far more to a square."""
        memory = self.work.row_tree
        if memory is None:
            return None
        if not self._fits_rounds(memory):
            resting = memory.resting
            narrower = [resting, *resting.narrower]
            found = next((one for one in narrower if self._fits_rounds(one)), narrower[-1])
            here, there = (self._least_of(each).peak_bytes for each in (memory, found))
            return memory if here <= there else found
        if memory.way == "summaries":  # of which lists are made anew, whatever fits a square
            return memory
        # A chain that brings many more clusters to a smaller square takes longer than to read rows.
        here, there = (
            each.limits(self.rounds_bytes(each)).most_clusters for each in (memory, memory.resting)
        )
        return memory if here * _LARGER_SQUARE >= there else memory.resting

    def _least_of(self, memory: RowTreeMemory) -> Footprint:
        return self.rounds_footprint(memory, memory.least_bytes)

    def _fits_rounds(self, memory: RowTreeMemory) -> bool:
        """Whether rounds fit with the least that they may use, here and in workers."""
        least, resources = self._least_of(memory), self.ground.resources
        limit = resources.worker_memory_bytes
        return least.peak_bytes <= resources.memory_bytes and (
            limit is None or least.worker_bytes <= limit
        )

    def rounds_bytes(self, memory: RowTreeMemory) -> int:
        """Return what rounds may use beside rows and tasks: what these leave, if it is of use."""
        least = self.rounds_footprint(memory, memory.least_bytes)
        left = self.ground.resources.memory_bytes - least.peak_bytes
        return min(memory.useful_bytes, memory.least_bytes + max(0, left))

    @property
    def is_read_back(self) -> bool:
        """Whether the driver reads the tiles into a square, from where they are at rest."""
        return self.makes_distances and self.work.is_read_back

    def rounds_footprint(self, memory: RowTreeMemory, used_bytes: int) -> Footprint:
        """Of rounds that use so much beside rows and tasks."""
        task_bytes, threads = memory.task_bytes, self.ground.resources.threads_per_worker
        if self.ground.resources.worker_processes:
            task_bytes += memory.rows_bytes // threads
        return self.tile_ground.footprint(
            held_bytes=memory.rows_bytes + used_bytes, task_bytes=task_bytes
        )

    def tile_tree_memory(self, tile_edge: int) -> StoredMemory:
        """Return what a tree of tiles takes beside the process."""
        return StoredMemory(
            n=self.n,
            tile_edge=min(tile_edge, self.n),
            itemsize=self.itemsize,
        )

    def tile_tree_footprint(self, tile_edge: int, used_bytes: int) -> Footprint:
        """Of a tree of tiles that uses so much beside these, where they are in memory."""
        held = self.work.distances_bytes(tile_edge) + used_bytes
        return self.tile_ground.footprint(held_bytes=held, task_bytes=0)

    @property
    def least_worker_bytes(self) -> int:
        """Of a worker, with the smallest tiles: half of its memory is for its tasks."""
        tasks = self.ground.resources.threads_per_worker * self.work.tile.smallest_task_bytes
        digest = self.ground.footprint(held_bytes=0, task_bytes=self.work.tile.digest_task_bytes)
        ranks, memory = self.ranks, self.row_memory
        ranking = 0 if ranks is None else self.rank_footprint(ranks).worker_bytes
        rows = 0 if memory is None else self.rounds_footprint(memory, 0).worker_bytes
        return max(2 * max(WORKER_BYTES, tasks), digest.worker_bytes, rows, ranking)

    def rank_footprint(self, ranks: StoredMatrix) -> Footprint:
        """Of the stage that ranks rows."""
        return rank_footprint(self.ground, self.matrix, ranks)

    def tiling(self) -> Tiling:
        """Choose tiles; packed ones are the more to hold the larger they are."""
        chosen = self._tiling()
        largest = chosen.tile_edge
        while largest < LARGEST_EDGE and self._can_read(2 * largest, chosen.tile_edge):
            largest *= 2
        return replace(chosen, largest_read_edge=largest)

    def _can_read(self, tile_edge: int, planned_edge: int) -> bool:
        """Whether a tree can be made of an earlier run's tiles in the memory that is planned."""
        limit = self.ground.resources.memory_bytes
        if self.is_from_tiles:
            left = limit - self.tile_tree_footprint(planned_edge, 0).peak_bytes
            used = min(self.tile_tree_memory(planned_edge).useful_bytes, left)
            return self.tile_tree_memory(tile_edge).shortened(0).least_bytes <= used
        if not self.is_read_back:
            return True
        reading = reading_bytes(self.work.tile, self.ground.resources, tile_edge)
        return self.held_bytes(tile_edge) + reading <= limit

    def _tiling(self) -> Tiling:
        work, edge = self.work, LARGEST_EDGE
        if work.is_packed and work.tile.matrix.in_memory:
            # Smaller ones read more, which costs nothing here, and waste less on the diagonal.
            edge = _PACKED_EDGE
        while edge > BLOCK_ROWS and not self._has_room_for_tree(edge):
            edge //= 2
        while True:
            try:
                return tile_the_triangle(
                    work.tile,
                    self.ground.resources,
                    held_bytes=self.held_bytes(edge),
                    is_read_back=self.is_read_back,
                    most_edge=edge,
                )
            except MemoryLimitError:
                if edge == BLOCK_ROWS or not work.is_packed:
                    raise
                edge //= 2

    def _has_room_for_tree(self, tile_edge: int) -> bool:
        """Whether a tree can be made of tiles of such an edge, if it is made of tiles."""
        if not self.is_from_tiles:
            return True
        memory = self.tile_tree_memory(tile_edge).shortened(0)
        needed = self.tile_tree_footprint(tile_edge, memory.least_bytes).peak_bytes
        return needed <= self.ground.resources.memory_bytes

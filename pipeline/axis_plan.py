"""Plan: the stages of one axis: perhaps ranks, then distances and their tree, or that alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from clustergrid.pipeline.errors import MemoryLimitError
from clustergrid.pipeline.estimate import (
    StageWork,
    centroid_work,
    distance_work,
    linkage_work,
    ordering_work,
    rank_work,
    row_tree_work,
)
from clustergrid.pipeline.footprint import (
    WORKER_BYTES,
    AxisWork,
    Footprint,
    Ground,
    distance_footprint,
    linkage_footprint,
    ordering_footprint,
    rank_footprint,
)
from clustergrid.pipeline.hierarchy.limits import Limits
from clustergrid.pipeline.metrics import (
    SMALL_OBSERVATIONS,
    SMALL_OPERATIONS,
    Engine,
    engine_for,
)
from clustergrid.pipeline.planned import StagePlan
from clustergrid.pipeline.rank_plan import rank_chunks, rank_matrix
from clustergrid.pipeline.reasons import distance_reason, ordering_reason
from clustergrid.pipeline.row_tree_plan import ROWS_A_TASK, RowTreeMemory, way_from_rows
from clustergrid.pipeline.sparseness import prefers_stored
from clustergrid.pipeline.spec import AXIS_NAMES, AxisSpec
from clustergrid.pipeline.square import PRECOMPUTED, refuse_not_square
from clustergrid.pipeline.tile_memory import StoredMatrix, TileWork
from clustergrid.pipeline.tiling import (
    LARGEST_EDGE,
    Tiling,
    least_distance_bytes,
    tile_the_triangle,
)
from clustergrid.pipeline.tree_engine import linkage_reason, rows_engine, rows_reason
from clustergrid.storage.grid import BLOCK_ROWS, TriangleGrid

__all__ = ["AxisPlanner"]

_MERGE_BYTES = 32

_CHECKPOINT_BYTES = 24
"""Of an edge of a forest that is at rest; two forests are, when one takes the place of another."""

_PACKED_EDGE = BLOCK_ROWS


@dataclass(frozen=True, slots=True, kw_only=True)
class AxisPlanner:
    """The distances and the tree of one axis.

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
                itemsize=4 if self.spec.dtype == "float32" else 8,
                is_normalized=self.is_normalized,
                is_boolean=self.is_boolean,
            )
        )
        if is_sparse:
            return "sparse"
        return engine_for(metric, self.n, self.k, is_boolean=self.is_boolean)

    @property
    def tree_engine(self) -> str:
        """What makes the tree."""
        spec = self.spec
        return rows_engine(
            spec.engine,
            spec.method,
            spec.found_metric.name,
            n=self.n,
            k=self.k,
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
    def makes_distances(self) -> bool:
        """Whether distances of all pairs are made and kept."""
        return not self.is_from_rows

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
                itemsize=4 if self.spec.dtype == "float32" else 8,
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
        if self.makes_distances:
            return "the square matrix of its distances is held in memory"
        if self.way == "spanning":
            return ""
        if self.way == "centroids":
            return "some copies of the matrix are held in memory"
        return "the rows, and lists of near ones, are held in memory"

    @property
    def settled(self) -> AxisPlanner:
        """The same with the least memory that does, where ranks might stay in that memory."""
        ranks, least = self.ranks, self.least_bytes
        if ranks is None or ranks.in_memory or least <= self.ground.resources.memory_bytes:
            return self
        resources = replace(self.ground.resources, memory_bytes=least)
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
        memory = work.row_tree
        if memory is None:
            return least
        return max(least, self._rounds_footprint(memory, memory.least_bytes).peak_bytes)

    @property
    def is_read_back(self) -> bool:
        """Whether the driver reads the tiles, from where they are at rest."""
        return self.makes_distances and self.work.is_read_back

    @property
    def least_worker_bytes(self) -> int:
        """Of a worker, with the smallest tiles: half of its memory is for its tasks."""
        tasks = self.ground.resources.threads_per_worker * self.work.tile.smallest_task_bytes
        digest = self.ground.footprint(held_bytes=0, task_bytes=self.work.tile.digest_task_bytes)
        ranking = [stage.worker_memory_bytes for stage in self.rank_stages()]
        memory = self.work.row_tree
        rows = 0 if memory is None else self._rounds_footprint(memory, 0).worker_bytes
        return max(2 * max(WORKER_BYTES, tasks), digest.worker_bytes, rows, *ranking)

    def tiling(self) -> Tiling:
        """Choose tiles; packed ones are the more to hold the larger they are."""
        work, edge = self.work, LARGEST_EDGE
        if work.is_packed and work.tile.matrix.in_memory:
            # Smaller ones read more, which costs nothing here, and waste less on the diagonal.
            edge = _PACKED_EDGE
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

    def rank_stages(self) -> Iterator[StagePlan]:
        """Yield the stage that ranks rows, where their ranks are compared."""
        ranks = self.ranks
        if ranks is None:
            return
        where = "in memory" if ranks.in_memory else "in the store until the tiles are made"
        yield StagePlan(
            name=f"ranks-{self.name}",
            engine="one pass",
            reason=f"every row is sorted once; ranks are {where}",
            tasks=-(-self.n // rank_chunks(self.n, self.k)[0]),
            bytes_read=self.stored_bytes,
            bytes_written=self.ranks_at_rest_bytes,
            scratch_bytes=self.ranks_at_rest_bytes,
            footprint=rank_footprint(self.ground, self.matrix, ranks),
            work=rank_work(self.n, self.k, self.stored_bytes, self.ranks_at_rest_bytes),
        )

    def stages(self) -> Iterator[StagePlan]:
        """Yield the stages in their order."""
        yield from self.rank_stages()
        if self.engine == PRECOMPUTED:
            refuse_not_square((self.n, self.k))
        if self.is_from_rows:
            yield self._tree_from_rows()
        if self.makes_distances:
            yield self._distances()
        if self.tree and not self.is_from_rows:
            yield self._tree_from_square()
        if self.tree and self.spec.optimal_ordering:
            yield self._ordering()

    def _grid(self, tiling: Tiling) -> TriangleGrid:
        return TriangleGrid(n=self.n, tile_edge=min(tiling.tile_edge, self.n))

    @property
    def _tiles_bytes(self) -> int:
        """Of the distances at rest; those that are there need no copy for a tree."""
        is_written = not self.in_memory and not (self.engine == PRECOMPUTED and self.tree)
        n_values = self._grid(self.tiling()).n_values
        return n_values * self.work.tile.itemsize if is_written else 0

    def _distances(self) -> StagePlan:
        tiling, metric = self.tiling(), self.spec.found_metric
        grid = self._grid(tiling)
        return StagePlan(
            name=f"distance-{self.name}",
            engine=f"{metric.name}, {self.engine}",
            reason=distance_reason(metric.name, self.engine, self.n, self.k),
            tasks=grid.n_tiles,
            bytes_read=self._tile_bytes_read(grid),
            bytes_written=self._tiles_bytes,
            earlier_scratch_bytes=self.ranks_at_rest_bytes,
            footprint=distance_footprint(
                self.tile_ground, self.work, grid.tile_edge, tiling.task_bytes
            ),
            work=self._distance_work(grid, self._tiles_bytes),
            tiling=tiling,
        )

    def _tile_bytes_read(self, grid: TriangleGrid) -> int:
        """Every slab of rows meets every other and itself, after the pass for its norms."""
        return self.tile_stored_bytes * (grid.n_edges + 1)

    def _distance_work(self, grid: TriangleGrid, tiles_bytes: int) -> StageWork:
        return distance_work(
            self.spec,
            self.n,
            self.k,
            itemsize=self.work.tile.itemsize,
            bytes_read=self._tile_bytes_read(grid),
            tiles_bytes=tiles_bytes,
            matrix_bytes=self.tile_stored_bytes,
            is_boolean=self.is_boolean,
            density=self.matrix.density if self.engine == "sparse" else None,
            tile_edge=grid.tile_edge,
        )

    def _tree_from_rows(self) -> StagePlan:
        """Plan a tree of which no distances are kept."""
        if self.way == "spanning":
            return self._spanning_tree()
        return self._centroid_tree() if self.way == "centroids" else self._tree_by_rounds()

    def _row_tree(
        self,
        *,
        footprint: Footprint,
        work: StageWork,
        tasks: int,
        bytes_read: int,
        scratch_bytes: int = 0,
        limits: Limits | None = None,
    ) -> StagePlan:
        spec, scratch = self.spec, 0 if self.in_memory else scratch_bytes
        return StagePlan(
            name=f"linkage-{self.name}",
            engine=f"{spec.method}, {self.tree_engine}",
            reason=rows_reason(spec.method, spec.found_metric.name, is_boolean=self.is_boolean),
            tasks=tasks,
            bytes_read=bytes_read,
            bytes_written=scratch + self._linkage_bytes,
            scratch_bytes=scratch,
            earlier_scratch_bytes=self.ranks_at_rest_bytes,
            footprint=footprint,
            work=work,
            tiling=self.tiling(),
            limits=limits,
        )

    def _spanning_tree(self) -> StagePlan:
        """Plan tiles that nobody keeps."""
        tiling = self.tiling()
        grid = self._grid(tiling)
        held = self.work.held_bytes(grid.tile_edge)
        return self._row_tree(
            # Memory of every task is kept for its next tile.
            footprint=self.tile_ground.footprint(held_bytes=held, task_bytes=tiling.task_bytes),
            work=replace(self._distance_work(grid, 0), fresh_bytes=0),
            tasks=grid.n_tiles,
            bytes_read=self._tile_bytes_read(grid),
            scratch_bytes=2 * _CHECKPOINT_BYTES * self.n,
        )

    @property
    def _search_footprint(self) -> Footprint:
        """Of the search for duplicates."""
        digest_bytes = self.work.tile.digest_task_bytes
        return self.tile_ground.footprint(held_bytes=0, task_bytes=digest_bytes)

    def _centroid_tree(self) -> StagePlan:
        held = self.work.held_bytes(BLOCK_ROWS)
        merging = self.tile_ground.footprint(held_bytes=held, task_bytes=0)
        return self._row_tree(
            footprint=self._search_footprint.then(merging),
            work=centroid_work(self.n, self.k),
            tasks=1,
            bytes_read=2 * self.tile_stored_bytes,
        )

    def _tree_by_rounds(self) -> StagePlan:
        """Plan lists of near rows, and a square of what they leave, as the memory allows."""
        memory = self.work.row_tree
        assert memory is not None
        least = self._rounds_footprint(memory, memory.least_bytes)
        left = self.ground.resources.memory_bytes - least.peak_bytes
        used = min(memory.useful_bytes, memory.least_bytes + max(0, left))
        grid = self._grid(self.tiling())
        processes = max(1, self.ground.resources.worker_processes)
        return self._row_tree(
            footprint=self._search_footprint.then(self._rounds_footprint(memory, used)),
            work=row_tree_work(
                self._distance_work(grid, 0), self.n, self.k, is_by_products=self._has_products
            ),
            tasks=max(1, -(-self.n // ROWS_A_TASK)),
            bytes_read=(1 + processes) * self.tile_stored_bytes,
            scratch_bytes=memory.records_bytes,
            limits=memory.limits(used),
        )

    def _rounds_footprint(self, memory: RowTreeMemory, used_bytes: int) -> Footprint:
        """Of rounds that use so much beside rows and tasks."""
        task_bytes, threads = memory.task_bytes, self.ground.resources.threads_per_worker
        if self.ground.resources.worker_processes:
            task_bytes += memory.rows_bytes // threads
        return self.tile_ground.footprint(
            held_bytes=memory.rows_bytes + used_bytes, task_bytes=task_bytes
        )

    @property
    def _has_products(self) -> bool:
        return self.way == "summaries" or self.spec.found_metric.product is not None

    @property
    def _linkage_bytes(self) -> int:
        """Of the tree at rest."""
        return 0 if self.in_memory else (self.n - 1) * _MERGE_BYTES

    def _tree_from_square(self) -> StagePlan:
        n, k, work = self.n, self.k, self.work
        tiling, tiles_bytes = self.tiling(), self._tiles_bytes
        return StagePlan(
            name=f"linkage-{self.name}",
            engine=f"{self.spec.method}, {self.tree_engine}",
            reason=linkage_reason(self.tree_engine, self.spec.method, work.square_bytes),
            tasks=1 if self.in_memory else self._grid(tiling).n_tiles,
            bytes_read=tiles_bytes + (self.tile_stored_bytes if n > SMALL_OBSERVATIONS else 0),
            bytes_written=self._linkage_bytes,
            footprint=linkage_footprint(self.tile_ground, work, tiling.tile_edge),
            work=linkage_work(
                self.spec,
                n,
                k,
                itemsize=work.tile.itemsize,
                tiles_bytes=tiles_bytes,
                matrix_bytes=self.tile_stored_bytes,
            ),
        )

    def _ordering(self) -> StagePlan:
        return StagePlan(
            name=f"ordering-{self.name}",
            engine="shortest paths",
            reason=ordering_reason(self.n),
            tasks=1,
            footprint=ordering_footprint(self.tile_ground, self.work),
            work=ordering_work(self.n),
        )

"""Plan: the stages of one axis: perhaps ranks, then distances and their tree, or that alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from clustergrid.pipeline.axis_needs import AxisNeeds
from clustergrid.pipeline.estimate import StageWork, distance_work, rank_work
from clustergrid.pipeline.footprint import (
    Footprint,
    distance_footprint,
    linkage_footprint,
    ordering_footprint,
)
from clustergrid.pipeline.hierarchy.limits import Limits
from clustergrid.pipeline.metrics import SMALL_OBSERVATIONS
from clustergrid.pipeline.planned import StagePlan
from clustergrid.pipeline.rank_plan import rank_chunks
from clustergrid.pipeline.reasons import distance_reason, ordering_reason
from clustergrid.pipeline.square import PRECOMPUTED, refuse_not_square
from clustergrid.pipeline.tiling import Tiling
from clustergrid.pipeline.tree_engine import linkage_reason, rows_reason, tiles_reason
from clustergrid.pipeline.tree_passes import Passes, passes_of_rows, passes_of_tiles
from clustergrid.pipeline.tree_work import (
    centroid_work,
    linkage_work,
    ordering_work,
    resting_work,
    row_tree_work,
    tile_tree_work,
)
from clustergrid.storage.grid import BLOCK_ROWS, TriangleGrid

__all__ = ["AxisPlanner"]

_MERGE_BYTES = 32

_READ_AT_REST = "; rows do not fit the memory beside all else, and are read from a copy at rest"

_CHECKPOINT_BYTES = 24
"""Of an edge of a forest that is at rest; two forests are, when one takes the place of another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AxisPlanner(AxisNeeds):
    """The stages of one axis; see `AxisNeeds`."""

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
            footprint=self.rank_footprint(ranks),
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
        if self.is_from_tiles:
            yield self._tree_from_tiles()
        elif self.tree and not self.is_from_rows:
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
        rest_bytes: int = 0,
        limits: Limits | None = None,
        passes: Passes | None = None,
    ) -> StagePlan:
        spec, scratch = self.spec, rest_bytes + (0 if self.in_memory else scratch_bytes)
        reason = rows_reason(
            spec.method, spec.found_metric.name, is_boolean=self.is_boolean, passes=passes
        )
        return StagePlan(
            name=f"linkage-{self.name}",
            engine=f"{spec.method}, {self.tree_engine}",
            made_from=self.tree_engine,
            reason=reason + (_READ_AT_REST if rest_bytes else ""),
            tasks=tasks,
            bytes_read=bytes_read,
            bytes_written=scratch + self._linkage_bytes,
            scratch_bytes=scratch,
            earlier_scratch_bytes=self.ranks_at_rest_bytes,
            footprint=footprint,
            work=work,
            tiling=self.tiling(),
            limits=limits,
            rows_at_rest=rest_bytes > 0,
            passes=passes,
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
        memory = self.row_memory
        assert memory is not None
        used = self.rounds_bytes(memory)
        grid = self._grid(self.tiling())
        processes = max(1, self.ground.resources.worker_processes)
        limits = memory.limits(used)
        passes = passes_of_rows(self.n, limits.most_clusters)
        threads = self.ground.resources.threads
        read_bytes = memory.read_bytes(
            passes.likely,
            is_euclidean=self._has_products,
            threads=threads,
            most_clusters=limits.most_clusters,
            sends=self.ground.resources.worker_processes > 0,
        )
        work = row_tree_work(
            self._distance_work(grid, 0),
            self.n,
            self.k,
            is_by_products=self._has_products,
            passes=passes.likely,
            most_clusters=limits.most_clusters,
        )
        return self._row_tree(
            footprint=self._search_footprint.then(self.rounds_footprint(memory, used)),
            work=resting_work(work, rest_bytes=memory.rest_bytes, read_bytes=read_bytes),
            tasks=memory.tasks(threads),
            bytes_read=(1 + processes) * self.tile_stored_bytes + read_bytes,
            scratch_bytes=memory.records_bytes,
            rest_bytes=memory.rest_bytes,
            limits=limits,
            passes=passes,
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
            made_from=self.tree_engine,
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

    def _tree_from_tiles(self) -> StagePlan:
        """Plan lists of near observations, and a square of what they leave, from tiles."""
        tiling = self.tiling()
        grid = self._grid(tiling)
        memory = self.tile_tree_memory(grid.tile_edge)
        nothing = self.tile_tree_footprint(grid.tile_edge, 0)
        used = min(memory.useful_bytes, self.ground.resources.memory_bytes - nothing.peak_bytes)
        memory = memory.shortened(used)
        most_clusters = memory.most_clusters(used)
        passes = passes_of_tiles(self.n, most_clusters)
        at_rest = self._tiles_bytes
        if self.engine == PRECOMPUTED:
            # Of a square, the half that is above its diagonal.
            at_rest = self.stored_bytes // 2
        return StagePlan(
            name=f"linkage-{self.name}",
            engine=f"{self.spec.method}, {self.tree_engine}",
            made_from=self.tree_engine,
            reason=tiles_reason(passes),
            tasks=grid.n_tiles,
            bytes_read=round(passes.likely * at_rest),
            bytes_written=self._linkage_bytes,
            footprint=self.tile_tree_footprint(grid.tile_edge, used),
            work=tile_tree_work(
                self.n,
                passes=passes.likely,
                tiles_bytes=at_rest,
                most_clusters=most_clusters,
            ),
            tree_bytes=used,
            passes=passes,
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

"""Plan: pure arithmetic from what was asked to stages, tasks, bytes, peak memory and seconds.

Nothing here reads a file or starts a task. A plan that cannot be kept is refused before anything
runs, with the least memory that would do, and what else would (`refusal.py`). What a stage holds
is in `footprint.py`, how long it takes in `estimate.py`, and what comes of it all is a `Plan`
(`planned.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from clustergrid.pipeline.estimate import (
    ASSUMED_RATES,
    distance_work,
    downsample_work,
    ingest_work,
    linkage_work,
    picture_work,
    startup_seconds,
    statistics_work,
)
from clustergrid.pipeline.footprint import (
    WORKER_BYTES,
    AxisWork,
    Ground,
    distance_footprint,
    downsample_footprint,
    ingest_footprint,
    linkage_footprint,
    picture_footprint,
    statistics_footprint,
)
from clustergrid.pipeline.metrics import SMALL_OBSERVATIONS, check_metric, engine_for
from clustergrid.pipeline.planned import Plan, StagePlan
from clustergrid.pipeline.reasons import distance_reason, linkage_engine, linkage_reason
from clustergrid.pipeline.refusal import (
    Alternative,
    refuse_small_workers,
    refuse_too_little_memory,
)
from clustergrid.pipeline.resources import DescribedCluster, Resources
from clustergrid.pipeline.sizes import format_bytes, parse_bytes
from clustergrid.pipeline.spec import AXIS_NAMES, AxisSpec, RunSpec
from clustergrid.pipeline.square import PRECOMPUTED, refuse_not_square
from clustergrid.pipeline.tile_memory import StoredMatrix, TileWork
from clustergrid.pipeline.tiling import Tiling, least_distance_bytes, tile_the_triangle
from clustergrid.storage.grid import READ_BLOCK, TriangleGrid
from clustergrid.storage.readers.chunking import storage_chunks
from clustergrid.storage.rechunk import plan_copy

__all__ = [
    "DescribedCluster",
    "Plan",
    "Resources",
    "StagePlan",
    "Tiling",
    "format_bytes",
    "parse_bytes",
    "plan_run",
    "tile_the_triangle",
]

_MERGE_BYTES = 32
DEFAULT_PIXELS = 1500 * 1500
"""Of seaborn's 10 x 10 inches at 150 dots an inch."""

_PICTURE_BYTES = 5_000_000
"""Of one file with its figure, and the performance reports beside it."""

Ingest = bool | Literal["text"]


def plan_run(
    spec: RunSpec,
    shape: tuple[int, int],
    itemsize: int,
    resources: Resources,
    *,
    in_memory: bool,
    ingest: Ingest,
    trees: bool = True,
    matrix_bytes_held: int | None = None,
    pictures: int = 1,
    pixels: int = DEFAULT_PIXELS,
    chunks: tuple[int, int] | None = None,
    source_chunks: tuple[int, int] | None = None,
) -> Plan:
    """Plan every stage of a run; its seconds are estimated with `ASSUMED_RATES`.

    Parameters
    ----------
    spec
        What was asked.
    shape, itemsize
        Of the matrix: rows, columns, bytes a value.
    resources
        What may be used.
    in_memory
        Whether the distances stay in this process.
    ingest
        Whether the matrix has to be written to the store first; ``"text"``: and parsed for that.
    trees
        Whether trees are made of the distances, which takes their square in memory.
    matrix_bytes_held
        Bytes of the matrix that are in this process, where tasks read it unless it is copied; 0:
        they read a store. By default all of them where `in_memory`.
    pictures
        Files that the picture is drawn into; 0: it is not, nor is its pass over the matrix made.
    pixels
        Of the figure.
    chunks
        Rows and columns of a chunk, where tasks read the matrix as it is stored; None: as a copy
        of it has them.
    source_chunks
        Likewise, of a lazy matrix that is copied; None: it is read from its beginning to its end.

    Raises
    ------
    MemoryLimitError
        A stage needs more memory than there is; the message says how much would do, and what
        would need less.
    """
    if matrix_bytes_held is None:
        matrix_bytes_held = shape[0] * shape[1] * itemsize if in_memory else 0
    planner = _Planner(
        spec=spec,
        shape=shape,
        itemsize=itemsize,
        resources=resources,
        in_memory=in_memory,
        ingest=ingest,
        trees=trees,
        matrix_bytes_held=matrix_bytes_held,
        pictures=pictures,
        pixels=pixels,
        chunks=chunks,
        source_chunks=source_chunks,
    )
    refuse_too_little_memory(planner.needed(), resources, planner.alternatives())
    refuse_small_workers(planner.needed_of_worker(), resources, planner.alternatives_of_worker())
    return Plan(
        shape=shape,
        in_memory=in_memory,
        stages=(*planner.before(), *planner.between(), *planner.after()),
        resources=resources,
        rates=ASSUMED_RATES,
        startup_seconds=startup_seconds(shape, resources, whole_run=not in_memory),
    ).with_rates(ASSUMED_RATES)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Planner:
    """What was asked, from which stages follow; alternatives are others of it."""

    spec: RunSpec
    shape: tuple[int, int]
    itemsize: int
    resources: Resources
    in_memory: bool
    ingest: Ingest
    trees: bool
    matrix_bytes_held: int
    pictures: int
    pixels: int
    chunks: tuple[int, int] | None
    source_chunks: tuple[int, int] | None

    @property
    def between_bytes(self) -> int:
        """Of the array by way of which a matrix that is stored by columns is copied."""
        if self.source_chunks is None:
            return 0
        target = storage_chunks(self.shape, self.itemsize)
        copy = plan_copy(
            self.shape, self.itemsize, self.source_chunks, target, self.resources.copy_bytes
        )
        return 0 if copy.between_chunks is None else self.matrix_bytes

    @property
    def matrix_bytes(self) -> int:
        return self.shape[0] * self.shape[1] * self.itemsize

    @property
    def stored_bytes(self) -> int:
        """Of the matrix, where a pass over it reads the store."""
        return 0 if self.is_matrix_in_memory else self.matrix_bytes

    @property
    def is_matrix_in_memory(self) -> bool:
        """Whether tasks read it there."""
        return self.matrix_bytes_held > 0 and not self.ingest

    @property
    def ground(self) -> Ground:
        return Ground(
            resources=self.resources,
            matrix=StoredMatrix(
                shape=self.shape,
                itemsize=self.itemsize,
                chunks=self.chunks,
                in_memory=self.is_matrix_in_memory,
            ),
            matrix_bytes_held=self.matrix_bytes_held,
        )

    def before(self) -> Iterator[StagePlan]:
        n, k = self.shape
        if self.ingest:
            from_text, between = self.ingest == "text", self.between_bytes
            yield StagePlan(
                name="ingest",
                engine="parsed stream" if from_text else "copy" if not between else "copy, twice",
                reason="tasks read slabs of it from chunks with checksums",
                tasks=1 if from_text else max(1, self.matrix_bytes // 2**25),
                bytes_read=self.matrix_bytes + between,
                bytes_written=self.matrix_bytes + between,
                scratch_bytes=between,
                footprint=ingest_footprint(self.ground, self.matrix_bytes),
                work=ingest_work(self.matrix_bytes + between, from_text=from_text),
            )
        yield StagePlan(
            name="statistics",
            engine="one pass",
            reason="mean, range and missing values of every row and column",
            tasks=-(-n // READ_BLOCK) * -(-k // READ_BLOCK),
            bytes_read=self.stored_bytes,
            footprint=statistics_footprint(self.ground),
            work=statistics_work(n * k, self.stored_bytes),
        )

    def between(self) -> Iterator[StagePlan]:
        for axis in self.axes():
            yield from axis.stages()

    def after(self) -> Iterator[StagePlan]:
        if not self.pictures:
            return
        n, k = self.shape
        yield StagePlan(
            name="downsample",
            engine="one pass",
            reason="every value is added to its pixel; nothing reordered is written",
            tasks=min(64, -(-n // READ_BLOCK)),
            bytes_read=self.stored_bytes,
            footprint=downsample_footprint(self.ground, self.pixels),
            work=downsample_work(n * k, self.stored_bytes),
        )
        leaves = sum(axis.n for axis in self.axes())
        yield StagePlan(
            name="picture",
            engine="matplotlib",
            reason="the reduced image, dendrograms and labels",
            tasks=self.pictures,
            bytes_written=0 if self.in_memory else self.pictures * _PICTURE_BYTES,
            footprint=picture_footprint(self.ground, leaves, self.pixels),
            work=picture_work(leaves, self.pictures),
        )

    def axes(self) -> list[_Axis]:
        return [
            _Axis(
                name=AXIS_NAMES[axis],
                spec=self.spec.axis(axis),
                n=self.shape[axis],
                k=self.shape[1 - axis],
                stored_bytes=self.stored_bytes,
                ground=self.ground,
                in_memory=self.in_memory,
                tree=self.trees,
            )
            for axis in (0, 1)
            if self.spec.axis(axis).cluster and self.spec.axis(axis).linkage is None
        ]

    def needed(self) -> dict[str, int]:
        """Least memory of this machine that each stage can do with."""
        needed = {s.name: s.peak_memory_bytes for s in (*self.before(), *self.after())}
        return needed | {axis.hungriest: axis.least_bytes for axis in self.axes()}

    def needed_of_worker(self) -> dict[str, int]:
        """Least memory of a worker that each stage can do with."""
        needed = {s.name: s.worker_memory_bytes for s in (*self.before(), *self.after())}
        return needed | {f"distance-{axis.name}": axis.least_worker_bytes for axis in self.axes()}

    def alternatives(self) -> Iterator[Alternative]:
        """Yield what else could be asked, and the memory it would need."""
        others = self._in_single_precision()
        resources = self.resources
        alone = replace(
            resources,
            elsewhere=False,
            threads=resources.driver_cores or resources.threads,
            worker_processes=0,
            worker_memory_bytes=None,
            worker_threads=None,
        )
        if resources.local_threads > 1:
            one = replace(alone, threads=1, driver_cores=1)
            fewer = one.with_local_workers() if resources.local_workers else one
            others["one thread (taskset -c 0)"] = replace(self, resources=fewer)
        if resources.local_workers:
            others["cluster='none'"] = replace(self, resources=alone)
        no_tree = AxisSpec(cluster=False)
        if self.spec.row.cluster:
            others["row_cluster=False"] = replace(self, spec=replace(self.spec, row=no_tree))
        if self.spec.column.cluster:
            others["col_cluster=False"] = replace(self, spec=replace(self.spec, column=no_tree))
        for change, planner in others.items():
            yield Alternative(change=change, needed_bytes=max(planner.needed().values()))

    def alternatives_of_worker(self) -> Iterator[Alternative]:
        """Yield what else could be asked, and the memory that it would need of a worker."""
        others = self._in_single_precision()
        threads, limit = self.resources.threads_per_worker, self.resources.worker_memory_bytes or 0
        for fewer in range(threads - 1, 0, -1):
            planner = replace(self, resources=replace(self.resources, worker_threads=fewer))
            if fewer == 1 or max(planner.needed_of_worker().values()) <= limit:
                name = "one thread a worker" if fewer == 1 else f"{fewer} threads a worker"
                others[name] = planner
                break
        for change, planner in others.items():
            yield Alternative(change=change, needed_bytes=max(planner.needed_of_worker().values()))

    def _in_single_precision(self) -> dict[str, _Planner]:
        if all(axis.spec.dtype == "float32" for axis in self.axes()):
            return {}
        row, column = (replace(self.spec.axis(a), dtype="float32") for a in (0, 1))
        spec = replace(self.spec, row=row, column=column)
        return {"dtype='float32'": replace(self, spec=spec)}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Axis:
    """The distances and the tree of one axis: `n` observations of `k` features."""

    name: str
    spec: AxisSpec
    n: int
    k: int
    stored_bytes: int
    ground: Ground
    in_memory: bool
    tree: bool

    @property
    def work(self) -> AxisWork:
        metric = check_metric(self.spec.metric, self.spec.method)
        matrix = self.ground.matrix
        return AxisWork(
            tile=TileWork(
                n=self.n,
                k=self.k,
                itemsize=4 if self.spec.dtype == "float32" else 8,
                engine=engine_for(metric, self.n, self.k),
                matrix=matrix if self.name == AXIS_NAMES[0] else matrix.transpose(),
            ),
            in_memory=self.in_memory,
            tree=self.tree,
            optimal_ordering=self.spec.optimal_ordering,
            small=self.n <= SMALL_OBSERVATIONS,
        )

    @property
    def held_bytes(self) -> int:
        """What is held beside the tasks, by the hungrier of the two stages."""
        return self.ground.footprint(held_bytes=self.work.held_bytes, task_bytes=0).peak_bytes

    @property
    def hungriest(self) -> str:
        return f"{'linkage' if self.tree else 'distance'}-{self.name}"

    @property
    def least_bytes(self) -> int:
        """Of this machine, with the smallest tiles."""
        work = self.work
        return least_distance_bytes(
            work.tile, self.ground.resources, self.held_bytes, is_read_back=work.is_read_back
        )

    @property
    def least_worker_bytes(self) -> int:
        """Of a worker, with the smallest tiles: half of its memory is for its tasks."""
        tasks = self.ground.resources.threads_per_worker * self.work.tile.smallest_task_bytes
        digest = self.ground.footprint(held_bytes=0, task_bytes=self.work.tile.digest_task_bytes)
        return max(2 * max(WORKER_BYTES, tasks), digest.worker_bytes)

    def stages(self) -> Iterator[StagePlan]:
        n, k, work = self.n, self.k, self.work
        metric = check_metric(self.spec.metric, self.spec.method)
        engine = engine_for(metric, n, k)
        resources = self.ground.resources
        tiling = tile_the_triangle(
            work.tile, resources, held_bytes=self.held_bytes, is_read_back=work.is_read_back
        )
        itemsize = work.tile.itemsize
        grid = TriangleGrid(n=n, tile_edge=min(tiling.tile_edge, n))
        if engine == PRECOMPUTED:
            refuse_not_square((n, k))
        # Distances that are there need no copy for a tree.
        is_written = not self.in_memory and not (engine == PRECOMPUTED and self.tree)
        tiles_bytes = grid.n_values * itemsize if is_written else 0
        # Every slab of rows meets every other and itself, after the pass for its norms.
        bytes_read = self.stored_bytes * (grid.n_edges + 1)
        yield StagePlan(
            name=f"distance-{self.name}",
            engine=f"{metric.name}, {engine}",
            reason=distance_reason(metric.name, engine, n, k),
            tasks=grid.n_tiles,
            bytes_read=bytes_read,
            bytes_written=tiles_bytes,
            footprint=distance_footprint(self.ground, work, tiling.task_bytes),
            work=distance_work(
                self.spec,
                n,
                k,
                itemsize=itemsize,
                bytes_read=bytes_read,
                tiles_bytes=tiles_bytes,
                matrix_bytes=self.stored_bytes,
            ),
            tiling=tiling,
        )
        if not self.tree:
            return
        yield StagePlan(
            name=f"linkage-{self.name}",
            engine=f"{self.spec.method}, {linkage_engine(self.spec.method, n)}",
            reason=linkage_reason(self.spec.method, n, work.square_bytes),
            tasks=1 if self.in_memory else grid.n_tiles,
            bytes_read=tiles_bytes + (self.stored_bytes if n > SMALL_OBSERVATIONS else 0),
            bytes_written=0 if self.in_memory else (n - 1) * _MERGE_BYTES,
            footprint=linkage_footprint(self.ground, work, tiling.tile_edge),
            work=linkage_work(
                self.spec,
                n,
                k,
                itemsize=itemsize,
                tiles_bytes=tiles_bytes,
                matrix_bytes=self.stored_bytes,
            ),
        )

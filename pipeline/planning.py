"""Plan: pure arithmetic from what was asked to stages, tasks, bytes and peak memory.

Nothing here reads a file or starts a task. A plan that cannot be kept is refused before anything
runs, with the least memory that would do.
"""

from __future__ import annotations

from dataclasses import dataclass

from clustergrid.pipeline.errors import MemoryLimitError
from clustergrid.pipeline.footprint import (
    AxisWork,
    Footprint,
    Ground,
    distance_footprint,
    downsample_footprint,
    ingest_footprint,
    least_distance_bytes,
    linkage_footprint,
    statistics_footprint,
)
from clustergrid.pipeline.metrics import check_metric, engine_for
from clustergrid.pipeline.resources import DescribedCluster, Resources
from clustergrid.pipeline.sizes import format_bytes, parse_bytes
from clustergrid.pipeline.spec import AXIS_NAMES, AxisSpec, RunSpec
from clustergrid.pipeline.tiling import Tiling, tile_the_triangle
from clustergrid.storage.grid import READ_BLOCK, TriangleGrid, round_up

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


@dataclass(frozen=True, slots=True, kw_only=True)
class StagePlan:
    """One stage of a plan.

    Attributes
    ----------
    name, engine
        The stage, and what does its work.
    tasks
        How many.
    bytes_read, bytes_written
        From and to the store, all tasks together.
    footprint
        Memory of the driver and of each worker.
    tiling
        How a stage of distances cuts its work.
    """

    name: str
    engine: str
    tasks: int
    bytes_read: int = 0
    bytes_written: int = 0
    footprint: Footprint
    tiling: Tiling | None = None

    @property
    def driver_memory_bytes(self) -> int:
        """Of the process that drives the run."""
        return self.footprint.driver_bytes

    @property
    def worker_memory_bytes(self) -> int:
        """Of each worker process; 0 where tasks run in the driver."""
        return self.footprint.worker_bytes

    @property
    def peak_memory_bytes(self) -> int:
        """Of this machine's whole process tree while the stage runs."""
        return self.footprint.peak_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a run would do and cost.

    Attributes
    ----------
    shape
        Rows and columns of the matrix.
    in_memory
        Whether the run stays in this process, without a scheduler.
    stages
        In their order.
    resources
        What it was planned for.
    """

    shape: tuple[int, int]
    in_memory: bool
    stages: tuple[StagePlan, ...]
    resources: Resources

    @property
    def peak_memory_bytes(self) -> int:
        """Of the hungriest stage."""
        return max(stage.peak_memory_bytes for stage in self.stages)

    @property
    def disk_bytes(self) -> int:
        """What the run leaves on disk."""
        return sum(stage.bytes_written for stage in self.stages)

    def tiling(self, axis: int) -> Tiling:
        """How the distances of the rows (0) or the columns (1) are cut."""
        name = f"distance-{AXIS_NAMES[axis]}"
        found = next(stage.tiling for stage in self.stages if stage.name == name)
        assert found is not None
        return found

    def __str__(self) -> str:
        """Return a table for people."""
        where = "stages meet in memory" if self.in_memory else "stages meet in the store"
        header = ("stage", "engine", "tasks", "reads", "writes", "peak memory")
        rows = [
            (
                stage.name,
                stage.engine,
                f"{stage.tasks:,}",
                format_bytes(stage.bytes_read),
                format_bytes(stage.bytes_written),
                format_bytes(stage.peak_memory_bytes),
            )
            for stage in self.stages
        ]
        widths = [max(len(row[c]) for row in (header, *rows)) for c in range(len(header))]
        lines = [
            "  ".join(
                cell.ljust(width) if c < 2 else cell.rjust(width)
                for c, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
            for row in (header, *rows)
        ]
        total = (
            f"{self.shape[0]:,} rows x {self.shape[1]:,} columns, {where}; "
            f"peak {format_bytes(self.peak_memory_bytes)} of "
            f"{format_bytes(self.resources.memory_bytes)}, "
            f"disk {format_bytes(self.disk_bytes)}, {self.resources.threads} threads"
        )
        return "\n".join([*lines, total])


def plan_run(
    spec: RunSpec,
    shape: tuple[int, int],
    itemsize: int,
    resources: Resources,
    *,
    in_memory: bool,
    ingest: bool,
    trees: bool = True,
    matrix_bytes_held: int | None = None,
) -> Plan:
    """Plan every stage of a run.

    Parameters
    ----------
    spec
        What was asked.
    shape, itemsize
        Of the matrix: rows, columns, bytes a value.
    resources
        What may be used.
    in_memory
        Whether the matrix and the distances stay in this process.
    ingest
        Whether the matrix has to be written to the store first.
    matrix_bytes_held
        Bytes of the matrix that are in this process; by default all of them where `in_memory`.
    trees
        Whether trees are made of the distances, which takes their square in memory.

    Raises
    ------
    MemoryLimitError
        A stage needs more memory than there is; the message says how much would do.
    """
    n, k = shape
    matrix_bytes = n * k * itemsize
    if matrix_bytes_held is None:
        matrix_bytes_held = matrix_bytes if in_memory else 0
    ground = Ground(resources=resources, matrix_bytes_held=matrix_bytes_held)
    before = [
        StagePlan(
            name="statistics",
            engine="one pass",
            tasks=-(-n // READ_BLOCK) * -(-k // READ_BLOCK),
            bytes_read=0 if in_memory else matrix_bytes,
            footprint=statistics_footprint(ground, n, k),
        )
    ]
    if ingest:
        write = StagePlan(
            name="ingest",
            engine="stream",
            tasks=max(1, matrix_bytes // 2**25),
            bytes_read=matrix_bytes,
            bytes_written=matrix_bytes,
            footprint=ingest_footprint(ground, matrix_bytes),
        )
        before.insert(0, write)
    after = StagePlan(
        name="downsample",
        engine="one pass",
        tasks=min(64, -(-n // READ_BLOCK)),
        bytes_read=0 if in_memory else matrix_bytes,
        footprint=downsample_footprint(ground, n, k),
    )
    axes = [
        _Axis(
            name=AXIS_NAMES[axis],
            spec=spec.axis(axis),
            n=shape[axis],
            k=shape[1 - axis],
            ground=ground,
            in_memory=in_memory,
            tree=trees,
        )
        for axis in (0, 1)
        if spec.axis(axis).cluster and spec.axis(axis).linkage is None
    ]
    needed = {stage.name: stage.peak_memory_bytes for stage in (*before, after)}
    needed |= {axis.hungriest: axis.least_bytes for axis in axes}
    _refuse_too_large(needed, resources)
    between = [stage for axis in axes for stage in axis.stages()]
    stages = (*before, *between, after)
    return Plan(shape=shape, in_memory=in_memory, stages=stages, resources=resources)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Axis:
    """The distances and the tree of one axis: `n` observations of `k` features."""

    name: str
    spec: AxisSpec
    n: int
    k: int
    ground: Ground
    in_memory: bool
    tree: bool

    @property
    def work(self) -> AxisWork:
        return AxisWork(
            n=self.n,
            k=self.k,
            itemsize=4 if self.spec.dtype == "float32" else 8,
            in_memory=self.in_memory,
            tree=self.tree,
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
        threads = self.ground.resources.local_threads
        return least_distance_bytes(self.n, self.k, self.work.itemsize, threads, self.held_bytes)

    def stages(self) -> list[StagePlan]:
        n, k, work = self.n, self.k, self.work
        metric = check_metric(self.spec.metric, self.spec.method)
        tiling = tile_the_triangle(
            n, k, work.itemsize, self.ground.resources, held_bytes=self.held_bytes
        )
        grid = TriangleGrid(n=n, tile_edge=tiling.tile_edge)
        slab = min(tiling.tile_edge, n) * work.itemsize
        tiles_bytes = 0 if self.in_memory else grid.n_tiles * min(tiling.tile_edge, n) * slab
        distance = StagePlan(
            name=f"distance-{self.name}",
            engine=f"{metric.name}, {engine_for(metric, n, k)}",
            tasks=grid.n_tiles,
            bytes_read=0 if self.in_memory else 2 * grid.n_tiles * slab * k,
            bytes_written=tiles_bytes,
            footprint=distance_footprint(self.ground, work, tiling.task_bytes),
            tiling=tiling,
        )
        if not self.tree:
            return [distance]
        linkage = StagePlan(
            name=f"linkage-{self.name}",
            engine=f"{self.spec.method}, in memory",
            tasks=1,
            bytes_read=tiles_bytes,
            bytes_written=(n - 1) * 32,
            footprint=linkage_footprint(self.ground, work, tiling.task_bytes),
        )
        return [distance, linkage]


def _refuse_too_large(needed: dict[str, int], resources: Resources) -> None:
    """Refuse when a stage needs more memory than there is, and say how much would do."""
    limit = resources.memory_bytes
    stage = max(needed, key=lambda name: needed[name])
    if needed[stage] <= limit:
        return
    # Rounded up to the three digits that the message shows.
    digit = 10 ** max(0, len(str(needed[stage])) - 3)
    enough = round_up(needed[stage], digit)
    square = stage.startswith("linkage")
    reason = ": the square matrix of its distances is held in memory" if square else ""
    advice = "use float32 (dtype='float32'), or cluster fewer observations"
    raise MemoryLimitError(
        f"the stage {stage} needs {format_bytes(enough)} with {resources.threads} threads, and the "
        f"run may use {format_bytes(limit)}{reason}. memory={format_bytes(enough)!r} would do. "
        f"Give that much{', ' + advice if square else ', or use fewer threads'}.",
        needed_bytes=enough,
        limit_bytes=limit,
    )

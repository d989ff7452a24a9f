"""Plan: pure arithmetic from what was asked to stages, tasks, bytes and peak memory.

Nothing here reads a file or starts a task. A plan that cannot be kept is refused before anything
runs, with the least memory that would do.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from clustergrid.pipeline.errors import MemoryLimitError
from clustergrid.pipeline.metrics import check_metric, engine_for
from clustergrid.pipeline.spec import AXIS_NAMES, AxisSpec, RunSpec
from clustergrid.storage.grid import BLOCK_FEATURES, BLOCK_ROWS, READ_BLOCK, TriangleGrid, round_up

__all__ = [
    "Plan",
    "Resources",
    "StagePlan",
    "Tiling",
    "format_bytes",
    "parse_bytes",
    "plan_run",
    "tile_the_triangle",
]

_LARGEST_EDGE = 4096
_MOST_TASKS = 50_000
_OVERHEAD_BYTES = 250_000_000
"""What the interpreter and the libraries weigh."""

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_BINARY_UNITS = {"ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}


def parse_bytes(text: str | int) -> int:
    """Read a size as people write it.

    Raises
    ------
    ValueError
        It is not a positive size.

    Examples
    --------
    >>> parse_bytes("8GB"), parse_bytes("1.5 GiB"), parse_bytes(1000)
    (8000000000, 1610612736, 1000)
    """
    if isinstance(text, int) and not isinstance(text, bool) and text > 0:
        return text
    match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*([kmgt]i?|)b?\s*", str(text).lower())
    size = float(match[1]) * {**_UNITS, **_BINARY_UNITS}[match[2]] if match else 0.0
    if size < 1:
        raise ValueError(f"not a size in bytes: {text!r}. Write it like '8GB' or '512MiB'")
    return round(size)


def format_bytes(size: float) -> str:
    """Write a size as people read it.

    Examples
    --------
    >>> format_bytes(3_149_000_000), format_bytes(512)
    ('3.15 GB', '512 B')
    """
    for unit in ("B", "kB", "MB", "GB"):
        if size < 999.5:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB" if size < 999.5 else f"{size:.0f} TB"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What a run may use.

    Attributes
    ----------
    memory_bytes
        Of this machine, by the whole local process tree.
    threads
        Tasks that run at once.
    task_bytes
        Most that one task may take, where tasks run on other machines; None where they run here
        and share `memory_bytes`.
    """

    memory_bytes: int
    threads: int
    task_bytes: int | None = None

    def __post_init__(self) -> None:
        if self.memory_bytes <= 0 or self.threads <= 0:
            raise ValueError(
                f"memory and threads must be positive, got {self.memory_bytes} bytes and "
                f"{self.threads} threads"
            )
        if self.task_bytes is not None and self.task_bytes <= 0:
            raise ValueError(f"memory of a task must be positive, got {self.task_bytes} bytes")

    @property
    def local_threads(self) -> int:
        """Tasks that run at once in the memory of this machine."""
        return self.threads if self.task_bytes is None else 0


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
    needed = _least_bytes(n, k, itemsize, resources.local_threads, held_bytes)
    _refuse_too_large({"distance": needed}, resources)
    budget = resources.task_bytes
    if budget is None:
        left = resources.memory_bytes - held_bytes
        budget = min(resources.memory_bytes // 2, left) // resources.threads
    smallest = _task_bytes(min(BLOCK_ROWS, n), min(BLOCK_FEATURES, k), itemsize)
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
    while features < k and _task_bytes(edge, 2 * features, itemsize) <= budget:
        features *= 2
    return Tiling(
        tile_edge=edge,
        features_at_once=features,
        task_bytes=_task_bytes(min(edge, n), min(features, k), itemsize),
    )


def _least_bytes(n: int, k: int, itemsize: int, threads: int, held_bytes: int) -> int:
    """Memory with which the smallest tiles fit: in half of it, and beside what is held."""
    smallest = threads * _task_bytes(min(BLOCK_ROWS, n), min(BLOCK_FEATURES, k), itemsize)
    return max(2 * smallest, held_bytes + smallest)


def _task_bytes(edge: int, features: int, itemsize: int) -> int:
    """Sum the tile, its flags and what its write holds; two operands and a block of values."""
    return edge * edge * (2 * itemsize + 2) + 2 * edge * features * (itemsize + 8)


def _is_worth_doubling(
    edge: int, n: int, k: int, itemsize: int, resources: Resources, budget: int
) -> bool:
    tasks_now = TriangleGrid(n=n, tile_edge=edge).n_tiles
    tasks_then = TriangleGrid(n=n, tile_edge=2 * edge).n_tiles
    fits = _task_bytes(2 * edge, min(BLOCK_FEATURES, k), itemsize) <= budget
    return fits and (tasks_now > _MOST_TASKS or tasks_then >= 16 * resources.threads)


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
    peak_memory_bytes
        Of this machine's processes while the stage runs.
    tiling
        How a stage of distances cuts its work.
    """

    name: str
    engine: str
    tasks: int
    bytes_read: int = 0
    bytes_written: int = 0
    peak_memory_bytes: int
    tiling: Tiling | None = None


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
    held = _OVERHEAD_BYTES + matrix_bytes_held
    block_bytes = max(1, resources.local_threads) * 4 * min(n, READ_BLOCK) * min(k, READ_BLOCK) * 8
    n_blocks = -(-n // READ_BLOCK) * -(-k // READ_BLOCK)
    # Seven statistics of every row in every block of columns, and of every column likewise.
    partial_bytes = 2 * 56 * (n * -(-k // READ_BLOCK) + k * -(-n // READ_BLOCK))
    before = [
        StagePlan(
            name="statistics",
            engine="one pass",
            tasks=n_blocks,
            bytes_read=0 if in_memory else matrix_bytes,
            peak_memory_bytes=held + block_bytes + partial_bytes,
        )
    ]
    if ingest:
        write = StagePlan(
            name="ingest",
            engine="stream",
            tasks=max(1, matrix_bytes // 2**25),
            bytes_read=matrix_bytes,
            bytes_written=matrix_bytes,
            peak_memory_bytes=held + 2 * max(1, resources.local_threads) * min(matrix_bytes, 2**26),
        )
        before.insert(0, write)
    after = StagePlan(
        name="downsample",
        engine="one pass",
        tasks=min(64, -(-n // READ_BLOCK)),
        bytes_read=0 if in_memory else matrix_bytes,
        peak_memory_bytes=held + block_bytes,
    )
    axes = [
        _Axis(
            name=AXIS_NAMES[axis],
            spec=spec.axis(axis),
            n=shape[axis],
            k=shape[1 - axis],
            threads=resources.local_threads,
            base_bytes=held,
            in_memory=in_memory,
            tree=trees,
        )
        for axis in (0, 1)
        if spec.axis(axis).cluster and spec.axis(axis).linkage is None
    ]
    needed = {stage.name: stage.peak_memory_bytes for stage in (*before, after)}
    needed |= {axis.hungriest: axis.least_bytes for axis in axes}
    _refuse_too_large(needed, resources)
    between = [stage for axis in axes for stage in axis.stages(resources)]
    stages = (*before, *between, after)
    return Plan(shape=shape, in_memory=in_memory, stages=stages, resources=resources)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Axis:
    """The distances and the tree of one axis: `n` observations of `k` features."""

    name: str
    spec: AxisSpec
    n: int
    k: int
    threads: int
    base_bytes: int
    in_memory: bool
    tree: bool

    @property
    def itemsize(self) -> int:
        return 4 if self.spec.dtype == "float32" else 8

    @property
    def square_bytes(self) -> int:
        return self.n * self.n * self.itemsize

    @property
    def held_bytes(self) -> int:
        """What is held beside the tasks, by the hungrier of the two stages."""
        square = self.square_bytes if self.in_memory or self.tree else 0
        return self.base_bytes + square + (200 * self.n if self.tree else 0)

    @property
    def hungriest(self) -> str:
        return f"{'linkage' if self.tree else 'distance'}-{self.name}"

    @property
    def least_bytes(self) -> int:
        return _least_bytes(self.n, self.k, self.itemsize, self.threads, self.held_bytes)

    def stages(self, resources: Resources) -> list[StagePlan]:
        n, k = self.n, self.k
        metric = check_metric(self.spec.metric, self.spec.method)
        tiling = tile_the_triangle(n, k, self.itemsize, resources, held_bytes=self.held_bytes)
        grid = TriangleGrid(n=n, tile_edge=tiling.tile_edge)
        slab = min(tiling.tile_edge, n) * self.itemsize
        tiles_bytes = 0 if self.in_memory else grid.n_tiles * min(tiling.tile_edge, n) * slab
        in_flight = self.threads * tiling.task_bytes
        square = self.square_bytes if self.in_memory else 0
        distance = StagePlan(
            name=f"distance-{self.name}",
            engine=f"{metric.name}, {engine_for(metric, n, k)}",
            tasks=grid.n_tiles,
            bytes_read=0 if self.in_memory else 2 * grid.n_tiles * slab * k,
            bytes_written=tiles_bytes,
            peak_memory_bytes=self.base_bytes + in_flight + square,
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
            peak_memory_bytes=self.held_bytes + (0 if self.in_memory else in_flight),
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

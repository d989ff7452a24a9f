"""Plan: pure arithmetic from what was asked to stages, tasks, bytes, peak memory and seconds.

Nothing here reads a file or starts a task. A plan that cannot be kept is refused before anything
runs, with the least memory that would do, and what else would (`refusal.py`). What a stage holds
is in `footprint.py`, how long it takes in `estimate.py`, and what comes of it all is a `Plan`
(`planned.py`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

from clustergrid.pipeline.axis_plan import AxisPlanner
from clustergrid.pipeline.estimate import (
    ASSUMED_RATES,
    downsample_work,
    ingest_work,
    picture_work,
    startup_seconds,
    statistics_work,
)
from clustergrid.pipeline.footprint import (
    Ground,
    ingest_footprint,
    statistics_footprint,
)
from clustergrid.pipeline.picture_memory import (
    downsample_footprint,
    image_tasks,
    picture_footprint,
)
from clustergrid.pipeline.planned import Plan, StagePlan
from clustergrid.pipeline.refusal import (
    Alternative,
    refuse_small_workers,
    refuse_too_little_memory,
)
from clustergrid.pipeline.reordered_plan import reordered_stages
from clustergrid.pipeline.resources import DescribedCluster, Resources
from clustergrid.pipeline.sizes import format_bytes, parse_bytes
from clustergrid.pipeline.spec import AXIS_NAMES, AxisSpec, RunSpec
from clustergrid.pipeline.tile_memory import StoredMatrix
from clustergrid.pipeline.tiling import (
    Tiling,
    tile_the_triangle,
)
from clustergrid.pipeline.tree_engine import grows_from_rows
from clustergrid.storage.grid import READ_BLOCK
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

DEFAULT_PIXELS = 1500 * 1500
"""Of seaborn's 10 x 10 inches at 150 dots an inch."""

_PICTURE_BYTES = 5_000_000
"""Of one file with its figure, and the performance reports beside it."""

Ingest = bool | Literal["text"]
Reordered = Literal["matrix", "pyramid"]
"""Written in clustered order: the matrix, or also levels of lower resolution."""


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
    aggregate: str = "mean",
    reordered: Reordered | None = None,
    chunks: tuple[int, int] | None = None,
    source_chunks: tuple[int, int] | None = None,
    is_boolean: bool = False,
    is_floating: bool = True,
    n_stored: int | None = None,
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
    aggregate
        What a pixel shows of its cells, of `clustergrid.pipeline.image_plan.AGGREGATES`.
    reordered
        Whether the matrix is also written in clustered order, and its pyramid.
    chunks
        Rows and columns of a chunk, where tasks read the matrix as it is stored; None: as a copy
        of it has them.
    source_chunks
        Likewise, of a lazy matrix that is copied; None: it is read from its beginning to its end.
    is_boolean, is_floating
        Whether the matrix holds booleans, and whether floating-point numbers.
    n_stored
        Values that a sparse matrix stores; None of a dense one.

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
        aggregate=aggregate,
        reordered=reordered,
        chunks=chunks,
        source_chunks=source_chunks,
        is_boolean=is_boolean,
        is_floating=is_floating,
        n_stored=n_stored,
    )
    refuse_too_little_memory(planner.needed(), resources, planner.alternatives(), planner.holding())
    refuse_small_workers(planner.needed_of_worker(), resources, planner.alternatives_of_worker())
    return Plan(
        shape=shape,
        in_memory=in_memory,
        stages=(*planner.before(), *planner.between(), *planner.after()),
        resources=resources,
        rates=ASSUMED_RATES,
        startup_seconds=startup_seconds(shape, resources, whole_run=not in_memory),
        notes=tuple(planner.notes()),
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
    aggregate: str
    reordered: Reordered | None
    chunks: tuple[int, int] | None
    source_chunks: tuple[int, int] | None
    is_boolean: bool
    is_floating: bool
    n_stored: int | None

    @property
    def between_bytes(self) -> int:
        """Of the array by way of which a matrix that is stored by columns is copied."""
        if self.source_chunks is None or self.n_stored is not None:
            return 0
        target = storage_chunks(self.shape, self.itemsize)
        copy = plan_copy(
            self.shape, self.itemsize, self.source_chunks, target, self.resources.copy_bytes
        )
        return 0 if copy.between_chunks is None else self.matrix_bytes

    @property
    def matrix_bytes(self) -> int:
        """Of the matrix at rest; of a sparse one, of its values, columns and pointers."""
        if self.n_stored is not None:
            return self.n_stored * (self.itemsize + 4) + 8 * (self.shape[0] + 1)
        return self.shape[0] * self.shape[1] * self.itemsize

    @property
    def scratch_bytes(self) -> int:
        """Of what the copy of the matrix goes by way of."""
        if self.n_stored is not None:
            return self.n_stored * (self.itemsize + 12)
        return self.between_bytes

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
                n_stored=self.n_stored,
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
                scratch_bytes=self.scratch_bytes,
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
        if self.pictures:
            yield from self._picture()
        if self.reordered is not None:
            yield from reordered_stages(
                self.ground,
                self.stored_bytes,
                self.reordered_itemsize,
                level_itemsize=4 if self.is_floating and self.itemsize <= 4 else 8,
                pyramid=self.reordered == "pyramid",
            )

    def _picture(self) -> Iterator[StagePlan]:
        yield self._downsample()
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

    def _downsample(self) -> StagePlan:
        n, k = self.shape
        are_single = self.itemsize == 4 and self.is_floating and not self.is_normalized
        tasks, reads = image_tasks(self.ground, self.pixels, self.aggregate, are_single=are_single)
        what = {"mean": "added to", "median": "held for"}.get(self.aggregate, "compared with")
        return StagePlan(
            name="downsample",
            engine="one pass" if reads == 1 else f"{reads} passes",
            reason=f"every value is {what} its pixel; nothing reordered is written",
            tasks=tasks,
            bytes_read=reads * self.stored_bytes,
            footprint=downsample_footprint(
                self.ground, self.pixels, self.aggregate, are_single=are_single
            ),
            work=downsample_work(reads * n * k, reads * self.stored_bytes),
        )

    def axes(self) -> list[AxisPlanner]:
        return [
            AxisPlanner(
                name=AXIS_NAMES[axis],
                spec=self.spec.axis(axis),
                n=self.shape[axis],
                k=self.shape[1 - axis],
                stored_bytes=self.stored_bytes,
                ground=self.ground,
                in_memory=self.in_memory,
                tree=self.trees,
                is_boolean=self.is_boolean and not self.is_normalized,
                is_normalized=self.is_normalized,
            ).decided
            for axis in (0, 1)
            if self.spec.axis(axis).cluster and self.spec.axis(axis).linkage is None
        ]

    @property
    def reordered_itemsize(self) -> int:
        """Bytes of a value that is written in clustered order."""
        return 8 if self.is_normalized and not self.is_floating else self.itemsize

    @property
    def is_normalized(self) -> bool:
        return self.spec.z_score is not None or self.spec.standard_scale is not None

    def needed(self) -> dict[str, int]:
        """Least memory of this machine that each stage can do with."""
        axes = [axis.settled for axis in self.axes()]
        ranks = [stage for axis in axes for stage in axis.rank_stages()]
        needed = {s.name: s.peak_memory_bytes for s in (*self.before(), *ranks, *self.after())}
        return needed | {axis.hungriest: axis.least_bytes for axis in axes}

    def needed_of_worker(self) -> dict[str, int]:
        """Least memory of a worker that each stage can do with."""
        needed = {s.name: s.worker_memory_bytes for s in (*self.before(), *self.after())}
        return needed | {axis.tiled: axis.least_worker_bytes for axis in self.axes()}

    def notes(self) -> Iterator[str]:
        """Say where the memory decided what a tree is made from."""
        for axis in self.axes():
            if axis.tree and axis.is_in_stead:
                yield (
                    f"linkage-{axis.name}: engine {axis.tree_engines[0]} does not fit the memory; "
                    f"engine {axis.tree_engine} takes its place"
                )

    def holding(self) -> dict[str, str]:
        """Say in words what the hungriest stage of each axis holds."""
        return {axis.hungriest: axis.holding for axis in self.axes()}

    def alternatives(self) -> Iterator[Alternative]:
        """Yield what else could be asked, and the memory it would need."""
        others = self._in_single_precision() | self._by_other_engines()
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
        if self.pictures and self.aggregate == "median":
            others["aggregate='mean'"] = replace(self, aggregate="mean")
        if self.reordered is not None:
            others["no reordered matrix"] = replace(self, reordered=None)
        if any(axis.spec.optimal_ordering for axis in self.axes()):
            others["optimal_ordering=False"] = self._with_axes(optimal_ordering=False)
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
        return {"dtype='float32'": self._with_axes(dtype="float32")}

    def _with_axes(self, **changes: Any) -> _Planner:
        row, column = (replace(self.spec.axis(a), **changes) for a in (0, 1))
        return replace(self, spec=replace(self.spec, row=row, column=column))

    def _by_other_engines(self) -> dict[str, _Planner]:
        """Trees of other engines, where these can be made; and unordered leaves."""
        others = {}
        axes = {axis.name: axis for axis in self.axes()}
        able = {
            name
            for name, axis in axes.items()
            if axis.tree
            and axis.tree_engine != "data"
            and grows_from_rows(axis.spec.method, axis.spec.found_metric.name)
        }

        def changed(names: Collection[str], **changes: Any) -> _Planner:
            row, column = (
                replace(self.spec.axis(a), **changes)
                if AXIS_NAMES[a] in names
                else self.spec.axis(a)
                for a in (0, 1)
            )
            return replace(self, spec=replace(self.spec, row=row, column=column))

        if able:
            prefix = "" if len(able) == len(axes) else f"{min(able)}_"
            others[f"{prefix}engine='data'"] = changed(able, engine="data")
        if any(axis.spec.optimal_ordering for axis in axes.values()):
            others["optimal_ordering=False"] = changed(AXIS_NAMES, optimal_ordering=False)
        return others

"""Plan: what comes of planning: stages with their engines, tasks, bytes, memory and seconds."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from clustergrid.pipeline.estimate import MachineRates, StageWork, estimate_seconds
from clustergrid.pipeline.footprint import Footprint
from clustergrid.pipeline.hierarchy.limits import Limits
from clustergrid.pipeline.plan_table import plan_table
from clustergrid.pipeline.resources import Resources
from clustergrid.pipeline.spec import AXIS_NAMES
from clustergrid.pipeline.tiling import Tiling
from clustergrid.pipeline.tree_passes import Passes

__all__ = ["Plan", "StagePlan"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StagePlan:
    """One stage of a plan.

    Attributes
    ----------
    name, engine, reason
        The stage, what does its work, and why that.
    tasks
        How many.
    bytes_read, bytes_written
        From and to the store, all tasks together.
    scratch_bytes
        Of what is written: removed when the stage ends, or one that needs it. All else stays.
    earlier_scratch_bytes
        That an earlier stage wrote, and that is removed when this one ends.
    footprint
        Memory of the driver and of each worker.
    work
        What it has to do, for the estimate.
    seconds
        How long that takes, about.
    tiling
        How a stage of distances cuts its work.
    made_from
        The engine of a tree, of `clustergrid.pipeline.tree_engine.ENGINES_OF_ROWS`; else empty.
    limits
        What the rounds of a tree from rows may use.
    rows_at_rest
        Whether these rows are put at rest, since they do not fit the memory.
    tree_bytes
        Likewise of a tree from tiles, beside what the process holds; 0 of others.
    passes
        How often such trees compute, or read, all distances; None of others.
    """

    name: str
    engine: str
    reason: str
    tasks: int
    bytes_read: int = 0
    bytes_written: int = 0
    scratch_bytes: int = 0
    earlier_scratch_bytes: int = 0
    footprint: Footprint
    work: StageWork
    seconds: float = 0.0
    tiling: Tiling | None = None
    made_from: str = ""
    limits: Limits | None = None
    rows_at_rest: bool = False
    tree_bytes: int = 0
    passes: Passes | None = None

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

    @property
    def disk_bytes(self) -> int:
        """What it leaves in the store."""
        return self.bytes_written - self.scratch_bytes

    @property
    def passing_disk_bytes(self) -> int:
        """What is in the store while it runs, besides what stages leave there."""
        return self.scratch_bytes + self.earlier_scratch_bytes

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {
            "name": self.name,
            "engine": self.engine,
            "reason": self.reason,
            "tasks": self.tasks,
            "bytes_read": self.bytes_read,
            "bytes_written": self.bytes_written,
            "disk_bytes": self.disk_bytes,
            "scratch_bytes": self.scratch_bytes,
            "driver_memory_bytes": self.driver_memory_bytes,
            "worker_memory_bytes": self.worker_memory_bytes,
            "peak_memory_bytes": self.peak_memory_bytes,
            "seconds": self.seconds,
            "tiling": None if self.tiling is None else asdict(self.tiling),
            "made_from": self.made_from,
            "passes": None if self.passes is None else asdict(self.passes),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a run would do and cost.

    Attributes
    ----------
    shape
        Rows and columns of the matrix.
    in_memory
        Whether the run stays in this process, without a store.
    stages
        In their order.
    resources
        What it was planned for.
    rates
        What the seconds were estimated with.
    startup_seconds
        Before the first stage: libraries, the compiler, worker processes.
    notes
        Lines about what the plan assumes.
    """

    shape: tuple[int, int]
    in_memory: bool
    stages: tuple[StagePlan, ...]
    resources: Resources
    rates: MachineRates
    startup_seconds: float = 0.0
    notes: tuple[str, ...] = ()

    @property
    def peak_memory_bytes(self) -> int:
        """Of the hungriest stage, on this machine."""
        return max(stage.peak_memory_bytes for stage in self.stages)

    @property
    def driver_memory_bytes(self) -> int:
        """Of the process that drives the run."""
        return max(stage.driver_memory_bytes for stage in self.stages)

    @property
    def worker_memory_bytes(self) -> int:
        """Of each worker process; 0 where tasks run in the driver."""
        return max(stage.worker_memory_bytes for stage in self.stages)

    @property
    def disk_bytes(self) -> int:
        """What the run leaves on disk."""
        return sum(stage.disk_bytes for stage in self.stages)

    @property
    def peak_disk_bytes(self) -> int:
        """Most that the run has on disk at once."""
        stages = self.stages
        return max(
            sum(stage.disk_bytes for stage in stages[: i + 1]) + stages[i].passing_disk_bytes
            for i in range(len(stages))
        )

    @property
    def seconds(self) -> float:
        """Of the whole run, about."""
        return self.startup_seconds + sum(stage.seconds for stage in self.stages)

    def tiling(self, axis: int) -> Tiling:
        """How the distances of the rows (0) or the columns (1) are cut."""
        names = [f"{stage}-{AXIS_NAMES[axis]}" for stage in ("distance", "linkage")]
        return next(
            stage.tiling
            for stage in self.stages
            if stage.name in names and stage.tiling is not None
        )

    def tree(self, axis: int) -> StagePlan | None:
        """Return the stage of the tree of the rows (0) or columns (1); None if none is made."""
        name = f"linkage-{AXIS_NAMES[axis]}"
        return next((stage for stage in self.stages if stage.name == name), None)

    def limits(self, axis: int) -> Limits | None:
        """Say what the rounds of a tree of the rows (0) or columns (1) may use, if it has any."""
        tree = self.tree(axis)
        return None if tree is None else tree.limits

    def with_rates(self, rates: MachineRates) -> Plan:
        """Return the same plan, its seconds estimated anew."""

        def timed(stage: StagePlan) -> StagePlan:
            seconds = estimate_seconds(stage.work, stage.tasks, rates, self.resources)
            return replace(stage, seconds=round(seconds, 3))

        return replace(self, rates=rates, stages=tuple(timed(stage) for stage in self.stages))

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        totals = (
            "peak_memory_bytes",
            "driver_memory_bytes",
            "worker_memory_bytes",
            "disk_bytes",
            "peak_disk_bytes",
        )
        return {
            "shape": list(self.shape),
            "in_memory": self.in_memory,
            "resources": asdict(self.resources),
            "stages": [stage.as_dict() for stage in self.stages],
            **{name: getattr(self, name) for name in totals},
            "startup_seconds": self.startup_seconds,
            "seconds": round(self.seconds, 3),
            "rates": asdict(self.rates),
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        """Return a table for people."""
        return plan_table(self)

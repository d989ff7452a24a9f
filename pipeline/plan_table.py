"""Plan: a plan as a table for people, at most 100 columns wide."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from clustergrid.pipeline.sizes import format_bytes, format_seconds

if TYPE_CHECKING:
    from clustergrid.pipeline.planned import Plan, StagePlan

__all__ = ["plan_table"]

_LEFT = 2
"""Columns of words, before those of numbers."""


def plan_table(plan: Plan) -> str:
    """Write a table of the stages, the reasons for their engines, and what all of it costs.

    Parameters
    ----------
    plan
        The plan.
    """
    with_workers = any(stage.worker_memory_bytes for stage in plan.stages)
    header = ["stage", "engine", "tasks", "reads", "writes", "driver"]
    header += ["each worker"] * with_workers + ["seconds"]
    rows = [header, *(_cells(stage, with_workers) for stage in plan.stages)]
    return "\n".join(
        [
            *_columns(rows),
            "",
            *_reasons(plan),
            "",
            *_total(plan),
            *plan.notes,
        ]
    )


def _cells(stage: StagePlan, with_workers: bool) -> list[str]:
    worker = format_bytes(stage.worker_memory_bytes) if stage.worker_memory_bytes else "-"
    return [
        stage.name,
        stage.engine,
        f"{stage.tasks:,}",
        format_bytes(stage.bytes_read),
        format_bytes(stage.bytes_written),
        format_bytes(stage.driver_memory_bytes),
        *([worker] * with_workers),
        format_seconds(stage.seconds),
    ]


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[c]) for row in rows) for c in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(width) if c < _LEFT else cell.rjust(width)
            for c, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]


def _reasons(plan: Plan) -> list[str]:
    width = max(len(stage.name) for stage in plan.stages)
    return [f"{stage.name.ljust(width)}  {stage.reason}" for stage in plan.stages]


def _disk(plan: Plan) -> str:
    text = f"{format_bytes(plan.disk_bytes)} of disk"
    if plan.peak_disk_bytes == plan.disk_bytes:
        return text
    return f"{text}, {format_bytes(plan.peak_disk_bytes)} at times"


def _total(plan: Plan) -> list[str]:
    resources = plan.resources
    threads = f"{resources.threads:,} thread{'s' if resources.threads > 1 else ''}"
    workers = resources.worker_processes
    if workers:
        threads += f" in {workers:,} worker process{'es' if workers > 1 else ''}"
    where = "in memory" if plan.in_memory else "in the store"
    elsewhere = " of the driver's machine" if resources.elsewhere else ""
    rates = "measured here" if plan.rates.measured else "assumed, of a slow machine"
    return [
        f"{plan.shape[0]:,} rows x {plan.shape[1]:,} columns, {threads}; stages meet {where}",
        f"peak {format_bytes(plan.peak_memory_bytes)} of {format_bytes(resources.memory_bytes)} "
        f"memory{elsewhere}, {_disk(plan)}",
        f"about {format_seconds(plan.seconds)}, {format_seconds(plan.startup_seconds)} of it to "
        f"start (rates {rates})",
    ]

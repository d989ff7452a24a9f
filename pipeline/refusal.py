"""Plan: refusals of plans that cannot be kept, with what would do."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from clustergrid.pipeline.errors import DiskSpaceError, MemoryLimitError
from clustergrid.pipeline.resources import Resources
from clustergrid.pipeline.sizes import format_bytes
from clustergrid.storage.grid import round_up

if TYPE_CHECKING:
    from clustergrid.pipeline.planned import Plan

__all__ = [
    "Alternative",
    "refuse_small_workers",
    "refuse_too_little_disk",
    "refuse_too_little_memory",
    "rounded_up",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative:
    """Something else that could be asked, and the bytes that it would need.

    Attributes
    ----------
    change
        What to ask instead, as an argument.
    needed_bytes
        With that change.
    """

    change: str
    needed_bytes: int


def refuse_too_little_memory(
    needed: Mapping[str, int],
    resources: Resources,
    alternatives: Iterable[Alternative],
    holding: Mapping[str, str],
) -> None:
    """Refuse when a stage needs more memory than there is, and say what would do.

    Parameters
    ----------
    needed
        Bytes that each stage needs on this machine.
    resources
        What there is.
    alternatives
        What else could be asked; looked at only where the plan is refused.
    holding
        What stages hold in memory, in words, where that is why they need so much.

    Raises
    ------
    MemoryLimitError
        A stage needs more than there is.
    """
    limit = resources.memory_bytes
    stage = max(needed, key=lambda name: needed[name])
    if needed[stage] <= limit:
        return
    enough = rounded_up(needed[stage])
    reason = f": {holding[stage]}" if holding.get(stage) else ""
    raise MemoryLimitError(
        f"the stage {stage} needs {format_bytes(enough)}{_with(resources)}, and the run may use "
        f"{format_bytes(limit)}{reason}. memory={format_bytes(enough)!r} would do"
        f"{_others(alternatives, needed[stage], limit)}.",
        needed_bytes=enough,
        limit_bytes=limit,
    )


def refuse_small_workers(
    needed: Mapping[str, int], resources: Resources, alternatives: Iterable[Alternative]
) -> None:
    """Refuse workers that have too little memory for their tasks, and say what would do.

    Parameters
    ----------
    needed
        Bytes that each stage needs of a worker.
    resources
        What there is.
    alternatives
        What else could be asked; looked at only where the plan is refused.

    Raises
    ------
    MemoryLimitError
        A stage needs more than the worker with the least memory has.
    """
    limit = resources.worker_memory_bytes
    stage = max(needed, key=lambda name: needed[name])
    if limit is None or needed[stage] <= limit:
        return
    enough, threads = rounded_up(needed[stage]), resources.threads_per_worker
    raise MemoryLimitError(
        f"the stage {stage} needs {format_bytes(enough)} in a worker, and there is one of "
        f"{format_bytes(limit)} with {threads} thread{'s' if threads > 1 else ''}. Workers of "
        f"{format_bytes(enough)} would do{_others(alternatives, needed[stage], limit)}.",
        needed_bytes=enough,
        limit_bytes=limit,
    )


def _with(resources: Resources) -> str:
    threads = resources.local_threads
    if not threads:
        return " on the driver's machine"
    return f" with {threads} thread{'s' if threads > 1 else ''}"


def _others(alternatives: Iterable[Alternative], needed_bytes: int, limit_bytes: int) -> str:
    """List what needs less, and whether it is little enough."""
    told = [
        f"{other.change} needs {format_bytes(rounded_up(other.needed_bytes))}"
        f" ({'that fits' if rounded_up(other.needed_bytes) <= limit_bytes else 'still too much'})"
        for other in alternatives
        # What saves next to nothing is no alternative.
        if other.needed_bytes < 0.99 * needed_bytes
    ]
    return "; or: " + ", ".join(told) if told else ""


def rounded_up(size: int) -> int:
    """Round up to the three digits that a message shows."""
    return round_up(size, 10 ** max(0, len(str(size)) - 3))


def refuse_too_little_disk(
    plan: Plan, *, free_bytes: int, kept_bytes: Mapping[str, int], path: str
) -> None:
    """Refuse when a file system has no room for what a run still has to write.

    Parameters
    ----------
    plan
        What the run will write.
    free_bytes
        Of the file system.
    kept_bytes
        What each stage has there already, by its name: it is kept, or goes before it is replaced.
    path
        A directory of the file system.

    Raises
    ------
    DiskSpaceError
        There is too little; the message says how much would do, and what would need less.
    """
    still = {s.name: max(0, s.disk_bytes - kept_bytes.get(s.name, 0)) for s in plan.stages}
    # What a stage writes besides, and removes, need not be there with what later stages write.
    besides = {
        s.name: max(0, s.disk_bytes + s.passing_disk_bytes - kept_bytes.get(s.name, 0))
        - still[s.name]
        for s in plan.stages
    }
    needed = _most_at_once(still, besides)
    if needed <= free_bytes:
        return
    enough = rounded_up(needed)
    largest = max(still, key=lambda name: still[name] + besides[name])
    share = still[largest] + besides[largest]
    raise DiskSpaceError(
        f"the run still writes {format_bytes(enough)} to {path} ({format_bytes(share)} of "
        f"it in the stage {largest}), and {format_bytes(free_bytes)} are free there. Free that "
        "much, or name a directory on a file system that has it"
        f"{_others(_disk_alternatives(plan, still, besides), needed, free_bytes)}.",
        needed_bytes=enough,
        free_bytes=free_bytes,
        path=path,
    )


def _most_at_once(still: Mapping[str, int], besides: Mapping[str, int]) -> int:
    """Bytes that are there at most, of stages one after another, each with what goes at its end."""
    written, needed = 0, 0
    for name in still:
        written += still[name]
        needed = max(needed, written + besides[name])
    return needed


def _disk_alternatives(
    plan: Plan, still: Mapping[str, int], besides: Mapping[str, int]
) -> Iterable[Alternative]:
    def without(names: Collection[str], **changed: int) -> int:
        left = {name: size for name, size in {**still, **changed}.items() if name not in names}
        return _most_at_once(left, besides)

    distances = [s for s in plan.stages if s.name.startswith("distance")]
    # Tiles of another type replace all that are there.
    halves = {s.name: s.disk_bytes // 2 for s in distances if s.work.product_itemsize == 8}
    if any(halves.values()):
        whole = {s.name: s.disk_bytes for s in distances}
        yield Alternative(change="dtype='float32'", needed_bytes=without((), **(whole | halves)))
    if still.get("ingest"):
        yield Alternative(
            change="an input in Zarr, used where it is,", needed_bytes=without(["ingest"])
        )
    for axis in ("row", "col"):
        names = [name for name in still if name.endswith(f"-{axis}")]
        if any(still[name] + besides[name] for name in names):
            yield Alternative(change=f"{axis}_cluster=False", needed_bytes=without(names))

"""Driver: results of many tasks put together group by group, where the tasks ran.

An image of a part of the matrix may be large, and there may be hundreds: they are merged in an
order that does not depend on who is first, and only the groups' results come to the driver.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from clustergrid.pipeline.execution import DaskExecutor, Executor

__all__ = ["GroupedWork", "merge_in_process", "merge_on_workers"]

Item = TypeVar("Item")
Shared = TypeVar("Shared")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GroupedWork(Generic[Shared, Item, Result]):
    """Tasks whose results are put together group by group.

    Attributes
    ----------
    function
        ``function(shared, item)`` gives a tuple of arrays.
    merge
        ``merge(result, other)`` takes another result into the first, which it may write to.
    shared
        What every task reads, as `Executor.share` returned it.
    groups
        Items of each group, in the order in which their results are merged.
    name
        Of the pass.
    on_item
        Called in the driver with every item whose result is there.
    """

    function: Callable[[Shared, Item], Result]
    merge: Callable[[Result, Result], None]
    shared: Shared
    groups: Sequence[Sequence[Item]]
    name: str
    on_item: Callable[[Item], None]


def _numbered(
    function: Callable[[Shared, Item], Result], shared: Shared, item: tuple[int, int, Item]
) -> tuple[int, int, Item, Result]:
    return *item, function(shared, item[2])


def merge_in_process(
    executor: Executor, work: GroupedWork[Shared, Item, Result]
) -> Iterator[tuple[int, Result]]:
    """Merge the results of each group, tuples of arrays, in the order of its items.

    Parameters
    ----------
    executor
        Whose tasks share this process.
    work
        The tasks.

    Yields
    ------
    int, Result
        A group's number, and its result.
    """
    groups, function = work.groups, partial(_numbered, work.function)
    items = [(g, i, item) for g, group in enumerate(groups) for i, item in enumerate(group)]
    waiting: dict[tuple[int, int], Result] = {}
    merged: dict[int, Result] = {}
    due = [0] * len(groups)
    for g, i, item, result in executor.map(function, work.shared, items, name=work.name):
        work.on_item(item)
        waiting[g, i] = result
        del result
        while (g, due[g]) in waiting:
            if due[g] == 0:
                merged[g] = waiting.pop((g, 0))
            else:
                work.merge(merged[g], waiting.pop((g, due[g])))
            due[g] += 1
        if due[g] == len(groups[g]):
            yield g, merged.pop(g)


def merge_on_workers(
    executor: DaskExecutor, work: GroupedWork[Shared, Item, Result]
) -> Iterator[tuple[int, Result]]:
    """Merge the results of each group in a task of its own; of the others none leaves the workers.

    Parameters
    ----------
    executor
        A Dask cluster.
    work
        The tasks.

    Yields
    ------
    int, Result
        A group's number, and its result.
    """
    from distributed import as_completed

    client, groups = executor.client, work.groups
    wave = executor.next_wave(work.name)
    length = max(map(len, groups), default=1)
    at_once = 1 + -(-2 * executor.threads // length)
    remaining = iter(range(len(groups)))

    def submit(g: int) -> list[Any]:
        # The first groups first: only whole ones can be put together and let go.
        parts = [
            executor.submit(work.function, work.shared, item, key=(wave, g, i), priority=-g)
            for i, item in enumerate(groups[g])
        ]
        whole = client.submit(
            _merged,
            work.merge,
            parts,
            key=(wave, g, "whole"),
            priority=-g,
            retries=executor.retries,
        )
        return [*parts, whole]

    first = [future for g in itertools.islice(remaining, at_once) for future in submit(g)]
    running = as_completed(first, loop=client.loop)
    del first
    try:
        for future in running:
            _, g, i = future.key
            if i != "whole":
                if future.status == "finished":
                    work.on_item(groups[g][i])
                continue
            yield g, executor.result_of(future)
            future.release()
            for following in itertools.islice(remaining, 1):
                for each in submit(following):
                    running.add(each)
    finally:
        client.cancel(list(running.futures))
    executor.release_memory()


def _merged(merge: Callable[[Any, Any], None], parts: list[Any]) -> Any:
    """Put the results of a group together; what was computed stays as it is, for a second try."""
    from clustergrid.pipeline.execution import Failure

    failed = next((part for part in parts if isinstance(part, Failure)), None)
    if failed is not None:
        return failed
    if len(parts) == 1:
        return parts[0]
    whole = tuple(array.copy() for array in parts[0])
    for part in parts[1:]:
        merge(whole, part)
    return whole

"""Driver: trees that are made straight from rows, of which no distances are kept.

Such a tree has one stage. Where that is long, it keeps records in the run directory (`Records`),
and a later run goes on from them to the same bits.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial

import numpy as np

from clustergrid.pipeline._blas import single_blas_thread
from clustergrid.pipeline.centroid_tree import centroid_tree
from clustergrid.pipeline.execution import Executor
from clustergrid.pipeline.hierarchy import Duplicates, linkage_matrix
from clustergrid.pipeline.hierarchy.chain_state import Part
from clustergrid.pipeline.hierarchy.limits import Limits
from clustergrid.pipeline.hierarchy.recorded import RecordedSource
from clustergrid.pipeline.hierarchy.source import DistanceSource
from clustergrid.pipeline.monitor import Progress
from clustergrid.pipeline.points.tree import point_tree
from clustergrid.pipeline.records import Records
from clustergrid.pipeline.row_tree_plan import way_from_rows
from clustergrid.pipeline.spanning_tree import (
    CHECKPOINT_SECONDS,
    CHECKPOINT_SHARE,
    Checkpoint,
    spanning_tree,
)
from clustergrid.pipeline.summaries.tree import summary_tree
from clustergrid.pipeline.tiles import DistanceInput
from clustergrid.pipeline.tree_engine import rows_choice
from clustergrid.storage.errors import StorageError
from clustergrid.storage.grid import TriangleGrid

__all__ = ["resumable", "tree_from_rows"]


def tree_from_rows(
    given: DistanceInput,
    method: str,
    grid: TriangleGrid,
    *,
    duplicates: Duplicates | None,
    limits: Limits | None = None,
    at_rest: tuple[str, str] | None = None,
    executor: Executor,
    progress: Progress,
    name: str,
    records: Records | None = None,
) -> np.ndarray:
    """Cluster the rows of a matrix without keeping their distances.

    Parameters
    ----------
    given
        The matrix and the metric.
    method
        Any; ``centroid``, ``median`` and ``ward`` of Euclidean distances.
    grid
        The tiles of single linkage.
    duplicates
        Which rows are kept, and what the others are identical to; None where all are.
    limits
        What rounds of proved merges may use; of complete, average, weighted and ward.
    at_rest
        Store and name in it, where rows are put that do not fit the memory; see `point_source`.
    executor, progress, name
        Where tiles are computed, who is told, and as which stage.
    records
        Where it keeps how far it came, and finds how far an earlier run did.

    Returns
    -------
    numpy.ndarray
        ``(n - 1, 4)`` float64.

    Raises
    ------
    UndefinedPairError
        A ValueError: a distance is not finite.
    DataValueError
        As of `centroid_tree`, `summary_tree` and `point_tree`.
    """
    metric_name, is_boolean = given.metric.name, given.is_boolean
    way = way_from_rows(method, metric_name, is_boolean=is_boolean)
    if way == "centroids":
        return centroid_tree(given, method, duplicates, progress=progress, name=name)
    if way != "spanning":
        assert limits is not None
        merge = summary_tree if way == "summaries" else point_tree
        # Once: a chain asks for rows some thousands of times.
        with single_blas_thread():
            return merge(
                given,
                method,
                duplicates,
                limits=limits,
                at_rest=at_rest,
                executor=executor,
                progress=progress,
                name=name,
                why=rows_choice(method, metric_name, is_boolean=is_boolean),
                recorded=partial(resumable, records=records),
            )
    edges = spanning_tree(
        given,
        grid,
        executor=executor,
        progress=progress,
        name=name,
        resumed=None if records is None else _last_checkpoint(records, grid, given.dtype),
        on_checkpoint=None if records is None else _Keeper(records).keep,
    )
    return linkage_matrix(edges.merges(), grid.n)


def resumable(source: DistanceSource, records: Records | None) -> DistanceSource:
    """Let a source of cluster distances answer from records what an earlier run asked it.

    Parameters
    ----------
    source
        It has to give the same bits for the same question.
    records
        Where answers are kept, whatever the limits of the rounds that asked. None: nowhere.
    """
    if records is None:
        return source
    return RecordedSource(
        source,
        save=lambda number, call, arrays: records.write(f"{number:06d}", arrays),
        load=lambda number, call: records.read(f"{number:06d}"),
        drop=lambda number: records.remove(
            [name for name in records.names if name.isdecimal() and int(name) >= number]
        ),
        chain=_ChainKeeper(records),
    )


class _ChainKeeper:
    """Keeps states of a chain, each a record a part, and one that says that all of them are there.

    See `ChainRecords`. A state is no more than the rows that the chain may hold, and is written as
    seldom as a checkpoint of a spanning tree. Where there is no room for one, the chain goes on
    without: it is no result.
    """

    _PREFIX = "chain-"

    def __init__(self, records: Records) -> None:
        self._records = records
        self._kept_at = time.monotonic()
        self._seconds = 0.0
        self._has_room = True

    @property
    def is_due(self) -> bool:
        """Whether it is time to keep another."""
        since = time.monotonic() - self._kept_at
        is_time = since >= max(CHECKPOINT_SECONDS, CHECKPOINT_SHARE * self._seconds)
        return self._has_room and is_time

    def keep(self, parts: Iterator[Part]) -> None:
        """Put a state at rest; then the one before goes."""
        start, before = time.monotonic(), self._names
        number = 1 + max((_number_of(name) for name in before), default=0)
        n_parts = 0
        try:
            for part in parts:
                self._records.write(f"{self._PREFIX}{number:06d}-{n_parts:06d}", part)
                n_parts += 1
            self._records.write(f"{self._PREFIX}{number:06d}", {"parts": np.array([n_parts])})
        except StorageError:
            self._has_room = False
            self._records.remove([name for name in self._names if name not in before])
            return
        self._records.remove(before)
        self._kept_at = time.monotonic()
        self._seconds = self._kept_at - start

    @property
    def _names(self) -> list[str]:
        return [name for name in self._records.names if name.startswith(self._PREFIX)]

    def last(self) -> Iterator[Part]:
        """Yield the parts of the last state, until one is missing or damaged."""
        whole = sorted(name for name in self._names if name.count("-") == 1)
        record = self._records.read(whole[-1]) if whole else None
        for part in range(0 if record is None else int(record["parts"][0])):
            arrays = self._records.read(f"{whole[-1]}-{part:06d}")
            if arrays is None:
                return
            yield arrays


def _number_of(name: str) -> int:
    return int(name.split("-")[1])


class _Keeper:
    """Puts every checkpoint in the place of the one before."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._number = max(map(int, records.names), default=0)

    def keep(self, checkpoint: Checkpoint) -> None:
        self._number += 1
        self._records.write(f"{self._number:06d}", checkpoint.to_arrays(), alone=True)


def _last_checkpoint(
    records: Records, grid: TriangleGrid, dtype: np.dtype[np.generic] | str
) -> Checkpoint | None:
    """Read where an earlier run of the same question stood; None where there is nothing whole."""
    for name in reversed(records.names):
        arrays = records.read(name)
        if arrays is None:
            continue
        try:
            checkpoint = Checkpoint.from_arrays(arrays).cut_as(grid)
        except (KeyError, TypeError, ValueError):
            continue
        if checkpoint.forest.weight.dtype == dtype:
            return checkpoint
    return None

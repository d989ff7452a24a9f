"""Driver: trees that are made straight from rows, of which no distances are kept.

Such a tree has one stage. Where that is long, it keeps records in the run directory (`Records`),
and a later run goes on from them to the same bits.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from clustergrid.pipeline.centroid_tree import centroid_tree
from clustergrid.pipeline.execution import Executor
from clustergrid.pipeline.hierarchy import Duplicates, linkage_matrix
from clustergrid.pipeline.hierarchy.limits import Limits
from clustergrid.pipeline.hierarchy.recorded import RecordedSource
from clustergrid.pipeline.hierarchy.source import DistanceSource
from clustergrid.pipeline.monitor import Progress
from clustergrid.pipeline.points.tree import point_tree
from clustergrid.pipeline.records import Records
from clustergrid.pipeline.row_tree_plan import way_from_rows
from clustergrid.pipeline.spanning_tree import Checkpoint, spanning_tree
from clustergrid.pipeline.summaries.tree import summary_tree
from clustergrid.pipeline.tiles import DistanceInput
from clustergrid.pipeline.tree_engine import rows_choice
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
        drop=lambda number: records.remove([name for name in records.names if int(name) >= number]),
    )


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

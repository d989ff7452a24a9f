"""Driver: the tree of linkages whose clusters are summed up by a mean, straight from the rows.

Ward of Euclidean distances; average and weighted of squared ones, cosines, correlations and the
like: `summaries_serve` says which. Rounds of proved merges (``hierarchy/certified.py``) ask a
`SummarySource` for distances; memory is some copies of the matrix, lists of near rows, and the
square of what rounds leave.

When the tree is known its heights are computed once more, from the leaves up. So the linkage matrix
has the same bits whatever lists, limits, threads and executors found it, but for ties.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace

import numpy as np

from clustergrid.pipeline.execution import Executor
from clustergrid.pipeline.hierarchy import Duplicates, Start, linkage_matrix
from clustergrid.pipeline.hierarchy.certified import Limits, cluster_certified
from clustergrid.pipeline.hierarchy.methods import Merges
from clustergrid.pipeline.hierarchy.source import DistanceSource
from clustergrid.pipeline.monitor import Progress
from clustergrid.pipeline.summaries.rows import (
    RestingRows,
    SummaryRows,
    put_summary_rows,
    read_summary_rows,
)
from clustergrid.pipeline.summaries.source import SummarySource
from clustergrid.pipeline.tiles import DistanceInput
from clustergrid.pipeline.tree_progress import tell_reached

__all__ = ["summary_tree"]

_FEW_CLUSTERS = 4096
"""New lists of more clusters are cheaper than their square."""


def summary_tree(
    given: DistanceInput,
    method: str,
    duplicates: Duplicates | None,
    *,
    limits: Limits,
    at_rest: tuple[str, str] | None = None,
    executor: Executor,
    progress: Progress,
    name: str,
    why: str = "",
    recorded: Callable[[DistanceSource], DistanceSource] | None = None,
) -> np.ndarray:
    """Cluster the rows of a matrix by the means of clusters.

    Parameters
    ----------
    given
        The matrix and the metric.
    method
        ``ward``, ``average`` or ``weighted``, as `summaries_serve` says of the metric.
    duplicates
        Which rows are kept, and what the others are identical to; None where all are.
    limits
        How many clusters may be left for the square, the length of lists, memory for rows of
        distances, and threads. That a distance costs the same for clusters of any size is known.
    at_rest
        The store, and the name in it, where rows and means are put that do not fit the memory; they
        go when the tree is done. None: they are held. The tree has the same bits.
    executor
        Where lists of near clusters are made.
    progress, name, why
        Who is told, as which stage, and why so.
    recorded
        Makes a source of which answers are kept, so that a later run can go on; None: none are.

    Returns
    -------
    numpy.ndarray
        ``(n - 1, 4)`` float64. Decisions and heights are in float64, whatever the matrix holds.

    Raises
    ------
    DataValueError
        Method and metric have no summaries; or distances overflow.
    MemoryLimitError
        If there is no room for a few rows of distances, where these are needed.
    """
    n = given.source.shape[0]
    points = _points(given, method, duplicates, at_rest, progress=progress, name=f"{name}-rows")
    source = SummarySource(
        points, executor=executor, is_ward=method == "ward", most_rows=limits.compared_rows
    )
    with closing(source):
        start = Start.observations(source.n) if duplicates is None else duplicates.start
        with progress.stage(name, total=max(1, n - 1), unit="merges", why=why) as stage:
            merges = cluster_certified(
                source if recorded is None else recorded(source),
                method,
                limits=replace(limits, by_members=False, few_clusters=_FEW_CLUSTERS),
                start=start,
                progress=tell_reached(stage, n),
            )
            first, second = _of_points(merges, start, n)
            traced = source.trace(method, start.sizes, first, second)
    return linkage_matrix(traced, n, duplicates=duplicates)


def _points(
    given: DistanceInput,
    method: str,
    duplicates: Duplicates | None,
    at_rest: tuple[str, str] | None,
    *,
    progress: Progress,
    name: str,
) -> SummaryRows | RestingRows:
    kept = None if duplicates is None else duplicates.kept
    if at_rest is None:
        return read_summary_rows(given, method, kept, progress=progress, name=name)
    return put_summary_rows(given, method, kept, at_rest=at_rest, progress=progress, name=name)


def _of_points(merges: Merges, start: Start, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Name the points of all merges but those the start made."""
    point_of = np.zeros(n, np.int64)
    point_of[start.rows] = np.arange(len(start.rows))
    made = len(start.merges.height)
    return point_of[merges.first[made:]], point_of[merges.second[made:]]

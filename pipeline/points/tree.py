"""Driver: the tree of complete, average, weighted, single or ward linkage, straight from rows.

Distances are computed when they are wanted and forgotten again. What is kept are the points, lists
of a few near clusters of each, and in the end the square of the clusters that are left.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from clustergrid.pipeline.errors import MemoryLimitError
from clustergrid.pipeline.execution import Executor
from clustergrid.pipeline.hierarchy import Duplicates, linkage_matrix
from clustergrid.pipeline.hierarchy.certified import Limits, cluster_certified
from clustergrid.pipeline.hierarchy.source import DistanceSource
from clustergrid.pipeline.monitor import Progress
from clustergrid.pipeline.points.euclidean import EuclideanPoints
from clustergrid.pipeline.points.metric import MetricPoints
from clustergrid.pipeline.points.prepared import is_euclidean, points_bytes
from clustergrid.pipeline.points.source import PointSource
from clustergrid.pipeline.sizes import format_bytes
from clustergrid.pipeline.tiles import DistanceInput
from clustergrid.pipeline.tree_progress import tell_reached

__all__ = ["point_source", "point_tree"]


def point_source(
    given: DistanceInput,
    duplicates: Duplicates | None = None,
    *,
    executor: Executor,
    points_limit_bytes: int | None = None,
) -> PointSource:
    """Read the rows of a matrix as a source of cluster distances.

    Parameters
    ----------
    given
        The matrix and its metric.
    duplicates
        Which rows are kept, and what the others are identical to; None where all are.
    executor
        Where distances are computed.
    points_limit_bytes
        What the points may take, in every process that computes distances; None: no limit.

    Raises
    ------
    MemoryLimitError
        The points take more.
    DataValueError
        Squared distances may overflow.
    """
    needed = points_bytes(given, None if duplicates is None else len(duplicates.kept))
    if points_limit_bytes is not None and needed > points_limit_bytes:
        raise MemoryLimitError(
            f"the rows take {format_bytes(needed)} in memory in every process that computes "
            f"distances, and the limit is {format_bytes(points_limit_bytes)}: give more memory, or "
            "select features",
            needed_bytes=needed,
            limit_bytes=points_limit_bytes,
        )
    kept = None if duplicates is None else duplicates.kept
    points = EuclideanPoints(given, kept) if is_euclidean(given) else MetricPoints(given, kept)
    return PointSource(points, executor=executor)


def point_tree(
    given: DistanceInput,
    method: str,
    duplicates: Duplicates | None,
    *,
    limits: Limits,
    points_limit_bytes: int | None = None,
    executor: Executor,
    progress: Progress,
    name: str,
    why: str = "",
    recorded: Callable[[DistanceSource], DistanceSource] | None = None,
) -> np.ndarray:
    """Cluster the rows of a matrix, without a matrix of their distances.

    Parameters
    ----------
    given
        The matrix and its metric; any.
    method
        Single, complete, average, weighted, or ward (with Euclidean distances).
    duplicates
        Which rows are kept, and what the others are identical to; None where all are.
    limits
        How many clusters may be left for the square of their distances, the length of the lists,
        and threads.
    points_limit_bytes
        As of `point_source`.
    executor, progress, name, why
        Where distances are computed, who is told, as which stage, and why so.
    recorded
        Makes a source of which answers are kept, so that a later run can go on; None: none are.

    Returns
    -------
    numpy.ndarray
        ``(n - 1, 4)`` float64. Decisions and heights are in float64, whatever the matrix holds.

    Raises
    ------
    MemoryLimitError
        The points take more than their limit, or rows of distances do.
    DataValueError
        The method is another one, a pair has no distance, or squared distances may overflow.
    """
    n = given.source.shape[0]
    with progress.stage(name, total=max(1, n - 1), unit="merges", why=why) as stage:
        source = point_source(
            given, duplicates, executor=executor, points_limit_bytes=points_limit_bytes
        )
        merges = cluster_certified(
            source if recorded is None else recorded(source),
            method,
            limits=limits,
            start=None if duplicates is None else duplicates.start,
            progress=tell_reached(stage, n),
        )
    # The merges of identical rows are among them.
    return linkage_matrix(merges, n)

"""Driver: the tree of complete, average, weighted, single or ward linkage, straight from rows.

Distances are computed when they are wanted and forgotten again. What is kept are the points, lists
of a few near clusters of each, and in the end the square of the clusters that are left.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

import numpy as np

from clustergrid.pipeline.execution import Executor
from clustergrid.pipeline.hierarchy import Duplicates, linkage_matrix
from clustergrid.pipeline.hierarchy.certified import Limits, cluster_certified
from clustergrid.pipeline.hierarchy.source import DistanceSource
from clustergrid.pipeline.monitor import Progress
from clustergrid.pipeline.points.euclidean import EuclideanPoints
from clustergrid.pipeline.points.metric import MetricPoints
from clustergrid.pipeline.points.prepared import is_euclidean
from clustergrid.pipeline.points.source import PointSource
from clustergrid.pipeline.tiles import DistanceInput
from clustergrid.pipeline.tree_progress import tell_reached

__all__ = ["point_source", "point_tree"]


def point_source(
    given: DistanceInput,
    duplicates: Duplicates | None = None,
    *,
    executor: Executor,
    at_rest: tuple[str, str] | None = None,
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
    at_rest
        The store, and the name in it, where rows are put from which tasks read what they need;
        the caller closes the source. None: every process that computes distances holds all of
        them. Distances have the same bits.

    Raises
    ------
    DataValueError
        Squared distances may overflow.
    StorageError
        Rows cannot be put at rest.
    """
    kept = None if duplicates is None else duplicates.kept
    kind = EuclideanPoints if is_euclidean(given) else MetricPoints
    return PointSource(kind(given, kept, at_rest=at_rest), executor=executor)


def point_tree(
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
    at_rest
        As of `point_source`; the rows go when the tree is done.
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
        Rows of distances take more than the limits allow.
    DataValueError
        The method is another one, a pair has no distance, or squared distances may overflow.
    """
    n = given.source.shape[0]
    with (
        progress.stage(name, total=max(1, n - 1), unit="merges", why=why) as stage,
        closing(point_source(given, duplicates, executor=executor, at_rest=at_rest)) as source,
    ):
        merges = cluster_certified(
            source if recorded is None else recorded(source),
            method,
            limits=limits,
            start=None if duplicates is None else duplicates.start,
            progress=tell_reached(stage, n),
        )
    # The merges of identical rows are among them.
    return linkage_matrix(merges, n)

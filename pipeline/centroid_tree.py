"""Driver: the tree of centroid or median linkage, straight from the rows of a matrix.

A cluster is its centroid, so nothing is needed of the pairwise distances but the least; memory is
some copies of the matrix, in double precision, whatever the number of pairs.
"""

from __future__ import annotations

import numpy as np

from clustergrid.pipeline.execution import available_cores
from clustergrid.pipeline.hierarchy import Duplicates, linkage_matrix
from clustergrid.pipeline.hierarchy.centroids import cluster_points
from clustergrid.pipeline.monitor import Progress
from clustergrid.pipeline.row_reader import RowPass
from clustergrid.pipeline.tiles import DistanceInput
from clustergrid.pipeline.tree_engine import rows_choice
from clustergrid.pipeline.tree_progress import tell_merges
from clustergrid.storage.errors import DataValueError

__all__ = ["centroid_tree"]


def centroid_tree(
    given: DistanceInput,
    method: str,
    duplicates: Duplicates | None,
    *,
    threads: int | None = None,
    progress: Progress,
    name: str,
) -> np.ndarray:
    """Cluster the rows of a matrix by their Euclidean distances.

    Parameters
    ----------
    given
        The matrix, with the metric ``euclidean``.
    method
        ``centroid`` or ``median``.
    duplicates
        Which rows are kept, and what the others are identical to; None where all are.
    threads
        How many threads of this process work; by default one a core.
    progress, name
        Who is told, and as which stage.

    Returns
    -------
    numpy.ndarray
        ``(n - 1, 4)`` float64. Decisions and heights are in float64, whatever the matrix holds.

    Raises
    ------
    DataValueError
        The metric is not Euclidean, or the method another; or a height overflows.
    """
    if given.metric.name != "euclidean":
        raise DataValueError(
            f"centroids have no {given.metric.name} distances: method={method!r} needs "
            "metric='euclidean'"
        )
    n = given.source.shape[0]
    points = _points(given, progress, f"{name}-rows")
    if duplicates is not None:
        points = points[duplicates.kept]
    why = rows_choice(method, given.metric.name)
    with progress.stage(name, total=len(points) - 1, unit="merges", why=why) as stage:
        merges = cluster_points(
            points,
            method,
            sizes=None if duplicates is None else duplicates.start.sizes,
            threads=threads or available_cores(),
            progress=tell_merges(stage),
        )
    too_high = np.flatnonzero(~np.isfinite(merges.height))
    if len(too_high):
        rows = merges.first[too_high[0]], merges.second[too_high[0]]
        one, other = rows if duplicates is None else duplicates.kept[list(rows)]
        raise DataValueError(
            f"the clusters of rows {one} and {other} are at a distance that overflows float64: "
            "scale the matrix"
        )
    return linkage_matrix(merges, n, duplicates=duplicates, monotonic=False)


def _points(given: DistanceInput, progress: Progress, name: str) -> np.ndarray:
    """Read all rows as Euclidean distances compare them, ``(n, k)`` float64."""
    n, k = given.source.shape
    factors = None if given.weights is None else np.sqrt(given.weights)

    def read(rows: slice, features: slice) -> np.ndarray:
        block = given.values(rows, features)
        return block if factors is None else block * factors[features]

    points = np.empty((n, k))
    values = RowPass(source=given.source, dtype=points.dtype, read=read)
    with progress.stage(name, total=n, unit="rows", unit_bytes=8 * k) as stage:
        for strip in values.strips(points):
            stage.advance(len(strip.values))
    return points

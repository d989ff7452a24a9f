"""Driver: from a square matrix of distances to SciPy's linkage matrix, with progress."""

from __future__ import annotations

import numpy as np

from clustergrid.pipeline.execution import available_cores
from clustergrid.pipeline.hierarchy import (
    REDUCIBLE_METHODS,
    Duplicates,
    cluster_square,
    linkage_matrix,
    small_linkage,
    weigh_identical,
)
from clustergrid.pipeline.metrics import SMALL_OBSERVATIONS
from clustergrid.pipeline.monitor import Progress

__all__ = ["merge_square"]


def merge_square(
    square: np.ndarray,
    method: str,
    duplicates: Duplicates | None,
    n: int,
    *,
    progress: Progress,
    name: str,
) -> np.ndarray:
    """Cluster a square matrix of distances, which is worked on in place and destroyed.

    Parameters
    ----------
    square
        ``(m, m)`` distances between the observations that are kept.
    method
        The linkage method.
    duplicates
        Which observations are kept, and what the others are identical to; None where all are.
    n
        Number of observations, duplicates included.
    progress, name
        Who is told, and as which stage.

    Returns
    -------
    numpy.ndarray
        ``(n - 1, 4)`` float64. Which engine makes it depends on `n` alone.
    """
    if n <= SMALL_OBSERVATIONS:
        return small_linkage(square, method)
    start = None if duplicates is None else duplicates.start
    if start is not None:
        weigh_identical(square, method, start.sizes)
    with progress.stage(name, total=len(square) - 1, unit="merges") as stage:
        merges = cluster_square(
            square,
            method,
            start=start,
            threads=available_cores(),
            progress=lambda done, total, height: stage.advance(done - stage.done),
        )
    return linkage_matrix(merges, n, duplicates=duplicates, monotonic=method in REDUCIBLE_METHODS)

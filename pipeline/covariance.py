"""Driver: the covariance of the features, its inverse, and what mahalanobis makes of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from clustergrid.pipeline._blas import single_blas_thread
from clustergrid.pipeline.engines.base import UndefinedFeaturesError
from clustergrid.pipeline.engines.given import DistanceInput
from clustergrid.pipeline.execution import Executor
from clustergrid.pipeline.keywords import MetricKeywords
from clustergrid.pipeline.monitor import Progress
from clustergrid.pipeline.normalize import MatrixStatistics, normalized_statistics
from clustergrid.storage.errors import DataValueError
from clustergrid.storage.grid import BLOCK_FEATURES, READ_BLOCK, slabs

__all__ = ["with_covariance"]


def with_covariance(
    given: DistanceInput,
    statistics: MatrixStatistics,
    executor: Executor,
    progress: Progress,
    name: str,
) -> DistanceInput:
    """Find VI, and what makes Euclidean distances of it: its square root, of which Z = Q sqrt(L).

    ``(x - y) VI (x - y)^T = |(x - y) Z|^2`` where ``VI = Z Z^T``; an antisymmetric part of VI adds
    nothing.
    """
    n, k = given.source.shape
    inverse = given.keywords.VI
    if inverse is None:
        if n <= k:
            raise DataValueError(
                f"The number of observations ({n}) is too small; the covariance matrix is "
                f"singular. For observations with {k} dimensions, at least {k + 1} observations "
                "are required."
            )
        columns = normalized_statistics(
            given.source, statistics, given.normalization, executor, progress
        ).columns
        covariance = _covariance(given, columns.mean, executor, progress, name)
        _refuse_singular(covariance, columns.standard_deviation)
        with single_blas_thread():
            inverse = np.linalg.inv(covariance)
    inverse = 0.5 * (inverse + inverse.T)
    with single_blas_thread():
        eigenvalues, vectors = np.linalg.eigh(inverse)
    if eigenvalues[0] < -1e-10 * abs(eigenvalues[-1]):
        raise DataValueError(
            f"VI has the negative eigenvalue {eigenvalues[0]:.6g}: mahalanobis distances would be "
            "roots of negative numbers. Give the inverse of a covariance matrix"
        )
    root = vectors * np.sqrt(np.maximum(eigenvalues, 0.0))
    return replace(
        given,
        keywords=MetricKeywords(VI=inverse),
        transform=root,
    )


def _refuse_singular(covariance: np.ndarray, deviations: np.ndarray) -> None:
    """Refuse a covariance that has no inverse but for roundings, whatever the features' units."""
    involved, why = np.flatnonzero(deviations == 0.0), "constant"
    if not len(involved):
        with single_blas_thread():
            eigenvalues, vectors = np.linalg.eigh(covariance / np.outer(deviations, deviations))
        if eigenvalues[0] > len(covariance) * np.finfo(np.float64).eps * eigenvalues[-1]:
            return
        share = np.abs(vectors[:, 0])
        involved, why = np.flatnonzero(share > 0.01 * share.max()), "linear combinations of others"
    raise UndefinedFeaturesError(
        involved,
        f"{why}: the covariance matrix, which mahalanobis inverts, is singular",
        "Drop some of them, or give VI",
    )


def _covariance(
    given: DistanceInput,
    means: np.ndarray,
    executor: Executor,
    progress: Progress,
    name: str,
) -> np.ndarray:
    """``(k, k)`` covariance of the features, ``ddof=1``."""
    n, k = given.source.shape
    covariance = np.empty((k, k))
    blocks = list(slabs(k, BLOCK_FEATURES))
    pairs = [(one, other) for one in blocks for other in blocks if one.start <= other.start]
    centred = replace(given, centre=means)
    with progress.stage(f"{name}-covariance", total=len(pairs), unit="blocks") as stage:
        for one, other, part in executor.map(
            _covariance_block, executor.share(centred), pairs, name=f"{name}-covariance"
        ):
            covariance[one, other] = part / (n - 1)
            covariance[other, one] = covariance[one, other].T
            stage.advance()
    return covariance


def _covariance_block(
    given: DistanceInput, pair: tuple[slice, slice]
) -> tuple[slice, slice, np.ndarray]:
    """Add products of two blocks of centred features, over blocks of rows in their order."""
    one, other = pair
    assert given.centre is not None
    sums = np.zeros((one.stop - one.start, other.stop - other.start))
    for rows in slabs(given.source.shape[0], READ_BLOCK):
        left = given.values(rows, one) - given.centre[one]
        right = left if one == other else given.values(rows, other) - given.centre[other]
        sums += left.T @ right
    return one, other, sums

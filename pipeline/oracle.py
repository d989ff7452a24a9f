"""Kernel: distances of a few rows, computed as plainly as can be, that others are held against.

Everything here is SciPy's or a formula of NumPy, in float64: no kernel of ours is used, so that an
error of one is seen.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from clustergrid.pipeline.metrics import Metric

__all__ = ["plain_distances"]


def plain_distances(metric: Metric, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Distances between some rows and some others.

    Parameters
    ----------
    metric
        With all its keywords: those that follow from the whole matrix (V, VI), too.
    left, right
        ``(m, k)`` and ``(n, k)`` float64.

    Returns
    -------
    numpy.ndarray
        ``(m, n)`` float64.

    Examples
    --------
    >>> from clustergrid.pipeline.metrics import get_metric
    >>> rows = np.array([[1.0, 2.0, np.nan], [4.0, 6.0, 1.0]])
    >>> plain_distances(get_metric("nan_euclidean"), rows[:1], rows[1:]).round(3)
    array([[6.124]])
    """
    from scipy.spatial.distance import cdist
    from scipy.stats import rankdata

    if metric.missing:
        return _pairwise(_COMMON[metric.name], left, right)
    if metric.is_boolean:
        left, right = left != 0, right != 0
    if metric.ranks:
        left, right = rankdata(left, axis=1), rankdata(right, axis=1)
    name: Any = "correlation" if metric.ranks else metric.name
    keywords: dict[str, Any] = dict(metric.keywords.given)
    distances: np.ndarray = cdist(left, right, name, **keywords)
    # SciPy takes the root of what may be a rounding below zero.
    return np.nan_to_num(distances, nan=0.0) if metric.name == "jensenshannon" else distances


def _pairwise(
    function: Callable[[np.ndarray, np.ndarray, int], float], left: np.ndarray, right: np.ndarray
) -> np.ndarray:
    """Call a function for the features that both rows of each pair have."""
    distances = np.empty((len(left), len(right)))
    for i, one in enumerate(left):
        for j, other in enumerate(right):
            common = ~(np.isnan(one) | np.isnan(other))
            distances[i, j] = function(one[common], other[common], len(common))
    return distances


def _nan_euclidean(one: np.ndarray, other: np.ndarray, n_features: int) -> float:
    return float(np.sqrt(np.square(one - other).sum() * n_features / len(one)))


def _nan_correlation(one: np.ndarray, other: np.ndarray, _n_features: int) -> float:
    one, other = one - one.mean(), other - other.mean()
    return float(1 - one @ other / np.sqrt((one @ one) * (other @ other)))


def _nan_spearman(one: np.ndarray, other: np.ndarray, n_features: int) -> float:
    from scipy.stats import rankdata

    return _nan_correlation(rankdata(one), rankdata(other), n_features)


_COMMON = {
    "nan_euclidean": _nan_euclidean,
    "nan_correlation": _nan_correlation,
    "nan_spearman": _nan_spearman,
}

"""Driver: distances of whole rows at once, by SciPy or by a function of the user's own."""

from __future__ import annotations

from typing import Any

import numpy as np

from clustergrid.pipeline.engines.given import DistanceInput
from clustergrid.pipeline.engines.product import CANCELLED

__all__ = ["function_tile", "scipy_tile"]


def scipy_tile(given: DistanceInput, rows: slice, columns: slice) -> np.ndarray:
    """Distances by `scipy.spatial.distance.cdist`: few, and without a compiler."""
    from scipy.spatial.distance import cdist

    metric = given.metric
    features = slice(0, given.n_features)
    left, right = given.values(rows, features), given.values(columns, features)
    if metric.is_boolean:
        # As SciPy converts them itself, which is to be no news to the user a second time.
        left, right = left != 0, right != 0
    name: Any = "correlation" if metric.ranks else metric.name
    keywords = dict(metric.keywords.given)
    distances: np.ndarray = cdist(left, right, name, **keywords)
    if metric.is_unit:
        _compute_unit_again(given, rows, columns, left, right, distances)
    return distances


def _compute_unit_again(
    given: DistanceInput,
    rows: slice,
    columns: slice,
    left: np.ndarray,
    right: np.ndarray,
    distances: np.ndarray,
) -> None:
    """One minus a cosine cancels as a product does; SciPy leaves it at that."""
    unit_left, unit_right = (
        (values - means[:, None]) / lengths[:, None]
        for values, (means, lengths) in (
            (left, given.means_and_lengths(rows)),
            (right, given.means_and_lengths(columns)),
        )
    )
    weights = 1.0 if given.weights is None else given.weights
    flagged = distances <= CANCELLED[distances.dtype]
    for i in np.flatnonzero(flagged.any(axis=1)):
        j = np.flatnonzero(flagged[i])
        squares = weights * np.square(unit_left[i] - unit_right[j])
        distances[i, j] = 0.5 * squares.sum(axis=1)


def function_tile(given: DistanceInput, rows: slice, columns: slice) -> np.ndarray:
    """Distances by the user's function, pair by pair."""
    function = given.metric.function
    assert function is not None
    features = slice(0, given.n_features)
    left, right = given.values(rows, features), given.values(columns, features)
    distances = np.zeros((len(left), len(right)))
    for i, row in enumerate(left):
        # Of a diagonal tile each pair once, as SciPy does: the function need not be symmetric.
        for j in range(i + 1 if rows == columns else 0, len(right)):
            distances[i, j] = function(row, right[j])
    return distances

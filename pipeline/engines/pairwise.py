"""Driver: distances of whole rows at once, by SciPy or by a function of the user's own."""

from __future__ import annotations

from typing import Any

import numpy as np

from clustergrid.pipeline.engines.given import DistanceInput
from clustergrid.pipeline.engines.product import CANCELLED
from clustergrid.pipeline.errors import mark_lasting
from clustergrid.pipeline.execution import end_if_stopped

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
    if metric.name == "jensenshannon":
        shares = left / given.totals[rows, :1], right / given.totals[columns, :1]
        _compute_divergences_again(*shares, distances)
    if metric.name == "mahalanobis":
        _compute_mahalanobis_again(given, left, right, distances)
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


def _compute_divergences_again(left: np.ndarray, right: np.ndarray, distances: np.ndarray) -> None:
    """SciPy's logarithms cancel where rows are near, down to the root of a negative sum.

    ``x log(x / m) + y log(y / m)`` with ``m = (x + y) / 2`` is ``m g(t)``, as in
    `clustergrid.pipeline.engines._elementary.divergence`, which would want a compiler.
    """
    flagged = ~(np.square(distances) > CANCELLED[distances.dtype])
    for i in np.flatnonzero(flagged.any(axis=1)):
        j = np.flatnonzero(flagged[i])
        total = left[i] + right[j]
        t = np.abs(left[i] - right[j])
        np.divide(t, total, out=t, where=total > 0)
        distances[i, j] = np.sqrt(0.25 * (total * _divergence_of_shares(t)).sum(axis=1))


def _divergence_of_shares(t: np.ndarray) -> np.ndarray:
    """``g(t) = (1 + t) log(1 + t) + (1 - t) log(1 - t)`` for ``0 <= t <= 1``, to a few roundings.

    For small `t` it is ``2 t artanh(t) + log(1 - t ** 2)``, of which half cancels and no more.
    """
    from scipy.special import xlogy

    near = np.minimum(t, 0.5)
    of_near = 2.0 * near * np.arctanh(near) + np.log1p(-near * near)
    above, below = 1.0 + t, 1.0 - t
    found: np.ndarray = np.where(t <= 0.5, of_near, xlogy(above, above) + xlogy(below, below))
    return found


def _compute_mahalanobis_again(
    given: DistanceInput, left: np.ndarray, right: np.ndarray, distances: np.ndarray
) -> None:
    """Where VI has no inverse, SciPy may take the root of a zero that rounding made negative.

    A sum of squares is no such zero. Pair by pair, so that a value does not depend on others.
    """
    assert given.transform is not None
    with np.errstate(over="ignore", invalid="ignore"):
        for i, j in np.argwhere(np.isnan(distances)):
            squares = np.square((left[i] - right[j]) @ given.transform)
            distances[i, j] = np.sqrt(squares.sum())


def function_tile(given: DistanceInput, rows: slice, columns: slice) -> np.ndarray:
    """Distances by the user's function, pair by pair."""
    function = given.metric.function
    assert function is not None
    features = slice(0, given.n_features)
    left, right = given.values(rows, features), given.values(columns, features)
    distances = np.zeros((len(left), len(right)))
    for i, row in enumerate(left):
        end_if_stopped()
        # Of a diagonal tile each pair once, as SciPy does: the function need not be symmetric.
        for j in range(i + 1 if rows == columns else 0, len(right)):
            try:
                distances[i, j] = function(row, right[j])
            except Exception as error:
                mark_lasting(error)
                raise
    return distances

"""Driver: what cannot be clustered, refused by name before any distance is computed."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import xarray as xr

from clustergrid.pipeline.engines.base import (
    UndefinedFeaturesError,
    UndefinedPairError,
    UndefinedRowsError,
)
from clustergrid.pipeline.metrics import Metric
from clustergrid.pipeline.normalize import MatrixStatistics, Normalization
from clustergrid.pipeline.spec import AXIS_NAMES
from clustergrid.storage.errors import DataValueError
from clustergrid.storage.identity import labels_along

__all__ = [
    "holds_others_than_booleans",
    "labels_of",
    "refuse_hopeless",
    "refuse_not_finite",
    "refuse_one_observation",
    "refuse_turned_labels",
    "undefined_features",
    "undefined_pair",
    "undefined_rows",
    "warn_of_booleans",
]

_WORDS = ("row", "column")
_BOOLEAN_ROUNDING = 1e-12
"""What scaled values, and means of zeros and ones, may be off by."""
_COMPARED = (
    "; rows with missing values are compared by nan_euclidean, nan_correlation and nan_spearman"
)
_NOT_FINITE = "The condensed distance matrix must contain only finite values."


def labels_of(matrix: xr.DataArray, axis: int, indices: np.ndarray | Sequence[int]) -> list[str]:
    """Labels of some rows (0) or columns (1), their numbers where there are none."""
    dimension = matrix.dims[axis]
    if dimension not in matrix.coords:
        return [str(index) for index in indices]
    return [str(label) for label in matrix.coords[dimension].values[list(indices)]]


def _first(matrix: xr.DataArray, axis: int, indices: np.ndarray) -> str:
    names = ", ".join(repr(label) for label in labels_of(matrix, axis, indices[:5]))
    return f"the first: {names}" if len(indices) > 1 else names


def _have(indices: np.ndarray) -> str:
    return "have" if len(indices) > 1 else "has"


def _are(indices: np.ndarray) -> str:
    return "are" if len(indices) > 1 else "is"


def refuse_one_observation(matrix: xr.DataArray, axis: int) -> None:
    """Refuse an axis with nothing to merge, with SciPy's words."""
    if matrix.shape[axis] < 2:
        raise DataValueError(
            "The number of observations cannot be determined on an empty distance matrix. "
            f"There is one {_WORDS[axis]} only; draw it with {AXIS_NAMES[axis]}_cluster=False."
        )


def refuse_turned_labels(matrix: xr.DataArray) -> None:
    """Refuse a square of distances whose columns are its rows in another order.

    Raises
    ------
    DataValueError
        Rows and columns have the same labels, but not in the same places. A side without labels,
        or with others, says nothing about the order.
    """
    rows, columns = (labels_along(matrix, dim) for dim in matrix.dims)
    if rows is None or columns is None or rows.equals(columns):
        return
    if rows.sort_values().equals(columns.sort_values()):
        place = int(np.flatnonzero(np.asarray(rows != columns))[0])
        raise DataValueError(
            "metric='precomputed' takes distances whose rows and columns are in the same order: "
            f"at position {place:,} the row is {rows[place]!r}, and the column {columns[place]!r}. "
            "Give data.loc[labels, labels]"
        )


def refuse_not_finite(
    matrix: xr.DataArray,
    statistics: MatrixStatistics,
    normalization: Normalization,
    axis: int,
    *,
    may_miss: bool = False,
) -> None:
    """Refuse values that no metric can compare: how many, where, and what to do about them.

    Metrics over the features that both rows have may miss values, but compare no infinite ones.

    Raises
    ------
    DataValueError
        A ValueError: values are NaN or infinite, or normalizing would divide by zero.
    """
    along = statistics.axis(axis)
    size = matrix.shape[1 - axis]
    is_missing = along.count < size
    bad = np.flatnonzero((along.infinite > 0) | (is_missing & (not may_miss)))
    if len(bad):
        n_missing, n_infinite = int((size - along.count).sum()), int(along.infinite.sum())
        raise DataValueError(
            f"{_NOT_FINITE} {n_missing:,} values are NaN and {n_infinite:,} infinite, in "
            f"{len(bad):,} of {matrix.shape[axis]:,} {_WORDS[axis]}s "
            f"({_first(matrix, axis, bad)}). Drop or impute them, or draw the matrix without "
            f"clustering it (row_cluster=False, col_cluster=False){'' if may_miss else _COMPARED}."
        )
    if normalization.axis is None:
        return
    assert normalization.scale is not None
    flat = np.flatnonzero(~(normalization.scale > 0))
    if len(flat):
        axis, argument = normalization.axis, normalization.argument
        raise DataValueError(
            f"{_NOT_FINITE} {len(flat):,} of {matrix.shape[axis]:,} {_WORDS[axis]}s {_are(flat)} "
            f"constant, and {argument}={axis} divides by zero there "
            f"({_first(matrix, axis, flat)}). Drop them, or leave {argument} out."
        )


def refuse_hopeless(
    matrix: xr.DataArray, statistics: MatrixStatistics, axis: int, metric: Metric
) -> None:
    """Refuse observations that no other can have enough in common with, before any tile.

    Raises
    ------
    DataValueError
        A ValueError: they have fewer values than two must share, or only equal ones.
    """
    along = statistics.axis(axis)
    least = metric.keywords.min_periods or (1 if metric.name == "nan_euclidean" else 2)
    few = np.flatnonzero(along.count < least)
    if len(few):
        raise DataValueError(
            f"{len(few):,} of {matrix.shape[axis]:,} {_WORDS[axis]}s {_have(few)} fewer than "
            f"min_periods={least:,} values, and no {metric.name} distance "
            f"({_first(matrix, axis, few)}). Drop or impute them, or lower min_periods."
        )
    flat = np.flatnonzero(along.minimum == along.maximum)
    if len(flat) and metric.name != "nan_euclidean":
        raise undefined_rows(matrix, axis, UndefinedRowsError(metric.name, "constant", flat))


def holds_others_than_booleans(
    matrix: xr.DataArray, statistics: MatrixStatistics, normalization: Normalization
) -> bool:
    """Whether a matrix of finite values, normalized, holds others than 0 and 1.

    Between 0 and 1 a square is no larger than its value, and as large only at these two: so their
    sums tell, which the statistics have.
    """
    if normalization.axis is None and matrix.dtype == np.bool_:
        return False
    along = statistics.axis(normalization.axis or 0)
    shift, scale = normalization.shift, normalization.scale
    shift = np.zeros(1) if shift is None else shift
    scale = np.ones(1) if scale is None else scale
    low, high = (along.minimum - shift) / scale, (along.maximum - shift) / scale
    # What scaling leaves of a rounding is taken for true or false as what it should be.
    rounding = 0.0 if normalization.axis is None else _BOOLEAN_ROUNDING
    if low.min() < -rounding or high.max() > 1 + rounding:
        return True
    mean = (along.mean - shift) / scale
    squares = along.m2 / np.square(scale) / along.count + np.square(mean)
    return bool((mean - squares > _BOOLEAN_ROUNDING).any())


def warn_of_booleans(metric: str) -> None:
    """Say what became of values that a metric of booleans had to compare."""
    warnings.warn(
        f"{metric} compares booleans: values other than 0 and 1 were taken for true",
        UserWarning,
        stacklevel=2,
    )


def undefined_pair(matrix: xr.DataArray, axis: int, error: UndefinedPairError) -> DataValueError:
    """Name two observations that have no distance."""
    one, other = (repr(label) for label in labels_of(matrix, axis, error.rows))
    return DataValueError(f"the {_WORDS[axis]}s {one} and {other} {error.why}.")


def undefined_features(
    matrix: xr.DataArray, axis: int, error: UndefinedFeaturesError
) -> DataValueError:
    """Name the features that keep the observations along an axis from having distances."""
    n_bad, other = len(error.features), 1 - axis
    return DataValueError(
        f"{n_bad:,} of {matrix.shape[other]:,} {_WORDS[other]}s {_are(error.features)} {error.why} "
        f"({_first(matrix, other, error.features)}). {error.advice}."
    )


def undefined_rows(matrix: xr.DataArray, axis: int, error: UndefinedRowsError) -> DataValueError:
    """Name the observations that have no distance under a metric."""
    return DataValueError(
        f"{len(error.rows):,} of {matrix.shape[axis]:,} {_WORDS[axis]}s {_are(error.rows)} "
        f"{error.reason} and {_have(error.rows)} no {error.metric} distance "
        f"({_first(matrix, axis, error.rows)}). Drop them, or choose another metric."
    )

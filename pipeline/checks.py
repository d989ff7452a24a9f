"""Driver: what cannot be clustered, refused by name before any distance is computed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from clustergrid.pipeline.engines.missing import UndefinedPairError
from clustergrid.pipeline.normalize import MatrixStatistics, Normalization
from clustergrid.pipeline.operands import UndefinedRowsError
from clustergrid.pipeline.spec import AXIS_NAMES
from clustergrid.storage.errors import DataValueError

__all__ = [
    "labels_of",
    "refuse_not_finite",
    "refuse_one_observation",
    "undefined_pair",
    "undefined_rows",
]

_WORDS = ("row", "column")
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


def _are(indices: np.ndarray) -> str:
    return "are" if len(indices) > 1 else "is"


def refuse_one_observation(matrix: xr.DataArray, axis: int) -> None:
    """Refuse an axis with nothing to merge, with SciPy's words."""
    if matrix.shape[axis] < 2:
        raise DataValueError(
            "The number of observations cannot be determined on an empty distance matrix. "
            f"There is one {_WORDS[axis]} only; draw it with {AXIS_NAMES[axis]}_cluster=False."
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
            "clustering it (row_cluster=False, col_cluster=False); rows with missing values are "
            "compared by nan_euclidean, nan_correlation and nan_spearman."
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


def undefined_pair(matrix: xr.DataArray, axis: int, error: UndefinedPairError) -> DataValueError:
    """Name two observations that have no distance."""
    one, other = (repr(label) for label in labels_of(matrix, axis, error.rows))
    return DataValueError(f"the {_WORDS[axis]}s {one} and {other} {error.why}.")


def undefined_rows(matrix: xr.DataArray, axis: int, error: UndefinedRowsError) -> DataValueError:
    """Name the observations that have no distance under a metric."""
    return DataValueError(
        f"{len(error.rows):,} of {matrix.shape[axis]:,} {_WORDS[axis]}s {_are(error.rows)} "
        f"{error.reason} and {'have' if len(error.rows) > 1 else 'has'} no {error.metric} distance "
        f"({_first(matrix, axis, error.rows)}). Drop them, or choose another metric."
    )

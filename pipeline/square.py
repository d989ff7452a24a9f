"""Plan: what precomputed distances have to be, as far as a shape and some options tell."""

from __future__ import annotations

import numpy as np

from clustergrid.storage.errors import DataValueError

__all__ = ["PRECOMPUTED", "is_precomputed", "refuse_normalized", "refuse_not_square", "rounding"]

PRECOMPUTED = "precomputed"
"""The metric of a matrix that holds distances already, as in scikit-learn."""

_ROUNDING = {"float32": 1e-5, "float64": 1e-8}
"""Of the largest distance: what two ways of computing a distance may differ by."""


def is_precomputed(metric: object) -> bool:
    """Whether a metric says that the matrix holds distances; in any case, as other names.

    Examples
    --------
    >>> is_precomputed("precomputed"), is_precomputed("euclidean"), is_precomputed(max)
    (True, False, False)
    """
    return isinstance(metric, str) and metric.lower() == PRECOMPUTED


def rounding(dtype: np.dtype[np.generic], largest: float) -> float:
    """Up to what differences between distances are taken for rounding.

    SciPy's `squareform` asks for symmetry to the bit, which matrices of other programs, and
    ``1 - corrcoef(x)``, do not have.

    Parameters
    ----------
    dtype
        Of the matrix as it was given.
    largest
        The largest distance.

    Examples
    --------
    >>> rounding(np.dtype("float64"), 50.0), rounding(np.dtype("int16"), 50.0)
    (5e-07, 0.0)
    """
    return _ROUNDING.get(dtype.name, 0.0) * largest


def refuse_not_square(shape: tuple[int, int]) -> None:
    """Refuse a matrix that cannot be one of distances.

    Raises
    ------
    DataValueError
        It is not square.
    """
    if shape[0] != shape[1]:
        raise DataValueError(
            f"metric='precomputed' takes a square matrix of distances, got {shape[0]:,} x "
            f"{shape[1]:,}. Give the distances, or name the metric that computes them from these "
            "values."
        )


def refuse_normalized(z_score: int | None, standard_scale: int | None) -> None:
    """Refuse to normalize distances, which would no longer be symmetric.

    Raises
    ------
    DataValueError
        There is a z_score or a standard_scale.
    """
    for name, axis in (("z_score", z_score), ("standard_scale", standard_scale)):
        if axis is not None:
            raise DataValueError(
                f"{name}={axis} would change distances that were computed before: leave it out, or "
                "give the values that the distances are of, and their metric"
            )

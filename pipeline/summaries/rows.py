"""Driver: rows whose squared Euclidean distances are those of a metric.

======================  =====================================================  ==========
metric                  rows                                                   factor
======================  =====================================================  ==========
euclidean (ward)        the values, times the roots of the weights             1
sqeuclidean             the same                                               1
cosine                  of length one                                          1/2
correlation, spearman   of length one, about their mean                        1/2
hamming                 booleans as 0 and 1                                    1/k
russellrao              truth values as 0 and 1; ``c = (k - |x|^2) / (2 k)``   1/(2 k)
======================  =====================================================  ==========

With weights, ``k`` is their sum.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from clustergrid.pipeline.engines.given import DistanceInput
from clustergrid.pipeline.monitor import Progress
from clustergrid.pipeline.row_reader import RowPass
from clustergrid.pipeline.summaries.plan import summaries_serve
from clustergrid.storage.errors import DataValueError

__all__ = ["SummaryRows", "read_summary_rows"]

_TRUTHS = ("hamming", "russellrao")
_EXACT_IN_SINGLE = ("float16", "float32", "bool", "int8", "uint8", "int16", "uint16")
_ORDINARY = 2.0**200
"""Values so large, or all below its inverse, are scaled, since their squares may be no doubles."""

_LARGEST_EXPONENT = 500
"""Of a scale whose square is a double; twice that of one that is not squared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SummaryRows:
    """Rows ``x`` with distances ``unit (factor |x_i - x_j|^2 + c_i + c_j)``.

    Attributes
    ----------
    rows
        ``(n, k)`` float32 or float64, as `constants` of the observations that are kept.
    constants
        ``(n,)`` float64.
    factor
        As said; 1 for ward, whose distances are not squared.
    unit
        As said; a power of two, which keeps squares of huge or tiny distances within double
        precision.
    """

    rows: np.ndarray
    constants: np.ndarray
    factor: float = 1.0
    unit: float = 1.0


def read_summary_rows(
    given: DistanceInput,
    method: str,
    kept: np.ndarray | None,
    *,
    progress: Progress,
    name: str,
) -> SummaryRows:
    """Read the rows of a matrix as a metric compares them.

    Parameters
    ----------
    given
        The matrix and the metric.
    method
        ``average``, ``weighted`` or ``ward``.
    kept
        Which rows, ascending; None: all.
    progress, name
        Who is told, and as which stage.

    Raises
    ------
    DataValueError
        Method and metric have no summaries; or distances overflow.
    """
    metric = given.metric.name
    if not summaries_serve(method, metric, is_boolean=given.is_boolean):
        raise DataValueError(
            f"clusters of {method} linkage with {metric} distances are not summed up by their "
            "means: use another engine"
        )
    n, k = given.source.shape
    rows = np.empty((n if kept is None else len(kept), k), _row_dtype(given))
    values = RowPass(
        source=given.source, dtype=rows.dtype, read=partial(_compared, given), kept=kept
    )
    with progress.stage(name, total=n, unit="rows", unit_bytes=8 * k) as stage:
        for strip in values.strips(rows):
            stage.advance(strip.of_matrix.stop - strip.of_matrix.start)
    if metric in _TRUTHS:
        return _truths(given, rows)
    constants = np.zeros(len(rows))
    if given.metric.is_unit:
        return SummaryRows(rows=rows, constants=constants, factor=0.5)
    return SummaryRows(rows=rows, constants=constants, unit=_scaled(rows, is_root=method == "ward"))


def _row_dtype(given: DistanceInput) -> np.dtype[Any]:
    """Single precision where nothing is lost."""
    is_raw = given.normalization.axis is None and given.source.dtype.name in _EXACT_IN_SINGLE
    is_exact = given.metric.name in _TRUTHS or (is_raw and not given.metric.is_unit)
    return np.dtype(np.float32 if is_exact and given.weights is None else np.float64)


def _compared(given: DistanceInput, rows: slice, features: slice) -> np.ndarray:
    """Read a block of the rows that are compared."""
    if given.metric.is_unit:
        values = given.unit_values(rows, features)
    else:
        values = given.values(rows, features)
        if given.metric.name in _TRUTHS:
            values = (values != 0).astype(np.float64)
    weights = given.weights
    return values if weights is None else values * np.sqrt(weights[features])


def _truths(given: DistanceInput, rows: np.ndarray) -> SummaryRows:
    weights = given.weights
    total = float(given.n_features if weights is None else weights.sum())
    if given.metric.name == "hamming":
        return SummaryRows(rows=rows, constants=np.zeros(len(rows)), factor=1.0 / total)
    squares = np.einsum("ij,ij->i", rows, rows, dtype=np.float64)
    constants = np.maximum(total - squares, 0.0) / (2.0 * total)
    return SummaryRows(rows=rows, constants=constants, factor=0.5 / total)


def _scaled(rows: np.ndarray, *, is_root: bool) -> float:
    """Scale rows, in place, so that their squares are doubles; return the unit of distances."""
    largest = max(float(rows.max(initial=0.0)), -float(rows.min(initial=0.0)))
    exponent = 0
    if largest > _ORDINARY or 0.0 < largest < 1.0 / _ORDINARY:
        most = 2 * _LARGEST_EXPONENT if is_root else _LARGEST_EXPONENT
        exponent = min(-int(np.frexp(largest)[1]), most)
        np.ldexp(rows, exponent, out=rows)
    ranges = rows.max(axis=0).astype(np.float64) - rows.min(axis=0)
    with np.errstate(over="ignore"):
        diagonal = np.ldexp(np.sqrt(np.square(ranges).sum()), -exponent)
        widest = diagonal if is_root else np.square(diagonal)
    if not np.isfinite(widest):
        raise DataValueError(
            f"the rows span {diagonal:.3g}, and distances of clusters would overflow float64: "
            "scale the matrix"
        )
    return float(np.ldexp(1.0, -exponent if is_root else -2 * exponent))

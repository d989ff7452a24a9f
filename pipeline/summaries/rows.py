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

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from clustergrid.pipeline.engines.given import DistanceInput
from clustergrid.pipeline.monitor import Progress
from clustergrid.pipeline.points._near_order import near_order
from clustergrid.pipeline.points.prepared import Extent, Sketch, path_of_read
from clustergrid.pipeline.row_reader import RowPass, RowsAtRest, put_at_rest, reordered
from clustergrid.pipeline.summaries.plan import OWNERS, summaries_serve
from clustergrid.storage.errors import DataValueError

__all__ = ["RestingRows", "SummaryRows", "put_summary_rows", "read_summary_rows"]

_TRUTHS = ("hamming", "russellrao")
_EXACT_IN_SINGLE = ("float16", "float32", "bool", "int8", "uint8", "int16", "uint16")
_ORDINARY = 2.0**200
"""Values so large, or all below its inverse, are scaled, since their squares may be no doubles."""

_LARGEST_EXPONENT = 500
"""Of a scale whose square is a double; twice that of one that is not squared."""

_FEWEST_AT_ONCE, _AT_ONCE_BYTES, _LISTS_BYTES = 256, 2**23, 1500
"""Rows that are held while they are put in order, in bytes: of a point less than its lists will
take, which are not there yet."""


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
    again
        Reads the rows once more, as another process does. None: it is sent them.
    """

    rows: np.ndarray
    constants: np.ndarray
    factor: float = 1.0
    unit: float = 1.0
    again: Callable[[], np.ndarray] | None = None

    def to_send(self) -> SummaryRows:
        """Return the same for another process, which reads the rows itself where it can."""
        if self.again is None:
            return self
        return replace(self, rows=self.rows[:0])

    def read(self) -> np.ndarray:
        """Return the rows, in a process that they were sent to or not."""
        if len(self.rows) == len(self.constants) or self.again is None:
            return self.rows
        return self.again()


@dataclass(frozen=True, slots=True, kw_only=True)
class RestingRows:
    """The same rows at rest.

    Attributes
    ----------
    reader
        ``(n, k)``, in the order of `order`.
    order
        ``(n,)``: the points, near ones mostly side by side.
    store, path
        Where they are; means of them are put beside.
    constants, factor, unit
        As of `SummaryRows`; constants by the points' numbers.
    """

    reader: RowsAtRest
    order: np.ndarray
    store: str
    path: str
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
    _refuse_others(given, method)
    values = _pass_over(given, kept)
    rows = np.empty(values.shape, values.dtype)
    constants = np.zeros(len(rows))
    with progress.stage(
        name, total=given.source.shape[0], unit="rows", unit_bytes=8 * rows.shape[1]
    ) as stage:
        for strip in values.strips(rows):
            constants[strip.to] = _constants(given, strip.values)
            stage.advance(strip.of_matrix.stop - strip.of_matrix.start)
    exponent, unit = 0, 1.0
    if not _is_bounded(given):
        exponent, unit = _scale(rows.min(axis=0), rows.max(axis=0), is_root=method == "ward")
    if exponent:
        np.ldexp(rows, exponent, out=rows)
    return SummaryRows(
        rows=rows,
        constants=constants,
        factor=_factor(given),
        unit=unit,
        again=partial(_read_again, given, kept, exponent),
    )


def _read_again(given: DistanceInput, kept: np.ndarray | None, exponent: int) -> np.ndarray:
    rows = _pass_over(given, kept).to_array()
    return np.ldexp(rows, exponent, out=rows) if exponent else rows


def put_summary_rows(
    given: DistanceInput,
    method: str,
    kept: np.ndarray | None,
    *,
    at_rest: tuple[str, str],
    progress: Progress,
    name: str,
) -> RestingRows:
    """Put the same rows at rest, in the order of a k-d tree's leaves.

    Parameters
    ----------
    at_rest
        Store and name in it.
    given, method, kept, progress, name
        As of `read_summary_rows`.

    Raises
    ------
    DataValueError
        As of `read_summary_rows`.
    StorageError
        They cannot be put there.
    """
    _refuse_others(given, method)
    store, path = at_rest
    values = _pass_over(given, kept)
    n, k = values.shape
    constants, extent = np.zeros(n), Extent(k)
    with progress.stage(name, total=given.source.shape[0], unit="rows", unit_bytes=8 * k) as stage:

        def parts() -> Iterator[np.ndarray]:
            for strip in values.strips():
                constants[strip.to] = _constants(given, strip.values)
                stage.advance(strip.of_matrix.stop - strip.of_matrix.start)
                yield strip.values

        read = put_at_rest(
            extent.of(parts()),
            shape=(n, k),
            dtype=values.dtype,
            store=store,
            path=path_of_read(path),
        )
    exponent, unit = 0, 1.0
    if not _is_bounded(given):
        try:
            exponent, unit = _scale(extent.least, extent.most, is_root=method == "ward")
        except DataValueError:
            read.remove()
            raise
    order = near_order(Sketch(extent).of_all(read), OWNERS)
    at_once = max(_FEWEST_AT_ONCE, _AT_ONCE_BYTES // (8 * k), n * _LISTS_BYTES // (8 * k))
    reader = reordered(read, order, store=store, path=path, rows_at_once=at_once, exponent=exponent)
    read.remove()
    return RestingRows(
        reader=reader,
        order=order,
        store=store,
        path=path,
        constants=constants,
        factor=_factor(given),
        unit=unit,
    )


def _refuse_others(given: DistanceInput, method: str) -> None:
    metric = given.metric.name
    if not summaries_serve(method, metric, is_boolean=given.is_boolean):
        raise DataValueError(
            f"clusters of {method} linkage with {metric} distances are not summed up by their "
            "means: use another engine"
        )


def _pass_over(given: DistanceInput, kept: np.ndarray | None) -> RowPass:
    return RowPass(
        source=given.source, dtype=_row_dtype(given), read=partial(_compared, given), kept=kept
    )


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


def _is_bounded(given: DistanceInput) -> bool:
    """Whether rows are no longer than one, or a root of their number of features."""
    return given.metric.is_unit or given.metric.name in _TRUTHS


def _total_weight(given: DistanceInput) -> float:
    weights = given.weights
    return float(given.n_features if weights is None else weights.sum())


def _factor(given: DistanceInput) -> float:
    if given.metric.name == "hamming":
        return 1.0 / _total_weight(given)
    if given.metric.name == "russellrao":
        return 0.5 / _total_weight(given)
    return 0.5 if given.metric.is_unit else 1.0


def _constants(given: DistanceInput, rows: np.ndarray) -> np.ndarray:
    """Return the constant of each of some rows."""
    if given.metric.name != "russellrao":
        return np.zeros(len(rows))
    total = _total_weight(given)
    squares = np.einsum("ij,ij->i", rows, rows, dtype=np.float64)
    return np.asarray(np.maximum(total - squares, 0.0) / (2.0 * total))


def _scale(least: np.ndarray, most: np.ndarray, *, is_root: bool) -> tuple[int, float]:
    """Choose the exponent by which rows are scaled, so that their squares are doubles.

    Parameters
    ----------
    least, most
        ``(k,)``: of each feature.
    is_root
        Whether distances are not squared.

    Returns
    -------
    exponent, unit
        Zero for ordinary values; and the unit of distances.
    """
    least, most = least.astype(np.float64), most.astype(np.float64)
    largest = max(float(most.max(initial=0.0)), -float(least.min(initial=0.0)))
    exponent = 0
    if largest > _ORDINARY or 0.0 < largest < 1.0 / _ORDINARY:
        allowed = 2 * _LARGEST_EXPONENT if is_root else _LARGEST_EXPONENT
        exponent = min(-int(np.frexp(largest)[1]), allowed)
    ranges = np.ldexp(most, exponent) - np.ldexp(least, exponent)
    with np.errstate(over="ignore"):
        diagonal = np.ldexp(np.sqrt(np.square(ranges).sum()), -exponent)
        widest = diagonal if is_root else np.square(diagonal)
    if not np.isfinite(widest):
        raise DataValueError(
            f"the rows span {diagonal:.3g}, and distances of clusters would overflow float64: "
            "scale the matrix"
        )
    return exponent, float(np.ldexp(1.0, -exponent if is_root else -2 * exponent))

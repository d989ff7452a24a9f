"""Plan: what was asked for, parsed and validated once, before anything is opened or run."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from clustergrid.pipeline.hierarchy.methods import check_method
from clustergrid.pipeline.keywords import MetricKeywords
from clustergrid.pipeline.metrics import Function, Metric, check_metric, get_metric
from clustergrid.pipeline.square import is_precomputed, refuse_normalized
from clustergrid.pipeline.tree_engine import check_engine, refuse_ordered_tiles
from clustergrid.storage.errors import DataTypeError, DataValueError

__all__ = ["AXIS_NAMES", "AxisSpec", "RunSpec", "check_normalization", "distance_dtype"]

AXIS_NAMES = ("row", "col")
"""Of the axes, as in seaborn's arguments and in the names of stages and files."""


def distance_dtype(matrix_dtype: np.dtype[np.generic], dtype: object = None) -> str:
    """Type of the distances: as asked, else that of the matrix, integers and bools as float64.

    Raises
    ------
    DataTypeError
        A TypeError: something other than float32 or float64 was asked for, or the matrix holds
        no real numbers.

    Examples
    --------
    >>> distance_dtype(np.dtype("float32")), distance_dtype(np.dtype("int16"))
    ('float32', 'float64')
    >>> distance_dtype(np.dtype("float64"), "float32")
    'float32'
    """
    if matrix_dtype.kind not in "fiub":
        raise DataTypeError(f"the matrix holds {matrix_dtype}, which are not real numbers")
    if dtype is None:
        return "float32" if matrix_dtype.kind == "f" and matrix_dtype.itemsize <= 4 else "float64"
    try:
        asked = np.dtype(dtype)  # type: ignore[call-overload]
    except (TypeError, ValueError, SyntaxError):
        asked = None
    # NumPy takes None for float64, in comparisons too.
    if asked is None or asked not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise DataTypeError(f"dtype must be float32 or float64, got {dtype!r}")
    return str(asked.name)


def check_normalization(z_score: int | None, standard_scale: int | None) -> None:
    """Refuse what seaborn refuses, and axes that do not exist.

    Raises
    ------
    DataValueError
        A ValueError: both are given, or one is neither None, 0 nor 1.
    """
    if z_score is not None and standard_scale is not None:
        raise DataValueError("Cannot perform both z-scoring and standard-scaling on data")
    for name, axis in (("z_score", z_score), ("standard_scale", standard_scale)):
        if axis is not None and (isinstance(axis, bool) or axis not in (0, 1)):
            raise DataValueError(f"{name} must be 0 (rows), 1 (columns) or None, got {axis!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class AxisSpec:
    """How one axis is clustered.

    Attributes
    ----------
    cluster
        Whether it is.
    method, metric
        As in SciPy; the metric may be a function of two vectors.
    metric_kws
        Keywords of the metric.
    optimal_ordering
        Whether leaves are turned so that neighbours are near.
    dtype
        Type of the distances: float32 or float64.
    linkage
        Path of a linkage matrix to use instead of computing one.
    engine
        What the tree is made from, of `clustergrid.pipeline.tree_engine.ENGINES`; None: what is
        best.
    """

    cluster: bool = True
    method: str = "average"
    metric: str | Function = "euclidean"
    metric_kws: MetricKeywords = field(default_factory=MetricKeywords)
    optimal_ordering: bool = False
    dtype: str = "float64"
    linkage: str | None = None
    engine: str | None = None

    def __post_init__(self) -> None:
        check_method(self.method)
        check_metric(self.metric, self.method, self.metric_kws)
        check_engine(self.engine, self.method, self.found_metric.name)
        if self.engine == "tiles" and self.optimal_ordering:
            refuse_ordered_tiles()
        distance_dtype(np.dtype(np.float64), self.dtype)

    @property
    def is_computed(self) -> bool:
        """Whether a tree is to be made, and not given."""
        return self.cluster and self.linkage is None

    @property
    def found_metric(self) -> Metric:
        """The metric with its keywords."""
        return get_metric(self.metric, self.metric_kws)

    def to_json(self) -> dict[str, Any]:
        """Return what was asked, of arrays a digest."""
        asked = {each.name: getattr(self, each.name) for each in fields(self)}
        if self.engine is None:
            del asked["engine"]
        return {**asked, "metric_kws": self.metric_kws.to_json()}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSpec:
    """What a run computes; together with the input it decides every result.

    Attributes
    ----------
    row, column
        How the axes are clustered.
    z_score, standard_scale
        0 (rows), 1 (columns) or None, as in seaborn.
    """

    row: AxisSpec = field(default_factory=AxisSpec)
    column: AxisSpec = field(default_factory=AxisSpec)
    z_score: int | None = None
    standard_scale: int | None = None

    def __post_init__(self) -> None:
        check_normalization(self.z_score, self.standard_scale)
        if any(spec.cluster and is_precomputed(spec.metric) for spec in (self.row, self.column)):
            refuse_normalized(self.z_score, self.standard_scale)

    def axis(self, axis: int) -> AxisSpec:
        """How the rows (0) or the columns (1) are clustered."""
        return self.column if axis else self.row

    def check_features(self, shape: tuple[int, int]) -> None:
        """Refuse keywords that are of other features than the matrix of this shape has.

        Raises
        ------
        DataValueError
            A ValueError: which keyword of which axis, and both numbers.
        """
        both = self.row.is_computed and self.column.is_computed
        for axis, observations in enumerate(("rows", "columns")):
            spec = self.axis(axis)
            if not spec.is_computed:
                continue
            try:
                spec.metric_kws.check_features(shape[1 - axis], observations)
            except DataValueError as error:
                hint = ": give keywords to one axis, row_metric_kws or col_metric_kws"
                raise DataValueError(f"{error}{hint if both else ''}") from None

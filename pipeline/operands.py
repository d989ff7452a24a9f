"""Driver: what every tile needs to know, found in passes over the rows before the first one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from clustergrid.pipeline.covariance import with_covariance
from clustergrid.pipeline.engines.base import UndefinedFeaturesError, UndefinedRowsError
from clustergrid.pipeline.engines.given import DistanceInput, blocks_of, holds_booleans
from clustergrid.pipeline.engines.sparse import preferred_sparse, sparse_input
from clustergrid.pipeline.execution import Executor
from clustergrid.pipeline.keywords import MetricKeywords
from clustergrid.pipeline.metrics import (
    SMALL_OPERATIONS,
    Function,
    Metric,
    engine_for,
    get_metric,
)
from clustergrid.pipeline.monitor import Progress
from clustergrid.pipeline.normalize import MatrixStatistics, Normalization, normalized_statistics
from clustergrid.storage.grid import (
    BLOCK_FEATURES,
    BLOCK_ROWS,
    pass_block,
    round_up,
    slabs,
)
from clustergrid.storage.source import MatrixSource
from clustergrid.storage.sparse import SparseSource

__all__ = ["distance_input"]

_CENTRE_BLOCKS = 8
"""Blocks of rows that the centre of unit rows is made of."""


def distance_input(
    source: MatrixSource,
    statistics: MatrixStatistics,
    normalization: Normalization,
    metric: str | Function,
    keywords: MetricKeywords | None = None,
    *,
    dtype: np.dtype[np.floating],
    features_at_once: int,
    executor: Executor,
    progress: Progress,
    name: str,
) -> DistanceInput:
    """Choose the engine and make the passes over the rows that the metric asks for.

    Parameters
    ----------
    source, statistics, normalization
        The matrix with observations in rows, ``(n, k)``, and what is known of it.
    metric, keywords
        As in `get_metric`.
    dtype
        Type of the distances.
    features_at_once
        Features that a task holds in memory.
    executor, progress
        Where the passes run, and who is told.
    name
        Name of the stage.

    Raises
    ------
    UndefinedRowsError
        A row has no distance under this metric: it is constant, or all zero.
    DataValueError
        A keyword does not fit the matrix, or the data give none: a feature that seuclidean would
        divide by the variance of is constant, the covariance that mahalanobis inverts is singular.
    """
    n, k = source.shape
    found = get_metric(metric, keywords)
    found.keywords.check_features(k)
    engine = engine_for(found, n, k, is_boolean=holds_booleans(source, normalization))
    sparse = preferred_sparse(source, found, normalization, itemsize=np.dtype(dtype).itemsize)
    if n * n * k <= SMALL_OPERATIONS:
        sparse = None
    given = DistanceInput(
        source=source,
        normalization=normalization,
        name=metric if callable(metric) else found.name,
        keywords=found.keywords,
        engine=engine if sparse is None else "sparse",
        dtype=np.dtype(dtype).name,
        totals=np.zeros((n, 2)),
        features_at_once=round_up(k, BLOCK_FEATURES)
        if found.needs_whole_rows
        else features_at_once,
        weights=found.keywords.w,
    )
    if sparse is not None:
        return _with_sparse_rows(given, sparse, executor, progress, name)
    if found.name == "seuclidean":
        given = _with_variances(given, statistics, executor, progress)
    if found.name == "mahalanobis":
        given = with_covariance(given, statistics, executor, progress, name)
    is_centred = engine == "product" and not found.is_unit
    if is_centred:
        centre = _centre(statistics, normalization, k)
        if source.dtype == np.float32:
            # Any centre will do; one of the values' type is subtracted in that.
            centre = centre.astype(np.float32).astype(np.float64)
        given = replace(given, centre=centre)
    if found.totals == "none" and not is_centred:
        return given
    totals = _totals(given, executor, progress, f"{name}-norms")
    if found.undefined is not None:
        _refuse_undefined(found, totals)
    given = replace(given, totals=totals)
    if is_centred:
        return replace(given, squares=totals[:, 1], scale=_scale(given, totals))
    if engine != "product":
        return given
    given = replace(given, centre=_unit_centre(given))
    totals = _totals(given, executor, progress, f"{name}-lengths", _unit_totals)
    return replace(given, squares=totals[:, 1])


def _with_sparse_rows(
    given: DistanceInput,
    source: SparseSource,
    executor: Executor,
    progress: Progress,
    name: str,
) -> DistanceInput:
    """Find what products of sparse rows need."""
    sparse = sparse_input(
        source,
        given.normalization,
        given.metric.name,
        dtype=np.dtype(given.dtype),
        executor=executor,
        progress=progress,
        name=name,
    )
    if given.metric.undefined is not None:
        _refuse_undefined(given.metric, sparse.totals)
    return replace(given, totals=sparse.totals, sparse=sparse)


def _scale(given: DistanceInput, totals: np.ndarray) -> float:
    """Power of two that brings rows near length one, where float32 could not hold products."""
    longest = np.sqrt(totals[:, 1].max())
    if given.dtype != "float32" or longest == 0 or 2.0**-40 < longest < 2.0**40:
        return 1.0
    # The scale is a float32 itself.
    return float(np.ldexp(1.0, min(126, -int(np.frexp(longest)[1]))))


def _centre(
    statistics: MatrixStatistics, normalization: Normalization, n_features: int
) -> np.ndarray:
    """Column means of the normalized matrix, where the statistics give them.

    Any centre is right; one near the data keeps digits. Rows that are normalized one by one have
    no common offset worth removing.
    """
    columns = statistics.columns
    if normalization.axis is None:
        return columns.mean
    if normalization.axis == 0:
        return np.zeros(n_features)
    assert normalization.shift is not None
    assert normalization.scale is not None
    centre: np.ndarray = (columns.mean - normalization.shift) / normalization.scale
    return centre


def _with_variances(
    given: DistanceInput, statistics: MatrixStatistics, executor: Executor, progress: Progress
) -> DistanceInput:
    """Divide by variances: those that were given, or of the features (``ddof=1``), as SciPy."""
    variances = given.keywords.V
    if variances is None:
        columns = normalized_statistics(
            given.source, statistics, given.normalization, executor, progress
        ).columns
        variances = np.square(columns.standard_deviation)
        flat = np.flatnonzero(~(variances > 0))
        if len(flat):
            raise UndefinedFeaturesError(
                flat, "constant, and seuclidean divides by their variances", "Drop them, or give V"
            )
    return replace(given, keywords=MetricKeywords(V=variances), weights=1.0 / variances)


def _unit_centre(given: DistanceInput) -> np.ndarray:
    """Mean of some unit rows: near any others, if not their mean.

    Rows that share a profile are at small angles. Their products are near one, and one minus them
    has lost the digits that differences from a common centre keep.
    """
    n = given.source.shape[0]
    blocks = list(blocks_of(slice(0, n)))
    some = blocks[:: max(1, len(blocks) // _CENTRE_BLOCKS)]
    centre = np.empty(given.n_features)
    for features in given.slabs():
        sums = np.zeros(features.stop - features.start)
        for rows in some:
            values = given.unit_values(rows, features)
            for block in slabs(values.shape[1], BLOCK_FEATURES):
                # NumPy adds a single column otherwise than one of many.
                sums[block] += np.ascontiguousarray(values[:, block]).sum(axis=0)
        centre[features] = sums / sum(rows.stop - rows.start for rows in some)
    return centre


def _unit_totals(given: DistanceInput, rows: slice) -> tuple[slice, np.ndarray]:
    """Squared distances of some unit rows from the centre, over feature blocks in their order."""
    assert given.centre is not None
    total = np.zeros((rows.stop - rows.start, 2))
    for features in given.slabs():
        for place, values in given.strips(rows, features):
            own = total[place.start - rows.start : place.stop - rows.start]
            unit = given.of_length_one(values, place)
            unit -= given.centre[features]
            np.square(unit, out=unit)
            if given.weights is not None:
                unit *= given.weights[features]
            for block in slabs(unit.shape[1], BLOCK_FEATURES):
                own[:, 1] += np.ascontiguousarray(unit[:, block]).sum(axis=1)
    return rows, total


RowTotals = Callable[[DistanceInput, slice], tuple[slice, np.ndarray]]


def _totals(
    given: DistanceInput,
    executor: Executor,
    progress: Progress,
    name: str,
    of_rows: RowTotals | None = None,
) -> np.ndarray:
    """``(n, 2)`` mean (or sum) and sum of squares of every row."""
    n, k = given.source.shape
    totals = np.empty((n, 2))
    rows_at_once, width = pass_block((n, k), given.source.chunks)
    passing = replace(given, features_at_once=round_up(width, BLOCK_FEATURES))
    of_rows = of_rows or _row_totals
    if given.transform is not None:
        rows_at_once, passing, of_rows = BLOCK_ROWS, given, _transformed_totals
    row_bytes = k * given.source.dtype.itemsize
    with progress.stage(name, total=n, unit="rows", unit_bytes=row_bytes) as stage:
        for rows, part in executor.map(
            of_rows, executor.share(passing), slabs(n, rows_at_once), name=name
        ):
            totals[rows] = part
            stage.advance(rows.stop - rows.start)
    return totals


def _row_totals(given: DistanceInput, rows: slice) -> tuple[slice, np.ndarray]:
    """Totals of some rows, merged over feature blocks in their order."""
    total = np.zeros((rows.stop - rows.start, 2))
    weight = 0.0
    for features in given.slabs():
        before = weight
        for place, values in given.strips(rows, features):
            own = total[place.start - rows.start : place.stop - rows.start]
            weight = before
            for block in slabs(values.shape[1], BLOCK_FEATURES):
                part = slice(features.start + block.start, features.start + block.stop)
                of_part = np.ascontiguousarray(values[:, block])
                weight = _add_totals(given, part, of_part, own, weight)
    return rows, total


def _add_totals(
    given: DistanceInput, features: slice, values: np.ndarray, total: np.ndarray, weight: float
) -> float:
    """Add a block of features to the totals of its rows; return the weight of those so far."""
    weights = None if given.weights is None else given.weights[features]
    if given.metric.totals == "deviations":
        return _add_deviations(total, weight, values, weights)
    if given.metric.totals == "sum":
        total += values.sum(axis=1)[:, None]
        # What is not positive is refused: a row with a negative value is, whatever its sum.
        total[(values < 0).any(axis=1), 1] = -np.inf
        return weight
    if given.centre is not None:
        values = values - given.centre[features]
    squares = np.square(values)
    total[:, 1] += (squares if weights is None else squares * weights).sum(axis=1)
    return weight


def _transformed_totals(given: DistanceInput, rows: slice) -> tuple[slice, np.ndarray]:
    """Add the squares of a block of rows as tiles see it."""
    assert given.centre is not None
    assert given.transform is not None
    total = np.zeros((rows.stop - rows.start, 2))
    centred = given.values(rows, slice(0, given.n_features)) - given.centre
    total[:, 1] = np.square(centred @ given.transform).sum(axis=1)
    return rows, total


def _add_deviations(
    total: np.ndarray, weight: float, part: np.ndarray, weights: np.ndarray | None
) -> float:
    """Merge means and squared deviations (Chan, Golub and LeVeque 1983); return the new weight."""
    if weights is None:
        own, mean = float(part.shape[1]), part.mean(axis=1)
    else:
        part, weights = part[:, weights > 0], weights[weights > 0]
        own = float(weights.sum())
        if own == 0.0:
            return weight
        mean = (part * weights).sum(axis=1) / own
    # Else the means of blocks of equal values would differ by a rounding.
    constant = part.max(axis=1) == part.min(axis=1)
    mean[constant] = part[constant, 0]
    squares = np.square(part - mean[:, None])
    if weights is not None:
        squares *= weights
    share = own / (weight + own)
    difference = mean - total[:, 0]
    total[:, 1] += squares.sum(axis=1) + difference * difference * weight * share
    total[:, 0] += difference * share
    return weight + own


def _refuse_undefined(metric: Metric, totals: np.ndarray) -> None:
    undefined = np.flatnonzero(~(totals[:, 1] > 0))
    if len(undefined):
        raise UndefinedRowsError(metric.name, metric.undefined or "", undefined)

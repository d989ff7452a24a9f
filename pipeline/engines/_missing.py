"""Kernel: distances of rows with missing values (NaN), over the features that both rows have.

Metrics that are sums over features are in `MISSING`. For two blocks of rows::

    centring = row_centring(ranges)                     where `standardized`: one pass over the rows
    for each block of features, in order:
        metric.accumulate(left, right.T, accumulators)  (m, bi, bj) zeros at first
    metric.finish(accumulators, n_features, min_periods, out, flagged)
    for step in metric.refine:                          of flagged pairs, some at once; raw values
        for each block of features, in order:
            step(left, right, pairs, state)
    metric.finish_refined(pairs, state, out)
    undefined = first_undefined(out, accumulators[0], min_periods, upper=...)

`block_distances` does all of this for values that are in memory or read block by block.
``nan_spearman`` needs whole rows: see `_missing_ranks`.

Every sum runs feature by feature, or over blocks of `BLOCK_FEATURES` counted from feature 0, and
each formula is symmetric in the two rows. So d(i, j) is d(j, i) to the bit, and does not depend on
how rows are cut into blocks, nor on how features are cut at multiples of `BLOCK_FEATURES`.

A pair with fewer common features than ``min_periods``, or whose common values are constant in one
row, has no distance: it is NaN in the output, and `first_undefined` says which of the two it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from clustergrid.pipeline._jit import jit
from clustergrid.pipeline.engines import _missing_sums
from clustergrid.storage.grid import BLOCK_FEATURES

__all__ = [
    "MISSING",
    "MissingMetric",
    "UndefinedPair",
    "add_row_ranges",
    "block_distances",
    "first_undefined",
    "row_centring",
    "row_ranges",
]

Accumulate = Callable[[np.ndarray, np.ndarray, np.ndarray], None]
Finish = Callable[[np.ndarray, int, int, np.ndarray, np.ndarray], None]
Refine = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], None]
FinishRefined = Callable[[np.ndarray, np.ndarray, np.ndarray], None]
FeatureBlocks = Callable[[], Iterator[tuple[np.ndarray, np.ndarray]]]

_REFINED_AT_ONCE = 2**15
"""Flagged pairs whose state, 4 MB, is held at once: all of a block's would be 36 MB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingMetric:
    """A metric over common features whose parts are sums over features.

    Attributes
    ----------
    name
        The metric's name.
    min_periods
        Least number of common features, unless the user gives another.
    n_accumulators
        Sums that a pair needs, float64. The first is the number of common features.
    accumulate
        ``accumulate(left (bi, k), right (k, bj), accumulators (m, bi, bj))`` adds one block of
        features, at most `BLOCK_FEATURES`. All are float64, NaN is missing; left and right are
        C-contiguous. For blocks of 512 rows it takes less than 3 MB of its own.
    finish
        ``finish(accumulators, n_features, min_periods, out, flagged)`` writes the distances
        ``(bi, bj)`` and which of them (bool) lost digits to cancellation.
    standardized
        `accumulate` wants ``(values - shift) * scale``, each row with its own of `row_centring`.
        The steps of `refine` want ``values * scale``.
    refine
        Passes over the features that compute flagged pairs anew. Each is called with raw blocks
        ``left (bi, k)``, ``right (bj, k)``, the flagged ``pairs (p, 2)`` int64 and
        ``state (p, n_state)`` float64, zeros at first.
    n_state
        Numbers that a flagged pair needs.
    finish_refined
        ``finish_refined(pairs, state, out)`` replaces the flagged distances.
    """

    name: str
    min_periods: int
    n_accumulators: int
    accumulate: Accumulate
    finish: Finish
    standardized: bool = False
    refine: tuple[Refine, ...] = ()
    n_state: int = 0
    finish_refined: FinishRefined | None = None

    def prepare(self, values: np.ndarray, centring: np.ndarray) -> np.ndarray:
        """Operand of `accumulate` from raw ``(b, k)`` and the rows' ``(b, 2)`` centring."""
        if not self.standardized:
            return np.ascontiguousarray(values)
        operand: np.ndarray = np.multiply(values, centring[:, 1:])
        operand -= centring[:, :1] * centring[:, 1:]
        return operand


@dataclass(frozen=True, slots=True, kw_only=True)
class UndefinedPair:
    """A pair of a block that has no distance.

    Attributes
    ----------
    i, j
        Its place in the block.
    overlap
        Number of features that both rows have.
    reason
        ``"overlap"``: fewer than ``min_periods``; ``"constant"``: the common values of one row
        are all equal.
    """

    i: int
    j: int
    overlap: int
    reason: Literal["overlap", "constant"]


def first_undefined(
    distances: np.ndarray, overlaps: np.ndarray, min_periods: int, *, upper: bool = False
) -> UndefinedPair | None:
    """Find the first pair, row by row, without a distance.

    Parameters
    ----------
    distances, overlaps
        ``(bi, bj)`` distances, NaN where there is none, and numbers of common features.
    min_periods
        Least number of common features.
    upper
        Look above the diagonal only: rows and columns are the same observations.

    Examples
    --------
    >>> first_undefined(np.array([[0.0, np.nan]]), np.array([[9.0, 1.0]]), 2)
    UndefinedPair(i=0, j=1, overlap=1, reason='overlap')
    """
    undefined = np.isnan(distances)
    if upper:
        undefined &= ~np.tri(*undefined.shape, dtype=np.bool_)
    if not undefined.any():
        return None
    i, j = (int(index) for index in np.argwhere(undefined)[0])
    overlap = int(overlaps[i, j])
    return UndefinedPair(
        i=i, j=j, overlap=overlap, reason="overlap" if overlap < min_periods else "constant"
    )


def row_ranges(n: int) -> np.ndarray:
    """``(n, 4)`` count, sum, minimum and maximum of rows before any value was seen."""
    return np.tile([0.0, 0.0, np.inf, -np.inf], (n, 1))


@jit
def add_row_ranges(values: np.ndarray, ranges: np.ndarray) -> None:  # pragma: no cover - compiled
    """Add a block of features ``(b, k)`` to the rows' ranges; missing values are left out."""
    for i in range(values.shape[0]):
        count, total, smallest, largest = ranges[i]
        for f in range(values.shape[1]):
            x = values[i, f]
            if x == x:
                count += 1.0
                total += x
                smallest = min(smallest, x)
                largest = max(largest, x)
        ranges[i, 0] = count
        ranges[i, 1] = total
        ranges[i, 2] = smallest
        ranges[i, 3] = largest


def row_centring(ranges: np.ndarray) -> np.ndarray:
    """Shift and scale of each row, from its ranges: ``(n, 2)`` float64.

    The shift is the mean, or the middle where the sum overflows. The scale is the power of two
    that brings the row near one, where squares neither overflow nor vanish. Neither changes a
    correlation; rows without any value are left as they are.

    Examples
    --------
    >>> ranges = row_ranges(1)
    >>> add_row_ranges(np.array([[7.0, np.nan, 9.0]]), ranges)
    >>> row_centring(ranges)
    array([[8. , 0.5]])
    """
    count, total = ranges[:, :2].T
    some = count > 0
    centring = np.zeros((len(ranges), 2))
    np.divide(total, count, out=centring[:, 0], where=some)
    smallest, largest = np.where(some, ranges[:, 2:].T, 0.0) * 0.5
    np.copyto(centring[:, 0], smallest + largest, where=~np.isfinite(centring[:, 0]))
    width = largest - smallest
    exponent = np.frexp(np.where(width > 0, width, 0.5))[1]
    centring[:, 1] = np.ldexp(1.0, np.clip(-exponent, -1022, 1022))
    return centring


def block_distances(
    metric: MissingMetric,
    blocks: FeatureBlocks,
    centring: tuple[np.ndarray, np.ndarray],
    *,
    min_periods: int,
    upper: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Distances and numbers of common features of two blocks of rows.

    Parameters
    ----------
    metric
        One of `MISSING`.
    blocks
        Called once, and twice more for every 32768 flagged pairs: yields raw ``(bi, k)`` and
        ``(bj, k)`` float64 of consecutive blocks of features, cut at multiples of
        `BLOCK_FEATURES`.
    centring
        Of the left and of the right rows, as of `row_centring`; not used unless `standardized`.
    min_periods
        Least number of common features.
    upper
        Both are the same rows, and what is not above the diagonal is not looked at by the
        caller: such pairs are not refined.

    Returns
    -------
    distances, overlaps
        ``(bi, bj)`` float64; distances are NaN where there is none.
    """
    shape = (len(centring[0]), len(centring[1]))
    accumulators = np.zeros((metric.n_accumulators, *shape))
    n_features = 0
    for wide in blocks():
        for left, right in _narrow(wide):
            n_features += left.shape[1]
            right = np.ascontiguousarray(metric.prepare(right, centring[1]).T)
            metric.accumulate(metric.prepare(left, centring[0]), right, accumulators)
    out = np.empty(shape)
    flagged = np.empty(shape, dtype=np.bool_)
    metric.finish(accumulators, n_features, min_periods, out, flagged)
    if upper:
        flagged &= ~np.tri(*shape, dtype=np.bool_)
    if metric.finish_refined is not None:
        places = np.flatnonzero(flagged)
        for start in range(0, len(places), _REFINED_AT_ONCE):
            some = places[start : start + _REFINED_AT_ONCE]
            pairs = np.column_stack(np.divmod(some, shape[1]))
            _refine(metric, metric.finish_refined, blocks, centring, pairs, out)
    return out, accumulators[0]


def _refine(
    metric: MissingMetric,
    finish: FinishRefined,
    blocks: FeatureBlocks,
    centring: tuple[np.ndarray, np.ndarray],
    pairs: np.ndarray,
    out: np.ndarray,
) -> None:
    """Compute some flagged pairs anew."""
    state = np.zeros((len(pairs), metric.n_state))
    for step in metric.refine:
        for left, right in blocks():
            scaled = left * centring[0][:, 1:], right * centring[1][:, 1:]
            step(*scaled, pairs, state)
    finish(pairs, state, out)


def _narrow(block: tuple[np.ndarray, np.ndarray]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    left, right = block
    for start in range(0, left.shape[1], BLOCK_FEATURES):
        features = slice(start, start + BLOCK_FEATURES)
        yield left[:, features], right[:, features]


_TABLE = (
    MissingMetric(
        name="nan_euclidean",
        min_periods=1,
        n_accumulators=2,
        accumulate=_missing_sums.add_squared_differences,
        finish=_missing_sums.finish_euclidean,
    ),
    MissingMetric(
        name="nan_correlation",
        min_periods=2,
        n_accumulators=6,
        accumulate=_missing_sums.add_moments,
        finish=_missing_sums.finish_correlation,
        standardized=True,
        refine=(_missing_sums.add_shifted_moments, _missing_sums.add_differences),
        n_state=_missing_sums.N_STATE,
        finish_refined=_missing_sums.finish_differences,
    ),
)

MISSING: dict[str, MissingMetric] = {metric.name: metric for metric in _TABLE}
"""Metrics over common features that are sums over features, by their names."""

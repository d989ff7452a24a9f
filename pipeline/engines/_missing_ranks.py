"""Kernel: Spearman distances of rows with missing values (NaN), re-ranked pair by pair.

Both rows of a pair are ranked over the features that both have. No pair is sorted: each row is
sorted once, and its ranks within a pair are counted along that order, past what the other row
misses. All sums are of integers (ranks are doubled, for ties have halves), so that nothing is
rounded before the last few operations::

    1 - r = (D - (|a| - |b|)^2) / (2 |a| |b|),    D = sum of (a - b)^2, of centred ranks a and b
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clustergrid.pipeline._jit import jit
from clustergrid.pipeline.engines._ranks import sorted_rows

__all__ = ["SPEARMAN_MIN_PERIODS", "PresentRanks", "rank_present", "spearman_distances"]

SPEARMAN_MIN_PERIODS = 2
"""Least number of common features, unless the user gives another."""

_FEATURES = 2048
"""Features whose squares are added as integers: their sum is far from overflow."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PresentRanks:
    """What a block of rows is compared by: 9 bytes a value.

    Attributes
    ----------
    order
        ``(b, k)`` int32: features of each row by increasing value, those it misses last. A
        feature f whose value equals that of the one before it is ``~f``.
    doubled
        ``(b, k)`` int32: twice the average ranks among what the row has; 0: missing.
    present
        ``(b, k)`` uint8: 1 where there is a value.
    counts
        ``(b, 2)`` int64: how many values each row has, and how many equal the one before.
    """

    order: np.ndarray
    doubled: np.ndarray
    present: np.ndarray
    counts: np.ndarray


def rank_present(values: np.ndarray) -> PresentRanks:
    """Sort and rank each row of ``(b, k)`` float64; NaN is missing.

    Examples
    --------
    >>> ranks = rank_present(np.array([[0.5, np.nan, 0.5, -1.0]]))
    >>> ranks.doubled, ranks.counts
    (array([[5, 0, 5, 2]], dtype=int32), array([[3, 1]]))
    """
    ranks = PresentRanks(
        order=np.empty(values.shape, dtype=np.int32),
        doubled=np.zeros(values.shape, dtype=np.int32),
        present=np.empty(values.shape, dtype=np.uint8),
        counts=np.empty((len(values), 2), dtype=np.int64),
    )
    for rows, order in sorted_rows(values):
        _rank_present(
            np.ascontiguousarray(values[rows]),
            order,
            ranks.order[rows],
            ranks.doubled[rows],
            ranks.present[rows],
            ranks.counts[rows],
        )
    return ranks


@jit
def _rank_present(
    values: np.ndarray,
    order: np.ndarray,
    signed: np.ndarray,
    doubled: np.ndarray,
    present: np.ndarray,
    counts: np.ndarray,
) -> None:  # pragma: no cover - compiled
    k = values.shape[1]
    for i in range(values.shape[0]):
        n = 0
        for f in range(k):
            present[i, f] = values[i, f] == values[i, f]
            n += present[i, f]
            signed[i, f] = order[i, f]
        tied = 0
        first = 0
        while first < n:
            value = values[i, order[i, first]]
            last = first + 1
            while last < n and values[i, order[i, last]] == value:
                signed[i, last] = ~np.int32(order[i, last])
                last += 1
            tied += last - first - 1
            for position in range(first, last):
                doubled[i, order[i, position]] = first + 1 + last
            first = last
        counts[i, 0] = n
        counts[i, 1] = tied


def spearman_distances(
    left: PresentRanks, right: PresentRanks, *, min_periods: int, upper: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """One minus the rank correlation of every pair, over the features that both rows have.

    Parameters
    ----------
    left, right
        Blocks of bi and bj rows of the same features.
    min_periods
        Least number of common features.
    upper
        Both are the same rows: compute above the diagonal only. The rest is zero.

    Returns
    -------
    distances, overlaps
        ``(bi, bj)`` float64; distances are NaN where there is none.

    Examples
    --------
    >>> rows = rank_present(np.array([[1.0, 2.0, 3.0, np.nan], [4.0, 6.0, 5.0, 0.0]]))
    >>> spearman_distances(rows, rows, min_periods=2, upper=True)[0]
    array([[0. , 0.5],
           [0. , 0. ]])
    """
    shape = (len(left.order), len(right.order))
    distances, overlaps = np.zeros(shape), np.zeros(shape)
    _spearman_pairs(
        *(left.order, left.doubled, left.present, left.counts),
        *(right.order, right.doubled, right.present, right.counts),
        *(min_periods, upper, distances, overlaps),
    )
    return distances, overlaps


@jit
def _spearman_pairs(
    left_order: np.ndarray,
    left_doubled: np.ndarray,
    left_present: np.ndarray,
    left_counts: np.ndarray,
    right_order: np.ndarray,
    right_doubled: np.ndarray,
    right_present: np.ndarray,
    right_counts: np.ndarray,
    min_periods: int,
    upper: bool,
    distances: np.ndarray,
    overlaps: np.ndarray,
) -> None:  # pragma: no cover - compiled
    k = left_order.shape[1]
    left_scratch, right_scratch = np.zeros(k, np.int32), np.zeros(k, np.int32)
    sums = np.empty(3)
    for i in range(left_order.shape[0]):
        for j in range(i + 1 if upper else 0, right_order.shape[0]):
            x, y = left_doubled[i], right_doubled[j]
            n = left_counts[i, 0]
            # Ranks hold within a pair where the other row misses nothing.
            if right_counts[j, 0] < k:
                n = _rank_common(left_order[i], left_counts[i], right_present[j], left_scratch)
                x = left_scratch
            if left_counts[i, 0] < k:
                n = _rank_common(right_order[j], right_counts[j], left_present[i], right_scratch)
                y = right_scratch
            overlaps[i, j] = n
            if n < max(min_periods, 1):
                distances[i, j] = np.nan
                continue
            _add_rank_differences(x, y, left_present[i], right_present[j], n, sums)
            distances[i, j] = _spearman(sums[0], sums[1], sums[2])


@jit
def _rank_common(
    order: np.ndarray, counts: np.ndarray, other: np.ndarray, doubled: np.ndarray
) -> int:  # pragma: no cover - compiled
    """Twice the ranks of a row among what the other has too; return how many these are.

    What the other misses gets a number as well, which nobody reads.
    """
    n = 0
    if counts[1] == 0:
        for position in range(counts[0]):
            f = np.uintp(order[position])  # no feature is counted from the end
            n += other[f]
            doubled[f] = 2 * n
        return n
    # Of ties, the mean of the first and the last: those before the group, and those up to its end.
    before = 0
    for position in range(counts[0]):
        f = order[position]
        if f >= 0:
            before = n
        else:
            f = ~f
        doubled[f] = before
        n += other[f]
    after = n
    up_to = n
    for position in range(counts[0] - 1, -1, -1):
        signed = order[position]
        f = signed if signed >= 0 else ~signed
        doubled[f] += up_to + 1
        after -= other[f]
        if signed >= 0:
            up_to = after
    return n


@jit
def _add_rank_differences(
    x: np.ndarray,
    y: np.ndarray,
    left: np.ndarray,
    right: np.ndarray,
    n: int,
    sums: np.ndarray,
) -> None:  # pragma: no cover - compiled
    """Add up ``(x - y)^2``, ``x^2`` and ``y^2`` of doubled, centred ranks, of common features.

    Integers within a block of features; above 2^53 (300,000 features) their total is rounded.
    """
    sums[:] = 0.0
    middle = n + 1
    for start in range(0, x.shape[0], _FEATURES):
        stop = min(start + _FEATURES, x.shape[0])
        ranks, others = x[start:stop], y[start:stop]
        here, there = left[start:stop], right[start:stop]
        squares, xx, yy = 0, 0, 0
        for f in range(stop - start):
            common = here[f] & there[f]
            a, b = (ranks[f] - middle) * np.int64(common), (others[f] - middle) * np.int64(common)
            squares += (a - b) * (a - b)
            xx += a * a
            yy += b * b
        sums[0] += squares
        sums[1] += xx
        sums[2] += yy


@jit
def _spearman(squares: float, xx: float, yy: float) -> float:  # pragma: no cover - compiled
    """One minus the correlation, from the sums of `_add_rank_differences`."""
    if xx == 0.0 or yy == 0.0:
        return np.nan
    x, y = np.sqrt(xx), np.sqrt(yy)
    lengths = (xx - yy) / (x + y)
    distance: float = (squares - lengths * lengths) / (2.0 * (x * y))
    return min(max(distance, 0.0), 2.0)

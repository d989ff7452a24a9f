"""Driver: distances of rows with missing values, over the features that both of a pair have."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from clustergrid.pipeline.engines._missing import (
    MISSING,
    add_row_ranges,
    block_distances,
    first_undefined,
    row_centring,
    row_ranges,
)
from clustergrid.pipeline.engines._missing_ranks import (
    SPEARMAN_MIN_PERIODS,
    PresentRanks,
    rank_present,
    spearman_distances,
)
from clustergrid.pipeline.engines.base import UndefinedPairError
from clustergrid.pipeline.engines.given import DistanceInput, blocks_of
from clustergrid.pipeline.execution import end_if_stopped
from clustergrid.storage.grid import BLOCK_FEATURES, slabs

__all__ = ["missing_tile"]


def _why_undefined(metric: str, overlap: int, min_periods: int) -> str:
    """Say what keeps two rows from having a distance, and what to do about it."""
    if overlap < min_periods:
        return (
            f"have values in {overlap:,} common features, and {metric} wants "
            f"min_periods={min_periods:,}. Drop rows with few values, impute them, or lower "
            "min_periods"
        )
    return (
        f"have no {metric} distance: one of them is constant in their {overlap:,} common "
        "features. Drop or impute it, raise min_periods, or use nan_euclidean"
    )


def missing_tile(given: DistanceInput, rows: slice, columns: slice) -> np.ndarray:
    """Distances of a tile, block by block of pairs.

    Raises
    ------
    UndefinedPairError
        Two rows have too few features in common, or nothing that varies in them.
    """
    compare = _Ranks(given) if given.metric.name == "nan_spearman" else _Sums(given)
    distances = np.zeros((rows.stop - rows.start, columns.stop - columns.start))
    for right in blocks_of(columns):
        for left in blocks_of(rows):
            if rows == columns and left.start > right.start:
                continue
            end_if_stopped()
            block, overlaps = compare(left, right)
            undefined = first_undefined(block, overlaps, compare.min_periods, upper=left == right)
            if undefined is not None:
                pair = left.start + undefined.i, right.start + undefined.j
                why = _why_undefined(given.metric.name, undefined.overlap, compare.min_periods)
                raise UndefinedPairError(pair, why)
            top, near = left.start - rows.start, right.start - columns.start
            distances[top : top + len(block), near : near + block.shape[1]] = block
    return distances


class _Sums:
    """Metrics that are sums over features."""

    def __init__(self, given: DistanceInput) -> None:
        self._given = given
        self._metric = MISSING[given.metric.name]
        self.min_periods = given.metric.keywords.min_periods or self._metric.min_periods
        self._centring: dict[int, np.ndarray] = {}

    def __call__(self, left: slice, right: slice) -> tuple[np.ndarray, np.ndarray]:
        """Distances of two blocks of rows, and how many features each pair has in common."""

        def blocks() -> Iterator[tuple[np.ndarray, np.ndarray]]:
            for features in self._given.slabs():
                end_if_stopped()
                one = self._given.values(left, features)
                yield one, one if left == right else self._given.values(right, features)

        centring = self._centring_of(left), self._centring_of(right)
        return block_distances(
            self._metric,
            blocks,
            centring,
            min_periods=self.min_periods,
            upper=left == right,
        )

    def _centring_of(self, rows: slice) -> np.ndarray:
        if rows.start not in self._centring:
            ranges = row_ranges(rows.stop - rows.start)
            for features in self._given.slabs() if self._metric.standardized else ():
                values = self._given.values(rows, features)
                for block in slabs(values.shape[1], BLOCK_FEATURES):
                    add_row_ranges(values[:, block], ranges)
            self._centring[rows.start] = row_centring(ranges)
        return self._centring[rows.start]


class _Ranks:
    """Rank correlations: each row is sorted once a tile."""

    def __init__(self, given: DistanceInput) -> None:
        self._given = given
        self.min_periods = given.metric.keywords.min_periods or SPEARMAN_MIN_PERIODS
        self._ranks: dict[int, PresentRanks] = {}

    def __call__(self, left: slice, right: slice) -> tuple[np.ndarray, np.ndarray]:
        """Distances of two blocks of rows, and how many features each pair has in common."""
        return spearman_distances(
            self._ranks_of(left),
            self._ranks_of(right),
            min_periods=self.min_periods,
            upper=left == right,
        )

    def _ranks_of(self, rows: slice) -> PresentRanks:
        if rows.start not in self._ranks:
            values = self._given.values(rows, slice(0, self._given.n_features))
            self._ranks[rows.start] = rank_present(values)
        return self._ranks[rows.start]

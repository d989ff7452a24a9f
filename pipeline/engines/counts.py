"""Driver: distances of booleans, from the features that both rows have."""

from __future__ import annotations

import numpy as np

from clustergrid.pipeline.engines import _compressed
from clustergrid.pipeline.engines._bits import COUNTS, count_common, count_ones, pack
from clustergrid.pipeline.engines.base import BlockEngine, Place
from clustergrid.pipeline.engines.given import DistanceInput

__all__ = ["Counts"]


class Counts(BlockEngine):
    """Whole numbers, 64 features at a time: exact, whatever the cuts."""

    has_pure_operands = False

    def __init__(self, given: DistanceInput) -> None:
        super().__init__(given)
        self._finish = COUNTS[given.metric.name]
        self._ones: dict[int, np.ndarray] = {}

    def operand(self, rows: slice, features: slice) -> np.ndarray:
        """Rows as bits; how many are set is noted for the end."""
        words = self._words(rows, features)
        ones = count_ones(words)
        seen = self._ones.get(rows.start)
        self._ones[rows.start] = ones if seen is None else seen + ones
        return words

    def _words(self, rows: slice, features: slice) -> np.ndarray:
        compressed = self.given.compressed
        if compressed is None:
            return pack(self.given.raw_values(rows, features) != 0)
        return _compressed.pack_entries(
            *compressed.read_compressed(rows), features.start, features.stop
        )

    def accumulators(self, height: int, width: int) -> np.ndarray:
        """Zeros for the features that both rows of a pair have."""
        return self.zeros((height, width), np.int32)

    def add(
        self, left: np.ndarray, right: np.ndarray, accumulators: np.ndarray, features: slice
    ) -> None:
        """Count what both have."""
        count_common(left, right, accumulators)

    def finish(self, accumulators: np.ndarray, place: Place) -> bool:
        """Make distances of the counts."""
        out = np.empty(accumulators.shape)
        left, right = self._ones[place.rows.start], self._ones[place.columns.start]
        self._finish(accumulators, left, right, self.given.n_features, out)
        return self.put(out, place)

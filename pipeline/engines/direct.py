"""Driver: distances from compiled loops over the features of each pair, in float64."""

from __future__ import annotations

import numpy as np

from clustergrid.pipeline.engines._loops import LOOPS, minkowski_loop
from clustergrid.pipeline.engines.base import BlockEngine, Place
from clustergrid.pipeline.engines.given import DistanceInput
from clustergrid.pipeline.execution import end_if_stopped
from clustergrid.storage.grid import BLOCK_FEATURES, slabs

__all__ = ["Direct"]


class Direct(BlockEngine):
    """The arithmetic of `scipy.spatial.distance.pdist`, many pairs side by side."""

    def __init__(self, given: DistanceInput) -> None:
        super().__init__(given)
        metric = given.metric
        assert metric.loop is not None
        if metric.loop == "minkowski":
            self._loop = minkowski_loop(metric.keywords.p or 2.0)
        else:
            self._loop = LOOPS[metric.loop]
        weights = metric.keywords.w
        self._weights = np.ones(given.n_features) if weights is None else weights
        self._parameter = metric.keywords.p or 0.0

    def operand(self, rows: slice, features: slice) -> np.ndarray:
        """Make of normalized values what the loop compares."""
        values = self.given.values(rows, features)
        if self.given.metric.is_boolean:
            values = (values != 0).astype(np.float64)
        if self.given.metric.totals == "sum":
            values = values / self.given.totals[rows, :1]
        return values

    def turned(self, operand: np.ndarray) -> np.ndarray:
        """Features first: neighbouring pairs share a vector register."""
        return np.ascontiguousarray(operand.T)

    def accumulators(self, height: int, width: int) -> np.ndarray:
        """Zeros for every sum that the loop makes."""
        return self.zeros((self._loop.n_accumulators, height, width), np.float64)

    def add(
        self, left: np.ndarray, right: np.ndarray, accumulators: np.ndarray, features: slice
    ) -> None:
        """Loop over the features of every pair."""
        weights = self._weights[features]
        for block in slabs(left.shape[1], BLOCK_FEATURES):
            end_if_stopped()
            self._loop.kernel(
                np.ascontiguousarray(left[:, block]),
                right[block],
                weights[block],
                self._parameter,
                accumulators,
            )

    def finish(self, accumulators: np.ndarray, place: Place) -> bool:
        """Make distances of the sums."""
        self._loop.finish(accumulators, float(self._weights.sum()), self._parameter)
        return self.put(accumulators[0], place)

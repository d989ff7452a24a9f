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
        return self._compared(self.given.values(rows, features), self.given.totals[rows])

    def _compared(self, values: np.ndarray, totals: np.ndarray) -> np.ndarray:
        if self.given.metric.is_boolean:
            values = (values != 0).astype(np.float64)
        if self.given.metric.totals == "sum":
            values = values / totals[:, :1]
        return values

    def paired(
        self, rows: np.ndarray, others: np.ndarray, totals: np.ndarray, other_totals: np.ndarray
    ) -> np.ndarray:
        """Compute the distances of some rows and others one to one, with the bits of any block.

        Parameters
        ----------
        rows, others
            ``(r, k)`` float64: values with all features.
        totals, other_totals
            ``(r, 2)`` of each.

        Returns
        -------
        numpy.ndarray
            ``(r,)`` float64.
        """
        accumulators = np.zeros((self._loop.n_accumulators, 1, len(rows)))
        one, other = self._compared(rows, totals), self._compared(others, other_totals)
        for block in slabs(one.shape[1], BLOCK_FEATURES):
            end_if_stopped()
            self._loop.paired(
                np.ascontiguousarray(one[:, block].T),
                np.ascontiguousarray(other[:, block].T),
                self._weights[block],
                self._parameter,
                accumulators,
            )
        self._loop.finish(accumulators, float(self._weights.sum()), self._parameter)
        distances: np.ndarray = accumulators[0, 0]
        return distances

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

"""Driver: distances from matrix products, and from differences where these cancelled."""

from __future__ import annotations

import numpy as np

from clustergrid.pipeline.engines import _products
from clustergrid.pipeline.engines.base import BlockEngine, Place
from clustergrid.pipeline.engines.given import DistanceInput
from clustergrid.storage.grid import BLOCK_FEATURES, slabs

__all__ = ["Products"]

# Below this share of the operands' scale, a product has lost too many digits: the pair is
# recomputed from differences. With the share s, what is left of the product's error is
# about eps * sqrt(k) / s, relative: 1e-10 in float64, 2e-5 in float32 (before the root).
CANCELLED = {np.dtype(np.float64): 1e-5, np.dtype(np.float32): 1e-2}
# Squared distances below this are recomputed in float64: products of float32 end at 1e-38.
SMALLEST = {np.dtype(np.float64): 0.0, np.dtype(np.float32): 1e-30}


class Products(BlockEngine):
    """One product a block of features, of rows that are centred or of length one.

    Equal operands are one array: BLAS uses the symmetry, and the result has it.
    """

    def __init__(self, given: DistanceInput) -> None:
        super().__init__(given)
        self._dtype = np.dtype(given.dtype)
        k = given.n_features
        self._centre = np.zeros(k) if given.centre is None else given.centre
        self._weights = np.ones(k) if given.weights is None else given.weights
        self._factors = np.sqrt(self._weights) * given.scale
        self._scratch: dict[tuple[int, int], np.ndarray] = {}

    def operand(self, rows: slice, features: slice) -> np.ndarray:
        """Centred or unit rows, in the distances' dtype."""
        given = self.given
        values = given.raw_values(rows, features)
        out = np.empty(values.shape, dtype=self._dtype)
        factors = self._factors[features]
        if given.metric.is_unit:
            means, lengths = given.means_and_lengths(rows)
            _products.unit_rows(values, means, lengths, factors, out)
            return out
        if given.transform is None:
            _products.centred_rows(values, self._centre[features], factors, out)
            return out
        centred = np.empty(values.shape)
        _products.centred_rows(values, self._centre[features], factors, centred)
        return np.asarray(centred @ given.transform, dtype=self._dtype)

    def accumulators(self, height: int, width: int) -> np.ndarray:
        """Products of so many pairs."""
        if not self.given.is_whole:
            return np.empty((height, width), dtype=self._dtype)
        # Of one block after another: in the processor's cache.
        if (height, width) not in self._scratch:
            self._scratch[height, width] = np.empty((height, width), dtype=self._dtype)
        return self._scratch[height, width]

    def add(
        self, left: np.ndarray, right: np.ndarray, accumulators: np.ndarray, features: slice
    ) -> None:
        """Add one product a block of features."""
        for block in slabs(left.shape[1], BLOCK_FEATURES):
            if features.start == 0 and block.start == 0:
                np.matmul(left[:, block], right[:, block].T, out=accumulators)
            else:
                accumulators += left[:, block] @ right[:, block].T

    def finish(self, accumulators: np.ndarray, place: Place) -> bool:
        """Make distances of products, and compute those again that lost digits."""
        given, bound = self.given, CANCELLED[self._dtype]
        product = given.metric.product
        assert product is not None
        # Single precision is a tenth faster; squares have no root that halves their error.
        needs_double = product.kind == "centred" and not product.root
        real = np.float64 if needs_double else self._dtype.type
        if product.kind == "unit":
            flagged, is_finite = _products.finish_unit(
                accumulators,
                real(1.0),
                real(bound),
                place.is_diagonal,
                place.out,
                place.top,
                place.left,
            )
        else:
            flagged, is_finite = _products.finish_centred(
                accumulators,
                (given.totals[place.rows, 1] * given.scale**2).astype(real),
                (given.totals[place.columns, 1] * given.scale**2).astype(real),
                real(2.0),
                real(bound),
                real(SMALLEST[self._dtype]),
                real(given.scale),
                product.root,
                place.is_diagonal,
                place.out,
                place.top,
                place.left,
            )
        if flagged:
            self._compute_again(place)
        return bool(is_finite)

    def _compute_again(self, place: Place) -> None:
        """Replace what is flagged by sums of squared differences in float64."""
        block = place.block
        is_flagged = block == _products.FLAGGED
        if place.is_diagonal:
            is_flagged &= ~np.tri(len(block), dtype=np.bool_)
        rows, columns = np.nonzero(is_flagged)
        left, left_of = np.unique(rows, return_inverse=True)
        right, right_of = np.unique(columns, return_inverse=True)
        pairs = np.stack([left_of, right_of], axis=1)
        sums = np.zeros(len(pairs))
        for features in self.given.slabs():
            one = self._rows(place.rows, left, features)
            other = self._rows(place.columns, right, features)
            if self.given.transform is not None:
                assert self.given.keywords.VI is not None
                _products.quadratic_forms(one, other, pairs, self.given.keywords.VI, sums)
                continue
            weights = self._weights[features]
            for part in slabs(one.shape[1], BLOCK_FEATURES):
                _products.squared_differences(
                    np.ascontiguousarray(one[:, part]),
                    np.ascontiguousarray(other[:, part]),
                    pairs,
                    weights[part],
                    sums,
                )
        product = self.given.metric.product
        assert product is not None
        if product.kind == "unit":
            sums *= 0.5
        elif product.root:
            np.sqrt(sums, out=sums)
        block[rows, columns] = sums

    def _rows(self, rows: slice, indices: np.ndarray, features: slice) -> np.ndarray:
        """Read some rows of a block, float64, of length one where the metric wants that."""
        values = self.given.some_values(rows, indices, features)
        if self.given.metric.is_unit:
            means, lengths = self.given.means_and_lengths(rows)
            values = (values - means[indices, None]) / lengths[indices, None]
        return values

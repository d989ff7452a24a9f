"""Driver: distances from matrix products, and from differences where these cancelled.

All are squared Euclidean distances: of rows about a common centre, and cosines and correlations of
rows of length one about theirs, ``1 - u.v = |u - v|^2 / 2``.

A block of pairs goes through three sieves, each of which keeps what it can vouch for:

1. one product in the distances' type; pairs that are near, compared with their distance from the
   centre, have lost digits to cancellation there;
2. where these are many and the type is single, one product in double precision;
3. the rest, pair by pair: sums of squared differences in double precision.

Blocks are counted from the matrix's corner, so what a pair goes through does not depend on tiles.
NumPy does what is around a product, in the processor's cache; the compiler is loaded for the third
sieve, which random data do not reach.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from clustergrid.pipeline.engines import _differences
from clustergrid.pipeline.engines.base import BlockEngine, Place
from clustergrid.pipeline.engines.given import DistanceInput
from clustergrid.storage.grid import BLOCK_FEATURES, slabs

__all__ = ["Products"]

# Below this share of the operands' scale, a product has lost too many digits. With the share s,
# what is left of the product's error is about eps * sqrt(k) / s, relative: 1e-11 in float64, 2e-5
# in float32 (before the root).
CANCELLED = {np.dtype(np.float64): 1e-4, np.dtype(np.float32): 1e-2}
# Squared distances below this are recomputed in float64: products of float32 end at 1e-38.
SMALLEST = {np.dtype(np.float64): 0.0, np.dtype(np.float32): 1e-30}
# Share of a block's pairs above which another product is cheaper than differences.
_MANY = 1 / 64
_PAIRS_AT_ONCE = 2**15
_ROWS_AT_ONCE = 64
"""Rows that become operands together: their values in double precision stay in the cache."""


class Products(BlockEngine):
    """One product a block of features, of rows that are centred or of length one.

    Equal operands are one array: BLAS uses the symmetry, and the result has it.
    """

    def __init__(self, given: DistanceInput) -> None:
        super().__init__(given)
        self._dtype = np.dtype(given.dtype)
        self._factors: np.ndarray | None = None
        if given.weights is not None or given.scale != 1.0:
            self._factors = np.sqrt(self._weights()) * given.scale

    def _weights(self) -> np.ndarray:
        weights = self.given.weights
        return np.ones(self.given.n_features) if weights is None else weights

    def operand(self, rows: slice, features: slice) -> list[np.ndarray]:
        """Make centred or unit rows, in the distances' dtype, an array a block of features.

        BLAS is called with the very same shapes and strides then, however features are cut: with
        others its last bits may differ.
        """
        values = self._operand_values(rows, features)
        return [
            np.ascontiguousarray(values[:, block])
            for block in slabs(values.shape[1], BLOCK_FEATURES)
        ]

    def _operand_values(self, rows: slice, features: slice) -> np.ndarray:
        given = self.given
        values = given.raw_values(rows, features)
        out = np.empty(values.shape, dtype=self._dtype)
        if given.transform is not None:
            assert given.centre is not None
            out[:] = (values - given.centre[features]) @ given.transform
            return out
        # Where both are single, single precision loses nothing: a result is rounded once.
        precision = np.result_type(values.dtype, self._dtype)
        if self._factors is not None:
            precision = np.dtype(np.float64)
        assert given.centre is not None
        centre = given.centre[features].astype(np.float64 if given.metric.is_unit else precision)
        means, lengths = given.means_and_lengths(rows) if given.metric.is_unit else (None, None)
        factors = None if lengths is None else 1.0 / lengths  # division is the slower one
        for part in slabs(len(values), _ROWS_AT_ONCE):
            if means is not None and factors is not None:
                made = np.subtract(values[part], means[part, None], dtype=np.float64)
                made *= factors[part, None]
                made -= centre
            else:
                made = np.subtract(values[part], centre, dtype=precision)
            if self._factors is not None:
                made *= self._factors[features]
            out[part] = made
        return out

    def accumulators(self, height: int, width: int) -> np.ndarray:
        """Products of so many pairs; the first replaces what is there."""
        return self.empty((height, width), self._dtype)

    def add(
        self,
        left: list[np.ndarray],
        right: list[np.ndarray],
        accumulators: np.ndarray,
        features: slice,
    ) -> None:
        """Add one product a block of features."""
        for block, (one, other) in enumerate(zip(left, right, strict=True)):
            if features.start == 0 and block == 0:
                np.matmul(one, other.T, out=accumulators)
            else:
                accumulators += one @ other.T

    def finish(self, accumulators: np.ndarray, place: Place) -> bool:
        """Make distances of products, and compute those again that lost digits."""
        # What overflows is found, and refused with the names of the rows.
        with np.errstate(over="ignore", invalid="ignore"):
            lost, is_finite = self._distances(accumulators, place)
        if lost is None:
            return is_finite
        if self._dtype == np.float32 and np.count_nonzero(lost) > _MANY * lost.size:
            lost = self._in_double_precision(place, lost)
        if lost is not None and lost.any():
            self._from_differences(place, lost)
        block = np.triu(place.block, 1) if place.is_diagonal else place.block
        return bool(np.isfinite(block).all())

    def _distances(self, products: np.ndarray, place: Place) -> tuple[np.ndarray | None, bool]:
        """Make distances of products, which are lost.

        Returns
        -------
        lost
            Which of them cancelled; None: none.
        is_finite
            Whether all are finite, if none cancelled.
        """
        given, product = self.given, self.given.metric.product
        assert product is not None
        assert given.squares is not None
        bound, smallest = CANCELLED[products.dtype], SMALLEST[products.dtype]
        left, right = (given.squares[part] * given.scale**2 for part in (place.rows, place.columns))
        squared = np.multiply(products, -2.0, out=products)
        squared += left[:, None].astype(products.dtype)
        squared += right.astype(products.dtype)
        lost = None
        # Few blocks hold near pairs: most are done with when their least is compared.
        least = max(bound * (left.max() + right.max()), smallest)
        if place.is_diagonal or not squared.min() > least:
            lost = (squared <= bound * np.add.outer(left, right)) | (squared < smallest)
            np.maximum(squared, 0.0, out=squared)
            if place.is_diagonal:
                # What is mirrored, and the diagonal, which is known to be zero.
                lost &= ~np.tri(len(lost), dtype=np.bool_)
        # NaN is the largest, where there is one.
        is_finite = bool(np.isfinite(squared.max()))
        block = place.block
        if product.kind == "unit":
            np.multiply(squared, 0.5, out=squared)
            np.minimum(squared, 2.0, out=block, casting="same_kind")
        elif product.root:
            np.sqrt(squared, out=block, casting="same_kind")
        else:
            np.copyto(block, squared, casting="same_kind")
        if given.scale != 1.0:
            # Twice for squares: that of the scale need not be a float32.
            for _ in range(1 if product.root else 2):
                np.divide(block, given.scale, out=block)
            is_finite = bool(np.isfinite(block).all())
        return lost, is_finite

    def _in_double_precision(self, place: Place, lost: np.ndarray) -> np.ndarray | None:
        """Replace what was lost by a product in double precision; return what still is."""
        given = replace(self.given, dtype="float64")
        out = np.empty(lost.shape)
        again = Place(rows=place.rows, columns=place.columns, out=out, top=0, left=0)
        engine = Products(given)
        products = np.empty(lost.shape)
        for features in given.slabs():
            left = engine.operand(place.rows, features)
            right = left if place.is_diagonal else engine.operand(place.columns, features)
            engine.add(left, right, products, features)
        still, _ = engine._distances(products, again)
        np.copyto(place.block, out, where=lost, casting="same_kind")
        return None if still is None else still & lost

    def _from_differences(self, place: Place, lost: np.ndarray) -> None:
        """Replace what was lost by sums of squared differences, some pairs at a time."""
        rows, columns = np.nonzero(lost)
        for part in slabs(len(rows), _PAIRS_AT_ONCE):
            sums = self._differences(place, rows[part], columns[part])
            place.block[rows[part], columns[part]] = sums

    def _differences(self, place: Place, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Distances of some pairs of a block from their differences, float64."""
        left, left_of = np.unique(rows, return_inverse=True)
        right, right_of = np.unique(columns, return_inverse=True)
        pairs = np.stack([left_of, right_of], axis=1)
        sums = np.zeros(len(pairs))
        for features in self.given.slabs():
            one = self._rows(place.rows, left, features)
            other = self._rows(place.columns, right, features)
            if self.given.transform is not None:
                assert self.given.keywords.VI is not None
                _differences.quadratic_forms(one, other, pairs, self.given.keywords.VI, sums)
                continue
            weights = self._weights()[features]
            for block in slabs(one.shape[1], BLOCK_FEATURES):
                _differences.squared_differences(
                    np.ascontiguousarray(one[:, block]),
                    np.ascontiguousarray(other[:, block]),
                    pairs,
                    weights[block],
                    sums,
                )
        product = self.given.metric.product
        assert product is not None
        if product.kind == "unit":
            sums *= 0.5
        elif product.root:
            # A form that is no more than semidefinite may be a rounding below zero.
            np.sqrt(np.maximum(sums, 0.0, out=sums), out=sums)
        return sums

    def _rows(self, rows: slice, indices: np.ndarray, features: slice) -> np.ndarray:
        """Read some rows of a block, float64, of length one where the metric wants that."""
        values = self.given.some_values(rows, indices, features)
        if self.given.metric.is_unit:
            means, lengths = self.given.means_and_lengths(rows)
            values = (values - means[indices, None]) / lengths[indices, None]
        return values

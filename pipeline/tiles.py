"""Driver: the distances of one tile, by one of five engines.

============  ===================================================  ===============================
engine        when (the size of the whole problem decides)          how
============  ===================================================  ===============================
``scipy``     small: a moment's work                                `scipy.spatial.distance.cdist`
``product``   the metric reduces to matrix products                 one product a block, then a
                                                                    recomputation of what cancelled
``direct``    the rest                                              a compiled loop over features
``function``  a metric of the user's own                            it is called, pair by pair
``sparse``    most of a sparse matrix is not stored                 products and counts of what is
============  ===================================================  ===============================

A task reads two slabs of rows, makes operands of them, and walks the features in blocks of
`BLOCK_FEATURES` and the pairs in blocks of `BLOCK_ROWS`, both counted from the matrix's corner.
Tiles are multiples of a block, so a distance is computed by the very same calls whichever tile
it falls into.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from clustergrid.pipeline import kernels
from clustergrid.pipeline.engines.sparse import SparseInput, sparse_tile
from clustergrid.pipeline.metrics import Function, get_metric
from clustergrid.pipeline.normalize import Normalization
from clustergrid.storage.errors import DataValueError
from clustergrid.storage.grid import BLOCK_FEATURES, BLOCK_ROWS, slabs
from clustergrid.storage.source import MatrixSource

__all__ = ["DistanceInput", "tile_distances"]

# Below this share of the operands' scale, a product has lost too many digits: the pair is
# recomputed from differences. With the share s, what is left of the product's error is
# about eps * sqrt(k) / s, relative: 1e-10 in float64, 2e-5 in float32 (before the root).
_CANCELLED = {np.dtype(np.float64): 1e-5, np.dtype(np.float32): 1e-2}
# Squared distances below this are recomputed in float64: products of float32 end at 1e-38.
_SMALLEST = {np.dtype(np.float64): 0.0, np.dtype(np.float32): 1e-30}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DistanceInput:
    """All that a tile task needs to know besides its place.

    Attributes
    ----------
    source
        The matrix, ``(n, k)``: observations in rows.
    normalization
        Applied to every block that is read.
    metric
        Name of the metric, or a function.
    engine
        As `engine_for` chose.
    dtype
        Name of the distances' type: float32 or float64.
    centre
        ``(k,)`` subtracted from the operands of a centred product; None: nothing.
    totals
        ``(n, 2)`` mean and sum of squares of every row, as the metric wants them.
    features_at_once
        Features of a slab that is held in memory; a multiple of `BLOCK_FEATURES`.
    scale
        Power of two that the operands of a centred product are multiplied by.
    sparse
        What the engine ``sparse`` needs, and no other.
    """

    source: MatrixSource
    normalization: Normalization
    metric: str | Function
    engine: str
    dtype: str
    centre: np.ndarray | None
    totals: np.ndarray
    features_at_once: int
    scale: float = 1.0
    sparse: SparseInput | None = None

    def values(self, rows: slice, features: slice) -> np.ndarray:
        """Read normalized values, float64."""
        block = self.source.read(rows, features)
        return self.normalization.apply(block, rows, features)


def tile_distances(given: DistanceInput, rows: slice, columns: slice) -> np.ndarray:
    """Distances between two ranges of observations.

    Parameters
    ----------
    given
        The matrix and the metric.
    rows, columns
        Ranges that start at multiples of `BLOCK_ROWS`, with ``rows`` equal to ``columns`` or
        before it.

    Returns
    -------
    numpy.ndarray
        ``(rows, columns)``, in the input's dtype; symmetric where both are the same range.
    """
    if given.sparse is None and given.source.shape[1] <= given.features_at_once:
        given = _loaded(given, rows, columns)
    distances = _ENGINES[given.engine](given, rows, columns)
    if rows == columns:
        _mirror(distances)
    finite = np.isfinite(distances)
    if not finite.all():
        i, j = np.argwhere(~finite)[0]
        raise DataValueError(
            "The condensed distance matrix must contain only finite values. The distance of "
            f"observations {rows.start + i} and {columns.start + j} is {distances[i, j]}: the "
            f"metric is not defined there, or overflows {given.dtype}."
        )
    return distances


@dataclass(frozen=True, slots=True)
class _LoadedRows:
    """The rows of one tile in memory, under the numbers that they have in the matrix."""

    shape: tuple[int, int]
    parts: tuple[tuple[slice, np.ndarray], ...]

    dtype = np.dtype(np.float64)

    @property
    def chunks(self) -> tuple[int, int]:
        return self.shape

    def read(self, rows: slice, columns: slice) -> np.ndarray:
        for part, values in self.parts:
            if part.start <= rows.start and rows.stop <= part.stop:
                return values[rows.start - part.start : rows.stop - part.start, columns]
        raise IndexError(f"rows {rows.start} to {rows.stop} are not of this tile")

    def transpose(self) -> MatrixSource:
        raise TypeError("the rows of a tile have no transpose")


def _loaded(given: DistanceInput, rows: slice, columns: slice) -> DistanceInput:
    """Read a tile's rows once: blocks of a chunk would each decompress the whole of it."""
    features = slice(0, given.source.shape[1])
    parts = [(rows, given.values(rows, features))]
    if rows != columns:
        parts.append((columns, given.values(columns, features)))
    source = _LoadedRows(given.source.shape, tuple(parts))
    return replace(given, source=source, normalization=Normalization())


def _pairs_of_blocks(rows: slice, columns: slice) -> Iterator[tuple[slice, slice]]:
    """Blocks of a tile, relative to it; of a diagonal tile those on and above the diagonal."""
    for left in slabs(rows.stop - rows.start, BLOCK_ROWS):
        for right in slabs(columns.stop - columns.start, BLOCK_ROWS):
            if rows != columns or left.start <= right.start:
                yield left, right


def _mirror(square: np.ndarray) -> None:
    """Copy the upper triangle to the lower one, and put zeros on the diagonal."""
    n = len(square)
    for block in slabs(n, BLOCK_ROWS):
        square[block.stop :, block] = square[block, block.stop :].T
        corner = square[block, block]
        upper = np.triu(corner, 1)
        corner[:] = upper + upper.T


def _slabs_of(given: DistanceInput) -> list[slice]:
    return list(slabs(given.source.shape[1], given.features_at_once))


def _scipy_tile(given: DistanceInput, rows: slice, columns: slice) -> np.ndarray:
    from scipy.spatial.distance import cdist

    metric = get_metric(given.metric)
    features = slice(0, given.source.shape[1])
    left, right = given.values(rows, features), given.values(columns, features)
    name: Any = metric.name
    distances: np.ndarray = cdist(left, right, name)
    if metric.product is not None and metric.product.kind == "unit":
        # One minus a cosine cancels as a product does; SciPy leaves it at that.
        flagged = distances <= _CANCELLED[distances.dtype]
        unit_left = metric.unit_rows(left, given.totals[rows])
        unit_right = metric.unit_rows(right, given.totals[columns])
        for i in np.flatnonzero(flagged.any(axis=1)):
            j = np.flatnonzero(flagged[i])
            distances[i, j] = 0.5 * np.square(unit_left[i] - unit_right[j]).sum(axis=1)
    return distances.astype(given.dtype, copy=False)


def _direct_tile(given: DistanceInput, rows: slice, columns: slice) -> np.ndarray:
    metric = get_metric(given.metric)
    shape = (rows.stop - rows.start, columns.stop - columns.start)
    accumulator = np.zeros(shape)
    left_totals, right_totals = given.totals[rows], given.totals[columns]
    for features in _slabs_of(given):
        left = metric.prepare(given.values(rows, features), left_totals)
        right = (
            left
            if rows == columns
            else metric.prepare(given.values(columns, features), right_totals)
        )
        for b in slabs(right.shape[0], BLOCK_ROWS):
            transposed = np.ascontiguousarray(right[b].T)
            for a in slabs(left.shape[0], BLOCK_ROWS):
                if rows != columns or a.start <= b.start:
                    metric.partial(left[a], transposed, accumulator[a, b])
    for a, b in _pairs_of_blocks(rows, columns):
        block = accumulator[a, b]
        metric.finish(block, left_totals[a], right_totals[b])
        if metric.product is not None and metric.product.kind == "unit":
            # One minus a cosine cancels as a product does; SciPy leaves it at that.
            flagged = block <= _CANCELLED[block.dtype]
            _recompute(given, _within(rows, a), _within(columns, b), flagged, block)
    return accumulator.astype(given.dtype, copy=False)


def _product_tile(given: DistanceInput, rows: slice, columns: slice) -> np.ndarray:
    metric = get_metric(given.metric)
    assert metric.product is not None
    products = np.empty((rows.stop - rows.start, columns.stop - columns.start), dtype=given.dtype)
    for features in _slabs_of(given):
        left = _product_operand(given, rows, features)
        right = left if rows == columns else _product_operand(given, columns, features)
        for a, b in _pairs_of_blocks(rows, columns):
            _add_block_products(left[a], right[b], products[a, b], first=features.start == 0)
    for a, b in _pairs_of_blocks(rows, columns):
        flagged = _finish_products(given, _within(rows, a), _within(columns, b), products[a, b])
        if metric.product.root:
            np.sqrt(products[a, b], out=products[a, b])
        if given.scale != 1.0:
            # Twice for squared distances, because the square of the scale need not be a float32.
            for _ in range(1 if metric.product.root else 2):
                products[a, b] /= given.scale
        _recompute(given, _within(rows, a), _within(columns, b), flagged, products[a, b])
    return products


def _within(outer: slice, inner: slice) -> slice:
    """Rows of the matrix that a block of a tile's rows is."""
    return slice(outer.start + inner.start, outer.start + inner.stop)


def _product_operand(given: DistanceInput, rows: slice, features: slice) -> np.ndarray:
    """Centred or unit rows in the distances' dtype, made block by block to save memory."""
    metric = get_metric(given.metric)
    assert metric.product is not None
    n = rows.stop - rows.start
    operand = np.empty((n, features.stop - features.start), dtype=given.dtype)
    for block in slabs(n, BLOCK_ROWS):
        part = slice(rows.start + block.start, rows.start + block.stop)
        values = given.values(part, features)
        if metric.product.kind == "unit":
            operand[block] = metric.unit_rows(values, given.totals[part])
            continue
        centred = values if given.centre is None else values - given.centre[features]
        operand[block] = centred if given.scale == 1.0 else centred * given.scale
    return operand


def _add_block_products(
    left: np.ndarray, right: np.ndarray, products: np.ndarray, *, first: bool
) -> None:
    """Add one product a block of features. Equal operands are one array: BLAS uses symmetry."""
    for features in slabs(left.shape[1], BLOCK_FEATURES):
        if first and features.start == 0:
            np.matmul(left[:, features], right[:, features].T, out=products)
        else:
            products += left[:, features] @ right[:, features].T


def _finish_products(
    given: DistanceInput, rows: slice, columns: slice, products: np.ndarray
) -> np.ndarray:
    """Make distances of a block of products; return which pairs are to be recomputed."""
    metric = get_metric(given.metric)
    assert metric.product is not None
    bound = _CANCELLED[products.dtype]
    flagged = np.empty(products.shape, dtype=np.bool_)
    if metric.product.kind == "unit":
        kernels.finish_products_unit(products, bound, flagged)
    else:
        left, right = (given.totals[part, 1] * given.scale**2 for part in (rows, columns))
        kernels.finish_products_euclidean(
            products, left, right, bound, _SMALLEST[products.dtype], flagged
        )
    return flagged


def _recompute(
    given: DistanceInput, rows: slice, columns: slice, flagged: np.ndarray, out: np.ndarray
) -> None:
    """Replace flagged distances of a block by sums of squared differences in float64."""
    if rows == columns:
        # The diagonal is known to be zero, and what is below it is mirrored.
        flagged &= ~np.tri(len(flagged), dtype=np.bool_)
    if not flagged.any():
        return
    metric = get_metric(given.metric)
    unit = metric.product is not None and metric.product.kind == "unit"
    accumulator = np.zeros(out.shape)
    for features in _slabs_of(given):
        left, right = given.values(rows, features), given.values(columns, features)
        if unit:
            left = metric.unit_rows(left, given.totals[rows])
            right = metric.unit_rows(right, given.totals[columns])
        for block in slabs(left.shape[1], BLOCK_FEATURES):
            kernels.recompute_flagged(left[:, block], right[:, block], flagged, accumulator)
    if unit:
        accumulator *= 0.5
    elif metric.product is not None and metric.product.root:
        np.sqrt(accumulator, out=accumulator)
    np.copyto(out, accumulator, where=flagged, casting="same_kind")


def _function_tile(given: DistanceInput, rows: slice, columns: slice) -> np.ndarray:
    function = get_metric(given.metric).function
    assert function is not None
    features = slice(0, given.source.shape[1])
    left, right = given.values(rows, features), given.values(columns, features)
    distances = np.zeros((len(left), len(right)))
    for i, row in enumerate(left):
        # Of a diagonal tile each pair once, as SciPy does: the function need not be symmetric.
        for j in range(i + 1 if rows == columns else 0, len(right)):
            distances[i, j] = function(row, right[j])
    return distances.astype(given.dtype, copy=False)


def _sparse_tile(given: DistanceInput, rows: slice, columns: slice) -> np.ndarray:
    assert given.sparse is not None
    return sparse_tile(given.sparse, rows, columns)


_ENGINES = {
    "scipy": _scipy_tile,
    "product": _product_tile,
    "direct": _direct_tile,
    "function": _function_tile,
    "sparse": _sparse_tile,
}

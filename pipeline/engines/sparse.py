"""Driver: the distances of one tile of a sparse matrix, of which no zero is looked at.

============================================  ====================================================
metrics                                       made of
============================================  ====================================================
euclidean, sqeuclidean, cosine, correlation   products of sparse rows and what ``_centred.py`` adds
dice, hamming, jaccard, rogerstanimoto,       counts of the features that are not zero in either
russellrao, sokalsneath, yule                 row, and in both: ``sparse_counts.py``
============================================  ====================================================

A task reads two slabs of whole rows as they are stored. The right one is taken in blocks of
`BLOCK_ROWS`, counted from the matrix's corner. Sums are in float64, whatever the type of the
distances, over the features in their order: how a tile is cut cannot be seen in a distance.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from clustergrid.pipeline.engines import _compressed
from clustergrid.pipeline.engines._centred import CompressedRows, RowTerms, Scaling
from clustergrid.pipeline.engines.sparse_counts import count_distances
from clustergrid.pipeline.engines.sparse_products import sparse_products
from clustergrid.pipeline.execution import Executor
from clustergrid.pipeline.metrics import Metric
from clustergrid.pipeline.monitor import Progress
from clustergrid.pipeline.normalize import Normalization
from clustergrid.pipeline.sparseness import SPARSE_PRODUCTS, prefers_stored
from clustergrid.pipeline.tile_memory import SPARSE_PASS_ENTRIES
from clustergrid.storage.grid import BLOCK_ROWS, slabs
from clustergrid.storage.sparse import SparseSource, as_sparse, density

__all__ = [
    "SparseInput",
    "preferred_sparse",
    "sparse_input",
    "sparse_tile",
]

# Below this share of the reach of a product, a distance has lost too many digits in float64.
_CANCELLED = 1e-4

_UNIT = ("cosine", "correlation")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SparseInput:
    """All that a tile task needs to know besides its place.

    Attributes
    ----------
    source
        The matrix, ``(n, k)``: observations in rows.
    metric
        One of `clustergrid.pipeline.sparseness.SPARSE_METRICS`.
    dtype
        Name of the distances' type: float32 or float64.
    scaling, terms
        How rows are normalized and centred; None for counts.
    """

    source: SparseSource
    metric: str
    dtype: str
    scaling: Scaling | None = None
    terms: RowTerms | None = None

    @property
    def totals(self) -> np.ndarray:
        """``(n, 2)``: shift and squared length of every row, where the metric wants them."""
        if self.terms is None:
            return np.zeros((self.source.shape[0], 2))
        return np.stack([self.terms.shifts, self.terms.squares], axis=1)

    def load(self, rows: slice) -> CompressedRows:
        """Read stored values: scaled for products, without zeros for counts."""
        data, indices, indptr = self.source.read_compressed(rows)
        stored = CompressedRows(
            data=np.asarray(data, np.float64), indices=indices, indptr=np.asarray(indptr, np.int64)
        )
        return stored.without_zeros() if self.scaling is None else self.scaling.apply(stored, rows)


def preferred_sparse(
    source: Any, metric: Metric, normalization: Normalization, *, itemsize: int
) -> SparseSource | None:
    """Return a source whose stored values alone are worth computing a metric of; else None.

    Parameters
    ----------
    source
        Any source of a matrix.
    metric
        With its keywords.
    normalization
        Of the matrix.
    itemsize
        Bytes of a distance.
    """
    sparse = as_sparse(source)
    if sparse is None:
        return None
    is_normalized = normalization.axis is not None
    is_preferred = prefers_stored(
        metric,
        density(sparse),
        itemsize=itemsize,
        is_normalized=is_normalized,
        is_boolean=sparse.dtype == np.bool_ and not is_normalized,
    )
    return sparse if is_preferred else None


def sparse_input(
    source: SparseSource,
    normalization: Normalization,
    metric: str,
    *,
    dtype: np.dtype[np.floating],
    executor: Executor,
    progress: Progress,
    name: str,
) -> SparseInput:
    """Make the pass over the stored values that products of centred rows ask for.

    Parameters
    ----------
    source, normalization
        The matrix with observations in rows, ``(n, k)``.
    metric
        One of `clustergrid.pipeline.sparseness.SPARSE_METRICS`.
    dtype
        Type of the distances.
    executor, progress, name
        Where the pass runs, who is told, and as which stage.
    """
    given = SparseInput(source=source, metric=metric, dtype=np.dtype(dtype).name)
    if metric not in SPARSE_PRODUCTS:
        return given
    n, k = source.shape
    scaling = Scaling.of(
        normalization.axis,
        normalization.shift,
        normalization.scale,
        differences=metric not in _UNIT,
        centred=metric == "correlation",
    )
    given = replace(given, scaling=scaling)
    terms = np.empty((n, 5))
    rows_at_once = max(BLOCK_ROWS, SPARSE_PASS_ENTRIES * n // max(1, source.n_stored))
    row_bytes = max(1, source.n_stored * source.dtype.itemsize // n)
    with progress.stage(f"{name}-norms", total=n, unit="rows", unit_bytes=row_bytes) as stage:
        for rows, part in executor.map(
            _terms_of, executor.share(given), slabs(n, rows_at_once), name=f"{name}-norms"
        ):
            terms[rows] = part
            stage.advance(rows.stop - rows.start)
    return replace(given, terms=RowTerms.of(terms, scaling, k))


def _terms_of(given: SparseInput, rows: slice) -> tuple[slice, np.ndarray]:
    assert given.scaling is not None
    return rows, given.scaling.terms(given.load(rows), rows, given.source.shape[1])


def sparse_tile(given: SparseInput, rows: slice, columns: slice, out: np.ndarray) -> None:
    """Distances between two ranges of observations, above the diagonal where they are the same.

    Parameters
    ----------
    given
        The matrix and the metric.
    rows, columns
        Ranges that start at multiples of `BLOCK_ROWS`, with ``rows`` equal to ``columns`` or
        before it.
    out
        Where to write them: C-contiguous, of the input's dtype, at least as large as the tile.
        What is below the diagonal blocks of a diagonal tile is left as it is.
    """
    left = given.load(rows)
    right = left if rows == columns else given.load(columns)
    for b in slabs(len(right), BLOCK_ROWS):
        # Of a diagonal tile, blocks below the diagonal are mirrored.
        above = slice(0, b.stop if rows == columns else len(left))
        if given.terms is None:
            place = out[above, b]
            count_distances(given.metric, left[above], right[b], given.source.shape[1], place)
        else:
            places = _within(rows, above), _within(columns, b)
            _Block(given, given.terms, left[above], right[b], *places, out, b.start).fill()


def _within(outer: slice, inner: slice) -> slice:
    """Rows of the matrix that some of a tile's rows are."""
    return slice(outer.start + inner.start, outer.start + inner.stop)


@dataclass(frozen=True, slots=True)
class _Block:
    """Left rows of a tile and one block of its right rows.

    Attributes
    ----------
    given, terms, left, right
        The matrix and metric, what centring needs, and the rows.
    rows, columns
        Which rows of the matrix they are.
    tile, first
        Where the distances go, and from which column of it on.
    """

    given: SparseInput
    terms: RowTerms
    left: CompressedRows
    right: CompressedRows
    rows: slice
    columns: slice
    tile: np.ndarray
    first: int

    def fill(self) -> None:
        """Compute the distances of all pairs."""
        for part, sums in sparse_products(self.left, self.right, self._n_features):
            self._finish(part, sums)

    @property
    def _n_features(self) -> int:
        return self.given.source.shape[1]

    def _finish(self, part: slice, sums: np.ndarray) -> None:
        """Make distances of sums over the pairs of some left rows with all right ones."""
        rows, terms = _within(self.rows, part), self.terms
        place = self.tile, part.start, self.first
        _compressed.add_low_rank(
            terms.left[rows], np.ascontiguousarray(terms.right[self.columns].T), sums
        )
        flagged = np.empty((len(sums), len(self.right)), np.bool_)
        lengths, others = (_lengths(terms, each, self._is_unit) for each in (rows, self.columns))
        if self._is_unit:
            _compressed.finish_unit(sums, lengths, others, flagged, *place)
        else:
            root = self.given.metric == "euclidean"
            _compressed.finish_euclidean(sums, lengths, others, root, flagged, *place)
        if rows.stop > self.columns.start:
            # What is on or below the diagonal is not used.
            flagged &= ~np.tri(*flagged.shape, rows.start - self.columns.start, dtype=np.bool_)
        if flagged.any():
            self._recompute(part, flagged)

    @property
    def _is_unit(self) -> bool:
        return self.given.metric in _UNIT

    def _recompute(self, part: slice, flagged: np.ndarray) -> None:
        """Replace distances that lost digits by sums of squared differences."""
        scaling, terms = self.given.scaling, self.terms
        assert scaling is not None
        left = self.left[part]
        squares = np.empty(flagged.shape)
        _compressed.recompute_differences(
            left.data,
            left.indices,
            left.indptr,
            _shift_and_factor(terms, _within(self.rows, part), self._is_unit),
            self.right.data,
            self.right.indices,
            self.right.indptr,
            _shift_and_factor(terms, self.columns, self._is_unit),
            scaling.background,
            self._n_features,
            flagged,
            squares,
        )
        found = squares[flagged]
        if self._is_unit:
            found *= 0.5
        elif self.given.metric == "euclidean":
            np.sqrt(found, out=found)
        columns = slice(self.first, self.first + len(self.right))
        self.tile[part, columns][flagged] = found


def _lengths(terms: RowTerms, rows: slice, unit: bool) -> np.ndarray:
    """Lengths and bounds as `finish_euclidean` and `finish_unit` want them, ``(2, rows)``."""
    squares, reach = terms.squares[rows], terms.reach[rows]
    if unit:
        lengths = np.sqrt(squares)
        return np.stack([1.0 / lengths, np.sqrt(_CANCELLED) * reach / lengths])
    return np.stack([squares, _CANCELLED * reach * reach])


def _shift_and_factor(terms: RowTerms, rows: slice, unit: bool) -> np.ndarray:
    shifts, squares = terms.shifts[rows], terms.squares[rows]
    return np.stack([shifts, 1.0 / np.sqrt(squares) if unit else np.ones_like(shifts)], axis=1)

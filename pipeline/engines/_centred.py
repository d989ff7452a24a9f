"""Kernel: rows that are normalized and centred, of which only what is stored is held.

A normalized row of a sparse matrix is sparse but for an offset. With z_score or standard_scale of
the columns, ``x`` becomes ``(x - m_f) / s_f``; of the rows, ``(x - m_i) / s_i``; a correlation
takes the mean off each row besides. All of these are

    v_i = w_i - t_i 1 - b

with ``w_i`` sparse (the stored values, divided by their scales), ``t_i`` a number, the *shift* of
the row, and ``b`` a vector that all rows share, the *background*: ``m_f / s_f`` where columns are
normalized, else none. Products of such rows follow from those of the sparse ones,

    v_i . v_j = w_i . w_j - t_j S_i - t_i S_j + k t_i t_j - q_i - q_j + |b|^2
    S_i = 1 . w_i        q_i = b . w_i - t_i (1 . b)

of which everything but ``w_i . w_j`` is a product of two narrow matrices, ``A_i . B_j``, with

    A_i = [ k t_i - S_i, -t_i, |b|^2 - q_i, -1 ]
    B_j = [ t_j,          S_j, 1,           q_j ]

The first column is zero for a correlation if the mean is taken off the background first, for then
``S_i = k t_i``; the first two are where no row has a shift, the last two where there is no
background. So three columns do.

A euclidean distance does not see what all rows share: ``b`` is left out of it.

Adding and subtracting loses digits. Every term is at most ``r_i r_j`` with
``r_i = |w_i| + sqrt(k) |t_i| + |b|``, so the product is good to a few eps of that, whatever is
left of it. A pair has to be recomputed from differences where what is left is small beside that,
not beside ``|v_i| |v_j|``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clustergrid.pipeline.engines import _compressed

__all__ = ["CompressedRows", "RowTerms", "Scaling"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CompressedRows:
    """Some rows of a sparse matrix.

    Attributes
    ----------
    data, indices, indptr
        As of `scipy.sparse.csr_array`, features in increasing order; values are float64.
    """

    data: np.ndarray
    indices: np.ndarray
    indptr: np.ndarray

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def __getitem__(self, rows: slice) -> CompressedRows:
        """Take some of the rows; views."""
        first, last = self.indptr[rows.start], self.indptr[rows.stop]
        return CompressedRows(
            data=self.data[first:last],
            indices=self.indices[first:last],
            indptr=self.indptr[rows.start : rows.stop + 1] - first,
        )

    @property
    def entries(self) -> np.ndarray:
        """``(n,)`` int64: how many values each row stores."""
        return np.diff(self.indptr)

    def without_zeros(self) -> CompressedRows:
        """Leave out the zeros that are stored."""
        stored = self.data != 0
        if stored.all():
            return self
        before = np.concatenate([[0], np.cumsum(stored)])
        return CompressedRows(
            data=self.data[stored], indices=self.indices[stored], indptr=before[self.indptr]
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scaling:
    """How stored values become ``w``, the shifts ``t`` and the background ``b``.

    Attributes
    ----------
    row_scale, column_scale
        ``(n,)`` or ``(k,)`` that stored values are divided by; None: nothing.
    row_shift
        ``(n,)`` shifts, already divided by the scale; None: zeros.
    background
        ``(k,)``, empty where there is none.
    centred
        Whether every row's mean is its shift.
    """

    row_scale: np.ndarray | None = None
    column_scale: np.ndarray | None = None
    row_shift: np.ndarray | None = None
    background: np.ndarray
    centred: bool = False

    @classmethod
    def of(
        cls,
        axis: int | None,
        shift: np.ndarray | None,
        scale: np.ndarray | None,
        *,
        differences: bool,
        centred: bool,
    ) -> Scaling:
        """Make it of a normalization ``(x - shift) / scale``.

        Parameters
        ----------
        axis, shift, scale
            As of `Normalization`.
        differences
            Only differences of rows matter: there is no background.
        centred
            The mean of each row is taken off.
        """
        nothing = np.empty(0)
        if axis is None or shift is None or scale is None:
            return cls(background=nothing, centred=centred)
        if axis == 0:
            # The mean takes the place of any other shift.
            shifts = None if centred else shift / scale
            return cls(row_scale=scale, row_shift=shifts, background=nothing, centred=centred)
        background = nothing if differences else shift / scale
        if centred and not differences:
            background = background - background.mean()
        return cls(column_scale=scale, background=background, centred=centred)

    def apply(self, stored: CompressedRows, rows: slice) -> CompressedRows:
        """Divide the stored values of ``rows`` by their scales."""
        if self.row_scale is not None:
            scales = np.repeat(self.row_scale[rows], np.diff(stored.indptr))
        elif self.column_scale is not None:
            scales = self.column_scale[stored.indices]
        else:
            return stored
        return CompressedRows(
            data=stored.data / scales, indices=stored.indices, indptr=stored.indptr
        )

    def terms(self, stored: CompressedRows, rows: slice, n_features: int) -> np.ndarray:
        """Return what `RowTerms.of` wants of ``rows``, once they are scaled: ``(n, 5)`` float64."""
        n = len(stored)
        shifts = np.zeros(n) if self.row_shift is None else self.row_shift[rows]
        found = np.empty((n, 5))
        _compressed.row_terms(
            stored.data,
            stored.indices,
            stored.indptr,
            n_features,
            shifts,
            self.background,
            self.centred,
            found,
        )
        return found


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RowTerms:
    """What products of centred rows need besides those of the sparse ones.

    Attributes
    ----------
    shifts
        ``(n,)`` shift of each row.
    squares
        ``(n,)`` squared length of each centred row.
    reach
        ``(n,)`` at most this times that of another row is the largest term of their product.
    left, right
        ``(n, r)`` factors ``A`` and ``B``.
    """

    shifts: np.ndarray
    squares: np.ndarray
    reach: np.ndarray
    left: np.ndarray
    right: np.ndarray

    @classmethod
    def of(cls, terms: np.ndarray, scaling: Scaling, n_features: int) -> RowTerms:
        """Make them of the ``(n, 5)`` sums over all rows."""
        shifts, sums, products, squares, stored_squares = terms.T
        background = scaling.background
        left, right = [], []
        if shifts.any():
            if not scaling.centred:
                left.append(n_features * shifts - sums)
                right.append(shifts)
            left.append(-shifts)
            right.append(sums)
        if len(background):
            offset = products - shifts * background.sum()
            left += [np.square(background).sum() - offset, np.full(len(shifts), -1.0)]
            right += [np.ones(len(shifts)), offset]
        reach = np.sqrt(stored_squares) + np.sqrt(n_features) * np.abs(shifts)
        return cls(
            shifts=shifts.copy(),
            squares=squares.copy(),
            reach=reach + np.sqrt(np.square(background).sum()),
            left=np.stack(left, axis=1) if left else np.empty((len(shifts), 0)),
            right=np.stack(right, axis=1) if right else np.empty((len(shifts), 0)),
        )

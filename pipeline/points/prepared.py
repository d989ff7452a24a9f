"""Driver: values of a matrix as points, read once by every process that compares them."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clustergrid.pipeline._blas import single_blas_thread
from clustergrid.pipeline.engines.given import DistanceInput
from clustergrid.pipeline.execution import end_if_stopped
from clustergrid.storage.errors import DataValueError
from clustergrid.storage.grid import BLOCK_ROWS, pass_block, slabs

__all__ = ["ReadOnce", "is_euclidean", "points_bytes", "read_euclidean", "read_values"]


class ReadOnce:
    """An array that the first thread that wants it makes, in every process anew."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._array: NDArray[Any] | None = None

    def get(self, make: Any) -> NDArray[Any]:
        """Return the array."""
        with self._lock:
            if self._array is None:
                self._array = make()
            return self._array

    def __getstate__(self) -> dict[str, Any]:
        """Leave the array behind."""
        return {}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Begin anew."""
        self.__init__()  # type: ignore[misc]


def is_euclidean(given: DistanceInput) -> bool:
    """Whether distances follow from Euclidean ones of prepared rows."""
    return given.metric.product is not None and given.metric.function is None


def read_euclidean(given: DistanceInput, kept: NDArray[np.int64] | None) -> NDArray[np.float64]:
    """Read rows, of which Euclidean distances are those of the metric, but for a root or a half.

    Where features have no weights the values are as they were read, so that distances have SciPy's
    bits. Others are taken from their mean first: a weight would round an offset that all share.

    Parameters
    ----------
    given
        The matrix and a metric that `is_euclidean`.
    kept
        ``(m,)`` increasing: which rows; None: all.

    Returns
    -------
    numpy.ndarray
        ``(m, k)`` float64.

    Raises
    ------
    DataValueError
        Squared distances may overflow.
    """
    rows = _read(given, kept, np.dtype(np.float64))
    if given.metric.is_unit:
        means, lengths = given.means_and_lengths(slice(None))
        if kept is not None:
            means, lengths = means[kept], lengths[kept]
        rows -= means[:, None]
        rows /= lengths[:, None]
    if given.transform is not None:
        rows -= rows.mean(axis=0)
        rows = _transformed(rows, given.transform)
    elif given.weights is not None:
        rows -= rows.mean(axis=0)
        rows *= np.sqrt(given.weights)
    with np.errstate(over="ignore", invalid="ignore"):
        widths = rows.max(axis=0) - rows.min(axis=0)
        overflows = not np.isfinite(np.square(widths).sum())
    if overflows:
        raise DataValueError(
            f"squared {given.metric.name} distances overflow float64, with values up to "
            f"{np.abs(rows).max():.3g}: scale the matrix"
        )
    return rows


def _transformed(rows: NDArray[np.float64], transform: NDArray[np.float64]) -> NDArray[np.float64]:
    with single_blas_thread():
        for part in slabs(len(rows), BLOCK_ROWS):
            end_if_stopped()
            rows[part] = rows[part] @ transform
    return rows


def read_values(given: DistanceInput, kept: NDArray[np.int64] | None) -> NDArray[Any]:
    """Read normalized values: float64, or those of the matrix where nothing is done to them."""
    is_raw = given.normalization.axis is None
    return _read(given, kept, given.source.dtype if is_raw else np.dtype(np.float64))


def _read(
    given: DistanceInput, kept: NDArray[np.int64] | None, dtype: np.dtype[Any]
) -> NDArray[Any]:
    n, k = given.source.shape
    values = np.empty((n if kept is None else len(kept), k), dtype)
    rows_at_once, features_at_once = pass_block((n, k), given.source.chunks)
    for rows in slabs(n, rows_at_once):
        first, last = (rows.start, rows.stop)
        some: slice | NDArray[np.int64] = slice(None)
        if kept is not None:
            first, last = np.searchsorted(kept, (rows.start, rows.stop)).tolist()
            some = kept[first:last] - rows.start
        for features in slabs(k, features_at_once):
            end_if_stopped()
            if dtype == np.float64:
                block = given.values(rows, features)
            else:
                block = given.source.read(rows, features)
            values[first:last, features] = block[some]
    return values


def points_bytes(given: DistanceInput, n_kept: int | None = None) -> int:
    """Bytes that points take in every process that computes distances, at most.

    Parameters
    ----------
    given
        The matrix and its metric.
    n_kept
        How many of its rows are points; None: all.
    """
    n, k = given.source.shape
    n = n if n_kept is None else n_kept
    if not is_euclidean(given) and given.normalization.axis is None:
        return n * k * given.source.dtype.itemsize
    # Twice while they are put in order.
    return 2 * n * k * 8

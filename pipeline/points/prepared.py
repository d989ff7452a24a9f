"""Driver: values of a matrix as points, read once by every process that compares them, or at rest.

::

    matrix ──strips──▶ rows whose Euclidean distances are wanted ──▶ their extent, a sketch of each
                                       │                                          │ order
                                       └──────────────▶ rows in that order ◀──────┘

Everything is computed in blocks of `BLOCK_ROWS` points counted from the first, so rows have the
same bits in memory and at rest; and so does their order, which sums over many of them follow.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from clustergrid.pipeline._blas import single_blas_thread
from clustergrid.pipeline.engines.given import DistanceInput
from clustergrid.pipeline.execution import end_if_stopped
from clustergrid.pipeline.row_reader import RowPass, RowReader, in_units
from clustergrid.pipeline.row_tree_plan import SKETCHED
from clustergrid.storage.arrays import remove_array
from clustergrid.storage.errors import DataValueError
from clustergrid.storage.grid import BLOCK_ROWS, slabs

__all__ = [
    "Extent",
    "MadeOnce",
    "Sketch",
    "euclidean_parts",
    "is_euclidean",
    "path_of_means",
    "path_of_read",
    "remove_points",
    "value_pass",
]

_LEAST_WIDTH = 1e-152
"""Of the values of a feature: squares of a hundredth of it still have all their digits."""


class MadeOnce:
    """A value that the first thread that wants it makes, in every process anew."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._value: Any = None
        self._of: object = None

    def get(self, make: Callable[[], Any], *, of: object = None) -> Any:
        """Return the value; it is made again when it is `of` another object than before."""
        with self._lock:
            if self._value is None or self._of is not of:
                self._value = None  # before another is made: two do not fit
                self._value, self._of = make(), of
            return self._value

    def __getstate__(self) -> dict[str, Any]:
        """Leave the value behind."""
        return {}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Begin anew."""
        self.__init__()  # type: ignore[misc]


def path_of_read(path: str) -> str:
    """Return where rows are, until those that lie at `path` are in order."""
    return f"{path}-read"


def path_of_means(path: str, number: int) -> str:
    """Return where means of clusters are, by turns, of the rows that lie at `path`."""
    return f"{path}-means-{number}"


def remove_points(store: str, path: str) -> None:
    """Remove rows at rest, and means of them, also those that a killed process left."""
    for where in (path, path_of_read(path), path_of_means(path, 0), path_of_means(path, 1)):
        remove_array(store, where)


def is_euclidean(given: DistanceInput) -> bool:
    """Whether distances follow from Euclidean ones of prepared rows."""
    return given.metric.product is not None and given.metric.function is None


def value_pass(given: DistanceInput, kept: NDArray[np.int64] | None) -> RowPass:
    """Return the pass over normalized values: float64, or as they are where nothing is done."""
    if given.normalization.axis is None:
        return RowPass(source=given.source, dtype=given.source.dtype, kept=kept)
    return RowPass(source=given.source, dtype=np.dtype(np.float64), read=given.values, kept=kept)


def euclidean_parts(
    given: DistanceInput, kept: NDArray[np.int64] | None, out: NDArray[np.float64] | None = None
) -> Iterator[NDArray[np.float64]]:
    """Read rows, of which Euclidean distances are those of the metric, but for a root or a half.

    Where features have no weights the values are as they were read, so that distances have SciPy's
    bits. Others are taken from their mean first: a weight would round an offset that all share.

    Parameters
    ----------
    given
        The matrix and a metric that `is_euclidean`.
    kept
        ``(m,)`` increasing: which rows; None: all.
    out
        ``(m, k)``, where they are to be put; None: what is yielded is the caller's.

    Yields
    ------
    numpy.ndarray
        Some rows each, float64; all but the last parts are of multiples of `BLOCK_ROWS`.
    """
    rows = _Rows(given, kept, out)
    steps: list[_Step] = [_to_length_one] if given.metric.is_unit else []
    if given.transform is None and given.weights is None:
        return rows.parts(steps)
    centre = _mean(rows.parts(steps), rows.n)
    # In their place the first steps were taken already.
    steps = [*(steps if out is None else []), partial(_weighted, centre=centre)]
    return rows.parts(steps)


_Step: TypeAlias = Callable[[DistanceInput, NDArray[np.float64], "slice | NDArray[np.int64]"], None]
"""Called with the input, a block of rows, which it changes, and which rows of the matrix it has."""


class _Rows:
    """The rows of a matrix, in blocks to which something is done first."""

    def __init__(
        self,
        given: DistanceInput,
        kept: NDArray[np.int64] | None,
        out: NDArray[np.float64] | None,
    ) -> None:
        self._given, self._kept, self._out = given, kept, out
        self._values = RowPass(
            source=given.source, dtype=np.dtype(np.float64), read=given.values, kept=kept
        )
        self.n = self._values.shape[0]
        if out is not None:
            for _ in self._values.strips(out):
                pass

    def parts(self, steps: list[_Step]) -> Iterator[NDArray[np.float64]]:
        start = 0
        for rows in self._read():
            for block in slabs(len(rows), BLOCK_ROWS):
                end_if_stopped()
                which = slice(start + block.start, start + block.stop)
                of_matrix = which if self._kept is None else self._kept[which]
                for step in steps:
                    step(self._given, rows[block], of_matrix)
            start += len(rows)
            yield rows

    def _read(self) -> Iterable[NDArray[np.float64]]:
        if self._out is not None:
            out = self._out
            return (out[part] for part in slabs(len(out), BLOCK_ROWS))
        return in_units((strip.values for strip in self._values.strips()), BLOCK_ROWS)


def _to_length_one(
    given: DistanceInput, rows: NDArray[np.float64], which: slice | NDArray[np.int64]
) -> None:
    means, lengths = given.means_and_lengths(which)
    rows -= means[:, None]
    rows /= lengths[:, None]


def _weighted(
    given: DistanceInput,
    rows: NDArray[np.float64],
    which: slice | NDArray[np.int64],
    *,
    centre: NDArray[np.float64],
) -> None:
    del which
    rows -= centre
    if given.transform is not None:
        with single_blas_thread():
            rows[:] = rows @ given.transform
    elif given.weights is not None:
        rows *= np.sqrt(given.weights)


def _mean(parts: Iterable[NDArray[np.float64]], n: int) -> NDArray[np.float64]:
    total: Any = 0.0
    for rows in parts:
        for block in slabs(len(rows), BLOCK_ROWS):
            total = total + rows[block].sum(axis=0)
    return np.asarray(total / n)


class Extent:
    """How far rows reach, which are shown block by block.

    Attributes
    ----------
    least, most, total
        ``(k,)`` of the rows so far: their minima, maxima and sums.
    """

    def __init__(self, n_features: int) -> None:
        self.least = np.full(n_features, np.inf)
        self.most = np.full(n_features, -np.inf)
        self.total = np.zeros(n_features)
        self._n = 0

    def of(self, parts: Iterable[NDArray[np.float64]]) -> Iterator[NDArray[np.float64]]:
        """Pass rows on, of multiples of `BLOCK_ROWS`, and remember how far they reach."""
        for rows in parts:
            for block in slabs(len(rows), BLOCK_ROWS):
                np.minimum(self.least, rows[block].min(axis=0), out=self.least)
                np.maximum(self.most, rows[block].max(axis=0), out=self.most)
                self.total += rows[block].sum(axis=0)
            self._n += len(rows)
            yield rows

    @property
    def centre(self) -> NDArray[np.float64]:
        """``(k,)``: the mean of all rows."""
        return self.total / self._n

    @property
    def radius(self) -> float:
        """What no row is farther from the centre than."""
        ways = np.maximum(self.most - self.centre, self.centre - self.least)
        return float(np.sqrt(np.square(ways).sum()))

    def check(self, metric_name: str) -> None:
        """Refuse rows whose squared distances may overflow, or vanish.

        Raises
        ------
        DataValueError
            They may.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            widths = self.most - self.least
            overflows = not np.isfinite(np.square(widths).sum())
        if 0.0 < widths.max() < _LEAST_WIDTH:
            raise DataValueError(
                f"squared {metric_name} distances vanish in float64, with values that differ by at "
                f"most {widths.max():.3g}: scale the matrix"
            )
        if overflows:
            largest = max(np.abs(self.least).max(), np.abs(self.most).max())
            raise DataValueError(
                f"squared {metric_name} distances overflow float64, with values up to "
                f"{largest:.3g}: scale the matrix"
            )


class Sketch:
    """The widest features of rows, in single precision: enough to see which are near.

    A tree of cuts is some twelve deep, and cuts the widest features.

    Parameters
    ----------
    extent
        Of all rows.
    """

    def __init__(self, extent: Extent) -> None:
        widths = extent.most - extent.least
        self._features = np.argsort(-widths, kind="stable")[:SKETCHED]
        self._least = extent.least[self._features]
        exponent = int(np.frexp(widths.max(initial=0.0))[1])
        self._scale = float(np.ldexp(1.0, int(np.clip(-exponent, -1000, 1000))))

    def of(self, rows: NDArray[np.float64]) -> NDArray[np.float32]:
        """Sketch some rows, ``(r, k)``."""
        some = (rows[:, self._features] - self._least) * self._scale
        return np.asarray(some, np.float32)

    def of_all(self, reader: RowReader) -> NDArray[np.float32]:
        """Sketch all rows."""
        n = reader.shape[0]
        sketches = np.empty((n, len(self._features)), np.float32)
        for block in slabs(n, max(BLOCK_ROWS, reader.rows_together)):
            end_if_stopped()
            sketches[block] = self.of(reader.block(block.start, block.stop))
        return sketches

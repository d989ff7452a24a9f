"""Driver: points whose distances follow from Euclidean ones of prepared rows.

Rows lie in the order of a k-d tree's leaves, so that near ones are mostly neighbours. A task of the
list pass takes a range of them and all others, range by range from the nearest on: after the first
few its lists reach hardly farther than in the end, and what a product in single precision has to
say of the others is that they are farther away (``_sieve.py``).
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clustergrid.pipeline.engines.given import DistanceInput
from clustergrid.pipeline.execution import Executor, available_cores, end_if_stopped
from clustergrid.pipeline.hierarchy._clusters import CODES, Clusters
from clustergrid.pipeline.hierarchy._neighbors import (
    Neighbors,
    close_lists,
    open_lists,
    open_reach,
)
from clustergrid.pipeline.hierarchy._threads import in_threads
from clustergrid.pipeline.points._near_order import near_order
from clustergrid.pipeline.points._sieve import (
    fill_operands,
    offer_negative,
    share_of_roundings,
)
from clustergrid.pipeline.points._squares import (
    HALF,
    LANES,
    PLAIN,
    ROOT,
    add_pairs,
    add_squares,
    fill_panels,
)
from clustergrid.pipeline.points.base import Pause
from clustergrid.pipeline.points.layout import Layout
from clustergrid.pipeline.points.prepared import ReadOnce, read_euclidean
from clustergrid.storage.grid import slabs

__all__ = ["EuclideanPoints"]

_LEAF = 256
_STRIP_ROWS = 2048
_QUERIES = 256
_COLUMNS = 512
"""Of one product: with its operands it stays in a second-level cache."""

_FIRST_COLUMNS = 64
"""Of the first ones, when lists are not full yet and take whatever they are offered."""

_BLOCK_VALUES = 2**16
_STRIP_VALUES = 2**22
_PAIRS_A_PIECE = 2_000_000


class _Left(NamedTuple):
    panels: NDArray[np.float64]


class EuclideanPoints:
    """Points with Euclidean distances, or distances that follow from these; see `Points`.

    Parameters
    ----------
    given
        The matrix and its metric.
    kept
        ``(n,)`` increasing: which of its rows the points are; None: all.
    """

    edge = 512

    def __init__(self, given: DistanceInput, kept: NDArray[np.int64] | None) -> None:
        self._given = given
        self._kept = kept
        self._prepared = ReadOnce()
        product = given.metric.product
        assert product is not None
        self.form = HALF if given.metric.is_unit else ROOT if product.root else PLAIN
        rows = read_euclidean(given, kept)
        self.n = len(rows)
        # The driver's choice, so that all processes have the same.
        self._points = near_order(rows, _LEAF)
        self._places = np.empty(self.n, np.int64)
        self._places[self._points] = np.arange(self.n)
        lengths = np.square(rows - rows.mean(axis=0)).sum(axis=1) if self.n else np.zeros(1)
        longest = float(np.sqrt(lengths.max()))
        self._scale = float(np.ldexp(1.0, int(np.clip(-np.frexp(longest)[1], -500, 500))))
        self._prepared.get(lambda: rows[self._points])

    @property
    def _rows(self) -> NDArray[np.float64]:
        """``(n, k)``, in the order of `_points`."""
        return self._prepared.get(lambda: read_euclidean(self._given, self._kept)[self._points])

    def nearest(
        self,
        shared: Any,
        clusters: Clusters,
        method: str,
        n_neighbors: int,
        executor: Executor,
        pause: Pause,
    ) -> Neighbors:
        """List the K nearest of every point, strip by strip."""
        k = self._rows.shape[1]
        longest = min(_STRIP_ROWS, max(_LEAF, _STRIP_VALUES // k // _LEAF * _LEAF))
        fair = -(-self.n // (4 * executor.threads))
        strips = list(slabs(self.n, min(longest, -(-fair // _LEAF) * _LEAF)))
        lists = open_lists(self.n, n_neighbors)
        given = (shared, executor.share(clusters.sizes), CODES[method], n_neighbors)
        done = 0
        for strip, found in executor.map(_list_strip, given, strips, name="nearest-points"):
            owners = self._points[strip]
            lists.ids[owners, :n_neighbors] = found.ids
            lists.bounds[owners, :n_neighbors] = found.bounds
            lists.exact[owners] = True
            lists.counts[owners] = found.counts
            lists.tau[owners] = found.tau
            done += strip.stop - strip.start
            pause(done / self.n)
        return lists

    def list_strip(
        self, strip: slice, sizes: NDArray[np.float64], method: int, n_neighbors: int
    ) -> Neighbors:
        """List the K nearest of a range of rows, with room for no more."""
        rows = self._rows
        k = rows.shape[1]
        share = share_of_roundings(k)
        n_strip = strip.stop - strip.start
        centre = rows[strip].mean(axis=0)
        left = np.empty((n_strip, k + 2), np.float32)
        norms = np.empty(n_strip)
        fill_operands(rows, strip.start, strip.stop, centre, self._scale, share, True, left, norms)
        lists = open_lists(n_strip, n_neighbors)
        reach = open_reach(n_strip, np.dtype(np.float64))
        width = max(
            _FIRST_COLUMNS, min(2 * _COLUMNS, _BLOCK_VALUES // k // _FIRST_COLUMNS * _FIRST_COLUMNS)
        )
        right = np.empty((width, k + 2), np.float32)
        scratch = np.empty(_QUERIES * _COLUMNS, np.float32)
        nothing = np.empty(width)
        for number, block in enumerate(self._near_to_far(rows, centre, width)):
            end_if_stopped()
            fill_operands(
                rows, block.start, block.stop, centre, self._scale, share, False, right, nothing
            )
            at_once = _FIRST_COLUMNS if number * width < 2 * n_neighbors + width else _COLUMNS
            for columns in slabs(block.stop - block.start, at_once):
                others = right[columns].T
                for queries in slabs(n_strip, _QUERIES):
                    shape = (queries.stop - queries.start, columns.stop - columns.start)
                    products = scratch[: shape[0] * shape[1]].reshape(shape)
                    np.matmul(left[queries], others, out=products)
                    offer_negative(
                        products.view(np.int32),
                        left,
                        norms,
                        self._scale,
                        share,
                        rows,
                        self._points,
                        sizes,
                        strip.start + queries.start,
                        queries.start,
                        block.start + columns.start,
                        self.form,
                        method,
                        n_neighbors,
                        lists,
                        reach,
                    )
        close_lists(lists, n_neighbors, self.n - 1, 0, n_strip)
        return lists._replace(
            ids=lists.ids[:, :n_neighbors].copy(),
            bounds=lists.bounds[:, :n_neighbors].copy(),
            exact=lists.exact[:, :0],
        )

    def _near_to_far(
        self, rows: NDArray[np.float64], centre: NDArray[np.float64], width: int
    ) -> list[slice]:
        """Ranges of rows, those about the nearest first."""
        blocks = list(slabs(self.n, width))
        # A few of each say where it is.
        middles = np.stack([rows[block][:: -(-width // 16)].mean(axis=0) for block in blocks])
        order = np.argsort(np.square(middles - centre).sum(axis=1), kind="stable")
        return [blocks[i] for i in order.tolist()]

    def left(self, points: NDArray[np.int64]) -> _Left:
        """Put points into panels."""
        rows = self._rows
        panels = np.empty((-(-len(points) // LANES), rows.shape[1], LANES))
        fill_panels(rows, self._places[points], panels)
        return _Left(panels)

    def add(
        self,
        left: _Left,
        left_weights: NDArray[np.float64],
        left_units: NDArray[np.int64],
        points: NDArray[np.int64],
        right_weights: NDArray[np.float64],
        right_units: NDArray[np.int64],
        method: int,
        totals: NDArray[np.float64],
    ) -> None:
        """Reduce distances into totals; those of complete and single are squares."""
        add_squares(
            left.panels,
            left_weights,
            left_units,
            self._rows,
            self._places[points],
            right_weights,
            right_units,
            self.form,
            method,
            totals,
        )

    def pair_totals(
        self,
        shared: Any,
        layout: Layout,
        method: int,
        first: NDArray[np.int64],
        second: NDArray[np.int64],
        executor: Executor,
        pause: Pause,
    ) -> NDArray[np.float64]:
        """Reduce the distances of pairs of clusters, in this process."""
        del shared, executor
        rows, places = self._rows, self._places[layout.points]
        totals = np.empty(len(first))
        counts = layout.counts
        work = np.cumsum(counts[first] * counts[second])
        part = (work - 1) // _PAIRS_A_PIECE
        starts = np.flatnonzero(np.diff(part, prepend=-1)).tolist()
        pieces = list(zip(starts, [*starts[1:], len(first)], strict=True))
        in_threads(
            lambda piece: add_pairs(
                rows,
                places,
                layout.weights,
                layout.starts,
                first,
                second,
                self.form,
                method,
                totals,
                *piece,
            ),
            pieces,
            threads=available_cores(),
            pause=partial(pause, 0.0),
        )
        return totals


def _list_strip(
    given: tuple[EuclideanPoints, NDArray[np.float64], int, int], strip: slice
) -> tuple[slice, Neighbors]:
    points, *asked = given
    return strip, points.list_strip(strip, *asked)

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
from clustergrid.pipeline.hierarchy._clusters import CODES, SINGLE, WARD, Clusters
from clustergrid.pipeline.hierarchy._neighbors import (
    Neighbors,
    close_lists,
    open_lists,
    open_reach,
)
from clustergrid.pipeline.hierarchy._threads import in_threads
from clustergrid.pipeline.points._bounds import (
    add_bounds,
    bound_operands,
    list_within,
    offer_bounds,
    turn,
)
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
    add_few_squares,
    add_pairs,
    add_squares,
    fill_panels,
)
from clustergrid.pipeline.points.base import Pause
from clustergrid.pipeline.points.layout import Layout
from clustergrid.pipeline.points.prepared import ReadOnce, read_euclidean
from clustergrid.storage.grid import round_up, slabs

__all__ = ["EuclideanPoints"]

_LEAF = 256
_STRIP_ROWS = 2048
_COLUMNS = 512
"""Of one product with a leaf: with its operands it stays in a second-level cache."""

_TOGETHER = 64
"""Products that are looked at together, and columns of the first ones."""

_FEW = 40
"""Up to so many points at the left it is those at the right that are put into panels."""

_BOUNDS = 256
"""Points at the right that bounds are made of together."""

_MORE = 16
"""So many more clusters than K are compared exactly, or a quarter of K."""

_BLOCK_VALUES = 2**16
_STRIP_VALUES = 2**22
_PAIRS_A_PIECE = 2_000_000


class _Left(NamedTuple):
    """Points at the left: in panels, or few of them as they are."""

    panels: NDArray[np.float64] | None
    rows: NDArray[np.float64] | None


class EuclideanPoints:
    """Points with Euclidean distances, or distances that follow from these; see `Points`.

    Parameters
    ----------
    given
        The matrix and its metric.
    kept
        ``(n,)`` increasing: which of its rows the points are; None: all.

    Attributes
    ----------
    order
        ``(n,)``: the point of each prepared row.
    scale
        Power of two that brings the rows near length one, about their mean.
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
        self.order = near_order(rows, _LEAF)
        self._places = np.empty(self.n, np.int64)
        self._places[self.order] = np.arange(self.n)
        self._centre = rows.mean(axis=0)
        longest = float(np.sqrt(np.square(rows - self._centre).sum(axis=1).max()))
        self.scale = float(np.ldexp(1.0, int(np.clip(-np.frexp(longest)[1], -500, 500))))
        self._prepared.get(lambda: rows[self.order])

    @property
    def rows(self) -> NDArray[np.float64]:
        """``(n, k)``, in the order of `order`."""
        return self._prepared.get(lambda: read_euclidean(self._given, self._kept)[self.order])

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
        k = self.rows.shape[1]
        longest = min(_STRIP_ROWS, max(_LEAF, _STRIP_VALUES // k // _LEAF * _LEAF))
        fair = -(-self.n // (4 * executor.threads))
        strips = list(slabs(self.n, min(longest, -(-fair // _LEAF) * _LEAF)))
        lists = open_lists(self.n, n_neighbors)
        given = (shared, executor.share(clusters.sizes), CODES[method], n_neighbors)
        done = 0
        for strip, found in executor.map(_list_strip, given, strips, name="nearest-points"):
            owners = self.order[strip]
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
        k = self.rows.shape[1]
        lists = _StripLists(self, strip, sizes, method, n_neighbors)
        # Of a list that is not full a product says nothing: the first columns are few, and near.
        for leaf in slabs(strip.stop - strip.start, _LEAF):
            own = slice(strip.start + leaf.start, strip.start + leaf.stop)
            lists.offer(own, [leaf], _TOGETHER)
        width = max(_TOGETHER, min(2 * _COLUMNS, _BLOCK_VALUES // k // _TOGETHER * _TOGETHER))
        leaves = list(slabs(strip.stop - strip.start, _LEAF))
        for block in self._near_to_far(lists.centre, width):
            end_if_stopped()
            lists.offer(block, leaves, _COLUMNS, seen=True)
        return lists.closed()

    def _near_to_far(self, centre: NDArray[np.float64], width: int) -> list[slice]:
        """Ranges of rows, those about the nearest first."""
        rows = self.rows
        blocks = list(slabs(self.n, width))
        # A few of each say where it is.
        middles = np.stack([rows[block][:: -(-width // 16)].mean(axis=0) for block in blocks])
        order = np.argsort(np.square(middles - centre).sum(axis=1), kind="stable")
        return [blocks[i] for i in order.tolist()]

    def left(self, points: NDArray[np.int64]) -> _Left:
        """Put points into panels; or gather them, where they are few."""
        rows = self.rows
        if len(points) <= _FEW:
            few = np.zeros((round_up(len(points), 4), rows.shape[1]))
            few[: len(points)] = rows[self._places[points]]
            return _Left(panels=None, rows=few)
        panels = np.empty((-(-len(points) // LANES), rows.shape[1], LANES))
        fill_panels(rows, self._places[points], panels)
        return _Left(panels=panels, rows=None)

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
        given = (
            left_weights,
            left_units,
            self.rows,
            self._places[points],
            right_weights,
            right_units,
            self.form,
            method,
            totals,
        )
        if left.panels is not None:
            add_squares(left.panels, *given)
        else:
            assert left.rows is not None
            add_few_squares(left.rows, *given)

    def list_clusters(
        self, layout: Layout, method: int, n_neighbors: int, owners: NDArray[np.int64]
    ) -> tuple[Neighbors, NDArray[np.bool_]] | None:
        """List the K nearest clusters of some owners; most are seen to be too far by bounds."""
        if method == WARD:
            return None  # of its distances, which are differences, such bounds are poor ones
        rows, form = self.rows, self.form
        share = share_of_roundings(rows.shape[1])
        places = self._places[layout.points]
        members, of = layout.members(owners)
        left = np.empty((len(members), rows.shape[1] + 2), np.float32)
        bound_operands(rows, places[members], self._centre, self.scale, share, True, left)
        starts = np.searchsorted(of, np.arange(len(owners) + 1))
        n_kept = n_neighbors + max(_MORE, n_neighbors // 4)
        bounds = open_lists(len(owners), n_kept)
        reach = open_reach(len(owners), np.dtype(np.float64))
        right = np.empty((_BOUNDS, left.shape[1]), np.float32)
        products = np.empty((_BOUNDS, len(members)), np.float32)
        of_clusters = np.empty((self.edge, len(members)), np.float32)
        of_points = np.empty(of_clusters.size, np.float32)
        counts = layout.counts
        longest = int(counts[owners].max())
        for first, last in layout.groups:
            end_if_stopped()
            sums = of_clusters[: last - first]
            sums[:] = 3e38 if method == SINGLE else 0.0
            begin, end = int(layout.starts[first]), int(layout.starts[last])
            units = np.repeat(np.arange(last - first), counts[first:last])
            for some in slabs(end - begin, _BOUNDS):
                part = slice(begin + some.start, begin + some.stop)
                n = some.stop - some.start
                bound_operands(rows, places[part], self._centre, self.scale, share, False, right)
                np.matmul(right[:n], left.T, out=products[:n])
                add_bounds(products[:n], layout.weights[part], units[some], form, method, sums)
            # Roundings of both sums, of their terms and of the weights.
            n_rounded = longest + int(counts[first:last].max()) + 16
            turned = of_points[: sums.size].reshape(sums.shape[::-1])
            turn(sums, turned)
            offer_bounds(
                turned,
                first,
                starts,
                layout.weights[members],
                owners,
                self.scale,
                min(1.0, 1.01 * 2.0**-24 * n_rounded),
                layout.clusters,
                form,
                method,
                n_kept,
                bounds,
                reach,
            )
        close_lists(bounds, n_kept, len(layout) - 1, 0, len(owners))
        lists = open_lists(len(owners), n_neighbors)
        is_sure = np.empty(len(owners), np.bool_)
        list_within(
            bounds,
            n_kept,
            owners,
            rows,
            places,
            layout.weights,
            layout.starts,
            layout.clusters,
            layout.slots,
            form,
            method,
            n_neighbors,
            lists,
            is_sure,
        )
        close_lists(lists, n_neighbors, len(layout) - 1, 0, len(owners))
        return lists, ~is_sure

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
        rows, places = self.rows, self._places[layout.points]
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


class _StripLists:
    """Lists of a range of rows, to which others are offered range by range.

    Attributes
    ----------
    centre
        The mean of the rows, ``(k,)``: near ones have short operands about it.
    """

    def __init__(
        self,
        points: EuclideanPoints,
        strip: slice,
        sizes: NDArray[np.float64],
        method: int,
        n_neighbors: int,
    ) -> None:
        self._points, self._strip = points, strip
        self._sizes, self._method, self._n_neighbors = sizes, method, n_neighbors
        n, k = strip.stop - strip.start, points.rows.shape[1]
        self.centre = points.rows[strip].mean(axis=0)
        self._share = share_of_roundings(k)
        self._left = np.empty((n, k + 2), np.float32)
        self._right = np.empty((0, k + 2), np.float32)
        self._norms = np.empty(n)
        self._fill(strip, self._left, self._norms, is_left=True)
        self._lists = open_lists(n, n_neighbors)
        self._reach = open_reach(n, np.dtype(np.float64))
        self._scratch = np.empty(_LEAF * _COLUMNS, np.float32)

    def _fill(
        self,
        rows: slice,
        operands: NDArray[np.float32],
        norms: NDArray[np.float64],
        *,
        is_left: bool,
    ) -> None:
        fill_operands(
            self._points.rows,
            rows.start,
            rows.stop,
            self.centre,
            self._points.scale,
            self._share,
            is_left,
            operands,
            norms,
        )

    def offer(
        self, others: slice, leaves: list[slice], columns_at_once: int, *, seen: bool = False
    ) -> None:
        """Offer some rows to the lists of some leaves.

        Parameters
        ----------
        others
            Which rows.
        leaves
            Ranges of lists, no longer than a leaf.
        columns_at_once
            How many rows are offered together.
        seen
            Whether the rows of each leaf were offered to it already.
        """
        width = others.stop - others.start
        if width > len(self._right):
            self._right = np.empty((width, self._right.shape[1]), np.float32)
        self._fill(others, self._right, np.empty(width), is_left=False)
        points, strip = self._points, self._strip
        for columns in slabs(width, columns_at_once):
            n_columns = columns.stop - columns.start
            padded = round_up(n_columns, _TOGETHER)
            for leaf in leaves:
                n_rows = leaf.stop - leaf.start
                products = self._scratch[: n_rows * padded].reshape(n_rows, padded)
                np.matmul(self._left[leaf], self._right[columns].T, out=products[:, :n_columns])
                offer_negative(
                    products.view(np.int64),
                    n_columns,
                    self._left,
                    self._norms,
                    points.scale,
                    self._share,
                    points.rows,
                    points.order,
                    self._sizes,
                    strip.start + leaf.start,
                    leaf.start,
                    others.start + columns.start,
                    n_rows if seen else 0,
                    points.form,
                    self._method,
                    self._n_neighbors,
                    self._lists,
                    self._reach,
                )

    def closed(self) -> Neighbors:
        """Return the lists of the K nearest, with room for no more."""
        lists, n_neighbors = self._lists, self._n_neighbors
        close_lists(lists, n_neighbors, self._points.n - 1, 0, len(lists.counts))
        return lists._replace(
            ids=lists.ids[:, :n_neighbors].copy(),
            bounds=lists.bounds[:, :n_neighbors].copy(),
            exact=lists.exact[:, :0],
        )


def _list_strip(
    given: tuple[EuclideanPoints, NDArray[np.float64], int, int], strip: slice
) -> tuple[slice, Neighbors]:
    points, sizes, method, n_neighbors = given
    return strip, points.list_strip(strip, sizes, method, n_neighbors)

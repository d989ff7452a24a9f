"""Driver: points whose distances follow from Euclidean ones of prepared rows.

Rows lie in the order of a k-d tree's leaves, so that near ones are mostly neighbours. Their lists
are those of clusters of one, each of which is its own mean (``summaries/lists.py``).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clustergrid.pipeline.engines.given import DistanceInput
from clustergrid.pipeline.execution import Executor, available_cores
from clustergrid.pipeline.hierarchy._clusters import WARD, Clusters
from clustergrid.pipeline.hierarchy._neighbors import Neighbors
from clustergrid.pipeline.hierarchy._threads import in_threads
from clustergrid.pipeline.points._near_order import near_order
from clustergrid.pipeline.points._products import ProductSide, add_products
from clustergrid.pipeline.points._squares import (
    HALF,
    PAIR_EDGE,
    PLAIN,
    ROOT,
    add_squares,
    fill_panels,
)
from clustergrid.pipeline.points.base import Pause
from clustergrid.pipeline.points.held import Held, hold, window_rows
from clustergrid.pipeline.points.layout import Layout
from clustergrid.pipeline.points.near_clusters import NearClusters
from clustergrid.pipeline.points.pairs import Pairs
from clustergrid.pipeline.points.prepared import (
    Extent,
    MadeOnce,
    Sketch,
    euclidean_parts,
    path_of_read,
)
from clustergrid.pipeline.row_reader import (
    RowReader,
    RowsAtRest,
    RowsInMemory,
    put_at_rest,
    reordered,
)
from clustergrid.pipeline.summaries._means import Summaries, open_summaries
from clustergrid.pipeline.summaries.compared import Asked, Compared
from clustergrid.pipeline.summaries.lists import Lists, largest_scale, near_lists
from clustergrid.pipeline.summaries.plan import OWNERS
from clustergrid.storage.arrays import remove_array

__all__ = ["EuclideanPoints"]

_FEW = 40
"""Points at the left for which a product does not pay."""

_PRODUCT_FEATURES = 96
"""From so many features on products and their roots take less time than differences."""

_MANY_NEAR = 16
"""A block of which one pair in so many lost digits is computed from differences."""

_LISTED = 512
"""Points of the owners whose lists are made together: of more there are more clusters that are near
to some of them."""

_LISTED_WITHOUT_MEANS, _LISTED_VALUES = 2048, 2**20
"""The same where they are compared with all others, and their values."""

_SAMPLES, _SAMPLED_TOGETHER, _SAMPLED_VALUES = 64, 16, 2**20
"""Ranges of rows that say how long most are, rows of each, and values of all of them."""

_MOST_OF_HALVES = 2.0
"""Of cosines and the like, whatever is rounded."""

_LISTS_BYTES = 1500
"""Of a point: less than its lists will take, which are not there while rows are put in order."""


class _Left(NamedTuple):
    """Points at the left: in panels, or as one side of products."""

    panels: NDArray[np.float64] | None = None
    product: ProductSide | None = None


class EuclideanPoints:
    """Points with Euclidean distances, or distances that follow from these; see `Points`.

    Parameters
    ----------
    given
        The matrix and its metric.
    kept
        ``(n,)`` increasing: which of its rows the points are; None: all.
    at_rest
        Store and path where the rows are put, which tasks read; None: every process that computes
        distances holds them. Nothing else depends on that.

    Attributes
    ----------
    order
        ``(n,)``: the point of each prepared row.
    scale
        Power of two that brings the rows near length one, about their mean.
    """

    edge = PAIR_EDGE

    def __init__(
        self,
        given: DistanceInput,
        kept: NDArray[np.int64] | None,
        *,
        at_rest: tuple[str, str] | None = None,
    ) -> None:
        self._prepared, self._summaries, self._operands = MadeOnce(), MadeOnce(), MadeOnce()
        product = given.metric.product
        assert product is not None
        self.form = HALF if given.metric.is_unit else ROOT if product.root else PLAIN
        n, k = given.source.shape
        self.n = n if kept is None else len(kept)
        # Those who read rows at rest need no matrix.
        self._matrix = (given, kept) if at_rest is None else None
        extent = Extent(k)
        rows = _read(given, kept, extent, at_rest)
        extent.check(given.metric.name)
        # The driver's choice, so that all processes have the same.
        self.order = near_order(Sketch(extent).of_all(rows), OWNERS)
        self._places = np.empty(self.n, np.int64)
        self._places[self.order] = np.arange(self.n)
        self._centre = extent.centre
        self.scale = float(np.ldexp(1.0, int(np.clip(-np.frexp(extent.radius)[1], -500, 500))))
        self._at_rest = self._put_in_order(rows, at_rest)
        self._largest_scale = self._scale_of_most()

    def _put_in_order(self, rows: RowReader, at_rest: tuple[str, str] | None) -> RowsAtRest | None:
        """Put near rows side by side."""
        if at_rest is None:
            self._prepared.get(lambda: rows.take(self.order))
            return None
        store, path = at_rest
        k = rows.shape[1]
        at_once = max(window_rows(rows), self.n * _LISTS_BYTES // (8 * k))
        in_order = reordered(rows, self.order, store=store, path=path, rows_at_once=at_once)
        remove_array(store, path_of_read(path))
        return in_order

    def _scale_of_most(self) -> float:
        """Return the largest scale of operands, of rows from everywhere in their order."""
        k = self.reader.shape[1]
        some = min(_SAMPLED_TOGETHER, max(1, _SAMPLED_VALUES // (_SAMPLES * max(1, k))))
        starts = range(0, self.n, -(-self.n // _SAMPLES))
        rows = np.concatenate([self.reader.block(i, min(i + some, self.n)) for i in starts])
        return largest_scale(open_summaries(rows, np.zeros(len(rows)), factor=1.0, is_ward=True))

    @property
    def reader(self) -> RowReader:
        """``(n, k)``, in the order of `order`."""
        if self._at_rest is not None:
            return self._at_rest
        return RowsInMemory(self._prepared.get(self._read_again))

    def _read_again(self) -> NDArray[np.float64]:
        assert self._matrix is not None
        given, kept = self._matrix
        rows = np.empty((self.n, given.source.shape[1]))
        for _ in euclidean_parts(given, kept, rows):
            pass
        return rows[self.order]

    def close(self) -> None:
        """Remove rows at rest."""
        if self._at_rest is not None:
            self._at_rest.remove()

    @property
    def window(self) -> int:
        """How many points a task may hold beside those at the left."""
        return window_rows(self.reader)

    def hold(self, points: NDArray[np.int64]) -> Held:
        """Bring points into memory."""
        return hold(self.reader, self._places[points])

    def nearest(
        self,
        shared: Any,
        clusters: Clusters,
        method: str,
        n_neighbors: int,
        executor: Executor,
        pause: Pause,
    ) -> Neighbors:
        """List the K nearest of every point: each is a cluster of one, which is its mean."""
        if method != "ward":
            clusters = clusters._replace(sizes=np.ones(self.n))
        asked = Asked(clusters=clusters, halves=False, number=0)
        how = Lists(
            n_neighbors=n_neighbors,
            executor=executor,
            send=lambda compared: (shared, executor.share((asked, compared.slots))),
            threads=available_cores(),
            pause=pause,
        )
        lists = near_lists(self.compared_here(asked, self.order), self.order, how)
        if self.form == HALF:
            np.minimum(lists.bounds, _MOST_OF_HALVES, out=lists.bounds)
            np.minimum(
                lists.tau, np.where(lists.tau < np.inf, _MOST_OF_HALVES, np.inf), out=lists.tau
            )
        return lists

    def compared_here(self, asked: Asked, slots: NDArray[np.int64]) -> Compared:
        """Return points as clusters of one, of which ward's distance is the Euclidean one."""
        is_in_order = np.array_equal(slots, self.order)
        return Compared(
            summaries=self._summaries.get(partial(self._summaries_of, asked), of=asked),
            slots=slots,
            where=None if is_in_order else self._places[slots],
            n_features=self.reader.shape[1],
            largest_scale=self._largest_scale,
            at_rest=self.reader,
        )

    def _summaries_of(self, asked: Asked) -> Summaries:
        """Return all that is known of points but their rows."""
        summaries = open_summaries(
            np.empty((self.n, 0)),
            np.zeros(self.n),
            factor=0.5 if self.form == HALF else 1.0,
            is_ward=self.form == ROOT,
        )
        return summaries._replace(sizes=asked.clusters.sizes[self.order])

    def left(self, points: NDArray[np.int64], *, by_products: bool = False) -> _Left:
        """Put points into panels; or about their mean, where products of them are wanted."""
        places = self._places[points]
        held = hold(self.reader, places)
        n_features = held.rows.shape[1]
        if by_products and n_features >= _PRODUCT_FEATURES and len(points) > _FEW:
            # Rows of an array cost nothing to keep; others would be kept beside copies of them.
            side = ProductSide.of(held.rows, held.where(places), keeps=self.reader.in_memory)
            return _Left(product=side)
        return _Left(panels=fill_panels(held.rows, held.where(places)))

    def add(
        self,
        left: _Left,
        left_weights: NDArray[np.float64],
        left_units: NDArray[np.int64],
        held: Held,
        points: NDArray[np.int64],
        right_weights: NDArray[np.float64],
        right_units: NDArray[np.int64],
        method: int,
        totals: NDArray[np.float64],
    ) -> None:
        """Reduce distances into totals; those of complete and single are squares."""
        where = held.where(self._places[points])
        right = (held.rows, where, right_weights, right_units)
        panels, product = left.panels, left.product
        if product is not None:
            squares, n_near = product.squares_to(held.rows, where)
            if n_near * _MANY_NEAR <= squares.size:
                add_products(
                    squares,
                    product.rows,
                    product.places,
                    left_weights,
                    left_units,
                    *right,
                    self.form,
                    totals,
                )
                return
            panels = fill_panels(product.rows, product.places)
        assert panels is not None
        add_squares(panels, left_weights, left_units, *right, self.form, method, totals)

    def listed(self, layout: Layout, method: int) -> int:
        """Return so many that what they need of all others is little beside their products."""
        if self._near(layout, method).has_means:
            return _LISTED
        k = self.reader.shape[1]
        return min(_LISTED_WITHOUT_MEANS, max(self.edge, _LISTED_VALUES // max(1, k)))

    def list_clusters(
        self, layout: Layout, method: int, n_neighbors: int, owners: NDArray[np.int64]
    ) -> tuple[Neighbors, NDArray[np.bool_]] | None:
        """List the K nearest clusters of some owners; most are seen to be too far by bounds."""
        if method == WARD:
            return None  # of its distances, which are differences, such bounds are poor ones
        return self._near(layout, method).list(owners, n_neighbors)

    def side_by_side(
        self, layout: Layout, method: int, owners: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Order owners so that near ones are mostly neighbours."""
        return self._near(layout, method).side_by_side(owners)

    def _near(self, layout: Layout, method: int) -> NearClusters:
        return NearClusters(
            points=self,
            pairs=self._pairs(layout),
            method=method,
            centre=self._centre,
            scale=self.scale,
            made=self._operands,
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
        """Reduce the distances of pairs of clusters, in threads of this process."""
        del shared, executor

        def run(function: Callable[[slice], None], pieces: list[slice]) -> None:
            in_threads(function, pieces, threads=available_cores(), pause=partial(pause, 0.0))

        totals = np.empty(len(first))
        for _ in self._pairs(layout).reduce(first, second, method, totals, run):
            pause(0.0)
        return totals

    def _pairs(self, layout: Layout) -> Pairs:
        return Pairs(layout, self.reader, self._places, self.form, self.window)


def _read(
    given: DistanceInput,
    kept: NDArray[np.int64] | None,
    extent: Extent,
    at_rest: tuple[str, str] | None,
) -> RowReader:
    """Read the rows, as points are numbered, and see how far they reach."""
    n, k = given.source.shape
    shape = (n if kept is None else len(kept)), k
    if at_rest is None:
        rows = np.empty(shape)
        for _ in extent.of(euclidean_parts(given, kept, rows)):
            pass
        return RowsInMemory(rows)
    parts = extent.of(euclidean_parts(given, kept))
    store, path = at_rest
    return put_at_rest(
        parts, shape=shape, dtype=np.dtype(np.float64), store=store, path=path_of_read(path)
    )

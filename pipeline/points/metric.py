"""Driver: points with distances of any metric, block by block, in double precision.

A block is made of any points, not only of neighbours in the matrix: their values are put side by
side, and the metric's engine sees them as a small matrix. Engines that compute pair after pair, or
count, give a pair the same bits there as anywhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clustergrid.pipeline.engines.base import UndefinedPairError
from clustergrid.pipeline.engines.direct import Direct
from clustergrid.pipeline.engines.given import DistanceInput
from clustergrid.pipeline.errors import mark_lasting
from clustergrid.pipeline.execution import Executor, end_if_stopped
from clustergrid.pipeline.hierarchy._clusters import CODES, Clusters, nothing_yet
from clustergrid.pipeline.hierarchy._neighbors import (
    Neighbors,
    Reach,
    close_lists,
    open_lists,
    open_reach,
)
from clustergrid.pipeline.normalize import Normalization
from clustergrid.pipeline.points._blocks import (
    add_block,
    add_corners,
    add_paired,
    offer_block,
    offer_listed,
)
from clustergrid.pipeline.points._squares import PLAIN
from clustergrid.pipeline.points.base import Pause
from clustergrid.pipeline.points.held import Held, hold, window_rows
from clustergrid.pipeline.points.layout import Layout
from clustergrid.pipeline.points.prepared import MadeOnce, value_pass
from clustergrid.pipeline.row_reader import RowReader, RowsAtRest, RowsInMemory, put_at_rest
from clustergrid.pipeline.tiles import tile_distances
from clustergrid.storage.errors import DataValueError
from clustergrid.storage.grid import BLOCK_ROWS, TriangleGrid, round_up
from clustergrid.storage.source import ArraySource

__all__ = ["MetricPoints"]

_PAIRS_AT_ONCE = 2**12
"""Distances of a block that is made for several pairs of clusters, most of which nobody wants: a
block costs as much time as so many distances before the first is computed."""

_FEW_PAIRS = 64
"""Up to so many pairs of members, just the distances of a pair of clusters are computed."""

_PAIRED_VALUES = 2**17
"""Of the rows at each side of distances that are computed one to one together."""

_PIECES_A_THREAD = 8


class _Side(NamedTuple):
    """Points at one side of a block, and rows that theirs are among."""

    points: NDArray[np.int64]
    held: Held

    @property
    def values(self) -> NDArray[Any]:
        """``(r, k)``."""
        return self.held.rows[self.held.where(self.points)]


class MetricPoints:
    """Points with the distances of any metric; see `Points`.

    Parameters
    ----------
    given
        The matrix and its metric.
    kept
        ``(n,)`` increasing: which of its rows the points are; None: all.
    at_rest
        Store and path where the rows are put, which tasks read; None: every process that computes
        distances holds them. Nothing else depends on that.
    """

    edge = 512
    form = PLAIN
    order = None

    def __init__(
        self,
        given: DistanceInput,
        kept: NDArray[np.int64] | None,
        *,
        at_rest: tuple[str, str] | None = None,
    ) -> None:
        if given.metric.product is not None and given.metric.function is None:
            raise DataValueError(
                f"{given.metric.name} distances follow from Euclidean ones: use EuclideanPoints"
            )
        self._given = given
        self._kept = kept
        self._prepared = MadeOnce()
        self.n = given.source.shape[0] if kept is None else len(kept)
        engine = given.engine
        if engine in ("scipy", "sparse"):
            # These see a whole matrix; the others have the same bits for any block of pairs.
            engine = "counts" if given.metric.counts and self._is_boolean else "direct"
        self._engine = engine
        self._at_rest = self._put(at_rest)
        if at_rest is not None:
            # Those who read rows at rest need no matrix.
            nothing = np.empty((0, given.source.shape[1]), given.source.dtype)
            self._given = replace(given, source=ArraySource(nothing), sparse=None)

    @property
    def _is_boolean(self) -> bool:
        return self._given.metric.is_boolean or self._given.is_boolean

    def _put(self, at_rest: tuple[str, str] | None) -> RowsAtRest | None:
        """Put normalized values where they are to be."""
        if at_rest is None:
            return None
        values = value_pass(self._given, self._kept)
        store, path = at_rest
        parts = (strip.values for strip in values.strips())
        return put_at_rest(parts, shape=values.shape, dtype=values.dtype, store=store, path=path)

    @property
    def reader(self) -> RowReader:
        """``(n, k)`` normalized values."""
        if self._at_rest is not None:
            return self._at_rest
        return RowsInMemory(self._prepared.get(value_pass(self._given, self._kept).to_array))

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
        return hold(self.reader, points)

    def block(self, left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.float64]:
        """Compute the distances of some points to others, ``(l, r)``."""
        return self._block(self.left(left), self.left(right))

    def _block(self, left: _Side, right: _Side) -> NDArray[np.float64]:
        if self._engine == "function":
            return self._called(left, right)
        n_left, n_right = len(left.points), len(right.points)
        behind = round_up(n_left, BLOCK_ROWS)
        rows = self.reader
        both = np.zeros((behind + n_right, rows.shape[1]), rows.dtype)
        both[:n_left] = left.values
        both[behind:] = right.values
        totals = np.ones((len(both), 2))
        kept = left.points, right.points
        if self._kept is not None:
            kept = self._kept[kept[0]], self._kept[kept[1]]
        totals[:n_left] = self._given.totals[kept[0]]
        totals[behind:] = self._given.totals[kept[1]]
        given = replace(
            self._given,
            source=ArraySource(both),
            normalization=Normalization(),
            totals=totals,
            engine=self._engine,
            dtype="float64",
            sparse=None,
        )
        try:
            return tile_distances(given, slice(0, n_left), slice(behind, len(both)))
        except UndefinedPairError as error:
            i, j = error.rows
            pair = sorted((int(kept[0][i]), int(kept[1][j - behind])))
            raise UndefinedPairError((pair[0], pair[1]), error.why) from None

    def _called(self, left: _Side, right: _Side) -> NDArray[np.float64]:
        """Call the user's function, as SciPy does with the row that comes first at the left."""
        function = self._given.metric.function
        assert function is not None
        is_same = np.array_equal(left.points, right.points)
        one = left.values.astype(np.float64)
        other = one if is_same else right.values.astype(np.float64)
        distances = np.zeros((len(one), len(other)))
        for a, i in enumerate(left.points.tolist()):
            end_if_stopped()
            for b, j in enumerate(right.points.tolist()):
                if i == j or (is_same and b < a):
                    continue
                pair = (one[a], other[b]) if i < j else (other[b], one[a])
                try:
                    distance = float(function(*pair))
                except Exception as error:
                    mark_lasting(error)
                    raise
                if not np.isfinite(distance):
                    raise self._undefined(min(i, j), max(i, j), distance)
                distances[a, b] = distance
                if is_same:
                    distances[b, a] = distance
        return distances

    def _undefined(self, i: int, j: int, distance: float) -> UndefinedPairError:
        pair = (i, j) if self._kept is None else (int(self._kept[i]), int(self._kept[j]))
        return UndefinedPairError(
            pair,
            f"are at distance {distance}, and the distances of a tree must be finite: "
            f"{self._given.metric.name} is not defined there. Drop one of them, or choose another "
            "metric",
        )

    def nearest(
        self,
        shared: Any,
        clusters: Clusters,
        method: str,
        n_neighbors: int,
        executor: Executor,
        pause: Pause,
    ) -> Neighbors:
        """List the K nearest of every point; tasks return what all lists still took, tile by tile.

        What a task knows of the lists may be older or newer. That changes how much comes back, and
        no more.
        """
        grid = TriangleGrid(n=self.n, tile_edge=self.edge)
        lists = open_lists(self.n, n_neighbors)
        reach = open_reach(self.n, np.dtype(np.float64))
        given = (shared, executor.share(clusters.sizes), CODES[method], n_neighbors)
        # Those on the diagonal come first: afterwards no list takes everything.
        tiles = sorted(map(grid.tile, range(grid.n_tiles)), key=lambda tile: tile[1] - tile[0])

        def works() -> Iterator[_Tile]:
            for i, j in tiles:
                rows, columns = grid.rows(i), grid.rows(j)
                sides = [rows] if i == j else [rows, columns]
                known = [reach.distance[side] for side in sides]
                yield _Tile(rows=rows, columns=columns, reach=np.concatenate(known))

        results = executor.map(_list_tile, given, works(), name="nearest-points")
        for done, found in enumerate(results, 1):
            height = found.rows.stop - found.rows.start
            split = int(found.counts[:height].sum())
            for first, counts, entries in (
                (found.rows.start, found.counts[:height], slice(0, split)),
                (found.columns.start, found.counts[height:], slice(split, None)),
            ):
                offer_listed(
                    found.ids[entries],
                    found.distances[entries],
                    counts,
                    first,
                    n_neighbors,
                    lists,
                    reach,
                )
            pause(done / len(tiles))
        close_lists(lists, n_neighbors, self.n - 1, 0, self.n)
        return lists

    def left(self, points: NDArray[np.int64], *, by_products: bool = False) -> _Side:
        """Bring points into memory."""
        return _Side(points, self.hold(points))

    def add(
        self,
        left: _Side,
        left_weights: NDArray[np.float64],
        left_units: NDArray[np.int64],
        held: Held,
        points: NDArray[np.int64],
        right_weights: NDArray[np.float64],
        right_units: NDArray[np.int64],
        method: int,
        totals: NDArray[np.float64],
    ) -> None:
        """Reduce the distances of a block into totals."""
        block = self._block(left, _Side(points, held))
        add_block(block, left_weights, left_units, right_weights, right_units, method, totals)

    def listed(self, layout: Layout, method: int) -> int:
        """Return an edge: nothing is quicker here."""
        return self.edge

    def side_by_side(
        self, layout: Layout, method: int, owners: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Order owners as the rows are numbered."""
        return np.argsort(owners)

    def list_clusters(
        self, layout: Layout, method: int, n_neighbors: int, owners: NDArray[np.int64]
    ) -> None:
        """Nothing is quicker here than all distances."""

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
        """Reduce the distances of pairs of clusters, in tasks of many pairs."""
        totals = np.empty(len(first))
        work = np.cumsum(layout.counts[first] * layout.counts[second])
        most = max(_PAIRS_AT_ONCE, int(work[-1]) // (_PIECES_A_THREAD * executor.threads))
        starts = np.flatnonzero(np.diff((work - 1) // most, prepend=-1)).tolist()
        items = [
            (start, first[start:stop], second[start:stop])
            for start, stop in pairwise([*starts, len(first)])
        ]
        given = (shared, executor.share(layout), method)
        for start, found in executor.map(_reduce_pairs, given, items, name="distances"):
            totals[start : start + len(found)] = found
            pause(0.0)
        return totals

    def reduce_pairs(
        self, layout: Layout, method: int, first: NDArray[np.int64], second: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Reduce the distances of some pairs: of small clusters many at once."""
        totals = np.empty(len(first))
        work = layout.counts[first] * layout.counts[second]
        is_paired = work <= (_FEW_PAIRS if self._engine == "direct" else 0)
        paired = np.flatnonzero(is_paired)
        at_once = max(1, _PAIRED_VALUES // self.reader.shape[1])
        parts = (np.cumsum(work[paired]) - 1) // at_once
        for some in np.split(paired, np.flatnonzero(np.diff(parts)) + 1) if len(paired) else []:
            end_if_stopped()
            totals[some] = self._one_to_one(layout, method, first[some], second[some])
        others = np.flatnonzero(~is_paired)
        for part in self._blocks(layout, first[others], second[others]):
            some = others[part]
            totals[some] = self._together(layout, method, first[some], second[some])
        return totals

    def _one_to_one(
        self, layout: Layout, method: int, first: NDArray[np.int64], second: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Compute just the distances that are wanted."""
        left, right = layout.members_of_pairs(first, second)
        left, right = layout.points[left], layout.points[right]
        held = self.hold(np.concatenate([left, right]))
        values = [_Side(points, held).values.astype(np.float64) for points in (left, right)]
        kept = (left, right) if self._kept is None else (self._kept[left], self._kept[right])
        totals = [self._given.totals[rows] for rows in kept]
        distances = Direct(replace(self._given, engine="direct")).paired(*values, *totals)
        undefined = np.flatnonzero(~np.isfinite(distances))
        if len(undefined):
            i, j = sorted((int(left[undefined[0]]), int(right[undefined[0]])))
            raise self._undefined(i, j, distances[undefined[0]])
        reduced = np.empty(len(first))
        add_paired(distances, layout.starts, layout.weights, first, second, method, reduced)
        return reduced

    def _blocks(
        self, layout: Layout, first: NDArray[np.int64], second: NDArray[np.int64]
    ) -> Iterator[slice]:
        """Cut pairs into such as share a block, or one."""
        heights, widths = layout.counts[first].tolist(), layout.counts[second].tolist()
        start = 0
        while start < len(heights):
            stop, height, width = start, 0, 0
            while stop < len(heights):
                taller, wider = height + heights[stop], width + widths[stop]
                is_alone = stop == start
                if not is_alone and (
                    self._engine == "function"
                    or taller * wider > _PAIRS_AT_ONCE
                    or max(taller, wider) > self.edge
                ):
                    break
                stop, height, width = stop + 1, taller, wider
            yield slice(start, stop)
            start = stop

    def _together(
        self, layout: Layout, method: int, first: NDArray[np.int64], second: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Reduce pairs whose members make a block; those of one pair may make several."""
        left, top = layout.members_in_turn(first)
        right, columns = layout.members_in_turn(second)
        totals = np.empty(len(first))
        if max(len(left), len(right)) <= self.edge:
            end_if_stopped()
            block = self.block(layout.points[left], layout.points[right])
            weights = layout.weights[left], layout.weights[right]
            add_corners(block, top, columns, *weights, method, totals)
            return totals
        assert len(first) == 1
        total = np.full((1, 1), nothing_yet.python(method))
        for rows in _edges(len(left), self.edge):
            for part in _edges(len(right), self.edge):
                end_if_stopped()
                one, other = left[rows], right[part]
                add_block(
                    self.block(layout.points[one], layout.points[other]),
                    layout.weights[one],
                    np.zeros(len(one), np.int64),
                    layout.weights[other],
                    np.zeros(len(other), np.int64),
                    method,
                    total,
                )
        totals[:] = total[0]
        return totals


def _edges(n: int, edge: int) -> list[slice]:
    return [slice(start, min(start + edge, n)) for start in range(0, n, edge)]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tile:
    """Two ranges of points, and how far the lists of both reached when the task was handed out."""

    rows: slice
    columns: slice
    reach: NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Listed:
    """What the lists of a tile's rows, then of its columns, may take: no more than K each."""

    rows: slice
    columns: slice
    ids: NDArray[np.int32]
    distances: NDArray[np.float64]
    counts: NDArray[np.int64]


def _list_tile(given: tuple[MetricPoints, NDArray[np.float64], int, int], tile: _Tile) -> _Listed:
    points, sizes, method, n_neighbors = given
    rows = np.arange(tile.rows.start, tile.rows.stop)
    columns = (
        rows if tile.rows == tile.columns else np.arange(tile.columns.start, tile.columns.stop)
    )
    block = points.block(rows, columns)
    n_lists = len(tile.reach)
    lists = open_lists(n_lists, n_neighbors)
    reach = Reach(
        distance=tile.reach.copy(), last=np.full(n_lists, np.iinfo(np.int64).max, np.int64)
    )
    offer_block(
        block, tile.rows.start, tile.columns.start, sizes, method, n_neighbors, lists, reach
    )
    close_lists(lists, n_neighbors, 0, 0, n_lists)
    is_entry = np.arange(lists.ids.shape[1]) < lists.counts[:, None]
    return _Listed(
        rows=tile.rows,
        columns=tile.columns,
        ids=lists.ids[is_entry],
        distances=lists.bounds[is_entry],
        counts=lists.counts,
    )


def _reduce_pairs(
    given: tuple[MetricPoints, Layout, int],
    item: tuple[int, NDArray[np.int64], NDArray[np.int64]],
) -> tuple[int, NDArray[np.float64]]:
    points, layout, method = given
    start, first, second = item
    return start, points.reduce_pairs(layout, method, first, second)

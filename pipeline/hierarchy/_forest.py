"""Kernel: the edges of a tile of distances that a minimum spanning tree may have.

Of a tile, few edges are of interest once *some* tree of all vertices is known: one between ``u``
and ``v`` is not in the minimum spanning tree if the tree that is known joins them by a path whose
greatest edge comes before it. So a tile is compared, once, with the greater of a bound for its row
and one for its column (``_path_bounds.py``), and what passes, a few edges in a thousand, goes to
Kruskal.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from clustergrid.pipeline._jit import jit
from clustergrid.pipeline.hierarchy._edges import Edges, is_joining
from clustergrid.pipeline.hierarchy._minimum import LANES, minimum
from clustergrid.pipeline.hierarchy._path_bounds import Bounds, path_bounds
from clustergrid.pipeline.hierarchy._spanning import GrowingTree

__all__ = ["tree_of_square", "tree_of_tile"]

_COMPARED = 64
"""Entries of a tile that are compared before any of them is looked at."""


def tree_of_square(square: NDArray[Any], start: int) -> Edges:
    """Return the minimum spanning tree of a tile on the diagonal, sorted.

    Parameters
    ----------
    square
        ``(m, m)`` distances, symmetric and finite.
    start
        The first of the observations, of which the others are those that follow.
    """
    tree = GrowingTree(square)
    tree.grow(len(square) - 1)
    edges = tree.edges.sorted()
    return Edges(lower=edges.lower + start, higher=edges.higher + start, weight=edges.weight)


def tree_of_tile(
    tile: NDArray[Any],
    rows: slice,
    columns: slice,
    *,
    row_bounds: Bounds,
    column_bounds: Bounds,
    known: Edges | None = None,
) -> Edges:
    """Return the edges of a tile that a minimum spanning tree of all observations may have.

    Parameters
    ----------
    tile
        ``(rows, columns)`` distances, finite, C-contiguous.
    rows, columns
        Which observations; no column comes before a row.
    row_bounds, column_bounds
        Of the tree that is known, for the rows and the columns.
    known
        Trees of the rows and of the columns; without bounds, the tile's own tree is found with
        them.

    Returns
    -------
    Edges
        At most ``rows + columns - 1``, sorted; those of `known` that are among them included.
    """
    height, width = tile.shape
    local = _Local(rows, columns)
    room = max(4 * (height + width), 2**14) + width
    buffer = Edges(
        lower=np.empty(room, np.int64),
        higher=np.empty(room, np.int64),
        weight=np.empty(room, tile.dtype),
    )
    found = Edges.none(tile.dtype)
    extra: tuple[Bounds, Bounds] | None = None
    if known is not None:
        found = local.forest(Edges.joined([known, _nearest(tile, rows, columns)]))
        extra = local.bounds(found)
    done = 0
    while done < height:
        of_rows, of_columns = row_bounds, column_bounds
        if extra is not None:
            of_rows, of_columns = of_rows.beside(extra[0]), of_columns.beside(extra[1])
        done, count = _collect(
            tile,
            rows.start,
            columns.start,
            of_rows.weight,
            of_rows.lower,
            of_rows.higher,
            of_columns.weight,
            of_columns.lower,
            of_columns.higher,
            done,
            buffer.lower,
            buffer.higher,
            buffer.weight,
        )
        found = local.forest(Edges.joined([found, buffer[:count]]))
        if done < height:
            # Many pass: what is known of all is less than what these rows tell.
            extra = local.bounds(found)
    return found


class _Local:
    """Numbers the observations of a tile from 0, in their order: rows, then columns."""

    def __init__(self, rows: slice, columns: slice) -> None:
        self._rows, self._columns = rows, columns
        self._height = rows.stop - rows.start
        self._n = self._height + columns.stop - columns.start

    def _numbers(self, observations: NDArray[np.int64]) -> NDArray[np.int64]:
        is_row = observations < self._rows.stop
        shift = np.where(is_row, self._rows.start, self._columns.start - self._height)
        numbers: NDArray[np.int64] = observations - shift
        return numbers

    def forest(self, edges: Edges) -> Edges:
        """Return the minimum spanning forest of edges between observations of the tile."""
        edges = edges.sorted()
        kept = is_joining(self._numbers(edges.lower), self._numbers(edges.higher), self._n)
        return edges[kept]

    def bounds(self, forest: Edges) -> tuple[Bounds, Bounds]:
        """Return what a forest of the tile says of its rows and of its columns."""
        numbered = Edges(
            lower=self._numbers(forest.lower),
            higher=self._numbers(forest.higher),
            weight=forest.weight,
        )
        found = path_bounds(numbered, self._n)
        named = np.concatenate(
            [
                np.arange(self._rows.start, self._rows.stop),
                np.arange(self._columns.start, self._columns.stop),
                [self._columns.stop],
            ]
        )
        found = Bounds(weight=found.weight, lower=named[found.lower], higher=named[found.higher])
        return found.of(slice(0, self._height)), found.of(slice(self._height, self._n))


def _nearest(tile: NDArray[Any], rows: slice, columns: slice) -> Edges:
    """Return the shortest edge of every row and of every column."""
    height, width = tile.shape
    of_row, of_column = np.empty(height, np.int64), np.empty(width, np.int64)
    least = np.empty(width, tile.dtype)
    _nearest_places(tile, of_row, of_column, least, np.empty(LANES, tile.dtype))
    every_row, every_column = np.arange(height), np.arange(width)
    return Edges(
        lower=rows.start + np.concatenate([every_row, of_column]),
        higher=columns.start + np.concatenate([of_row, every_column]),
        weight=np.concatenate([tile[every_row, of_row], least]),
    )


@jit
def _nearest_places(
    tile: NDArray[Any],
    of_row: NDArray[np.int64],
    of_column: NDArray[np.int64],
    least: NDArray[Any],
    lanes: NDArray[Any],
) -> None:
    height, width = tile.shape
    closed = np.zeros(width, tile.dtype)
    least[:] = np.inf
    for u in range(height):
        row = tile[u]
        _, of_row[u] = minimum(row, closed, lanes)
        for v in range(width):
            is_nearer = row[v] < least[v]
            least[v] = row[v] if is_nearer else least[v]
            of_column[v] = u if is_nearer else of_column[v]


@jit
def _collect(
    tile: NDArray[Any],
    rows_start: int,
    columns_start: int,
    row_bound: NDArray[Any],
    row_lower: NDArray[np.int64],
    row_higher: NDArray[np.int64],
    column_bound: NDArray[Any],
    column_lower: NDArray[np.int64],
    column_higher: NDArray[np.int64],
    done: int,
    lower: NDArray[np.int64],
    higher: NDArray[np.int64],
    weight: NDArray[Any],
) -> tuple[int, int]:
    """Collect edges that bounds let pass, from row `done` on, until there is no more room.

    Returns the row to go on with, and how many edges there are.
    """
    height, width = tile.shape
    count = 0
    for u in range(done, height):
        if count + width > len(weight):
            return u, count
        row = tile[u]
        r = 0
        for other in range(1, len(row_bound)):
            if row_bound[other, u] < row_bound[r, u]:
                r = other
        own = row_bound[r, u]
        of_column = column_bound[r]
        for left in range(0, width, _COMPARED):
            right = min(left + _COMPARED, width)
            some = row[left:right]
            bounds = of_column[left:right]
            passing = 0
            for v in range(right - left):
                bound = bounds[v] if bounds[v] > own else own
                passing += 1 if some[v] <= bound else 0
            if passing == 0:
                continue
            for v in range(left, right):
                w = row[v]
                i, j = rows_start + u, columns_start + v
                if w > own and w > of_column[v]:
                    continue
                if w == max(own, of_column[v]):
                    # The bound's edge comes first if its indices do.
                    is_first = (w == own) and (
                        row_lower[r, u] > i or (row_lower[r, u] == i and row_higher[r, u] > j)
                    )
                    is_first |= (w == of_column[v]) and (
                        column_lower[r, v] > i
                        or (column_lower[r, v] == i and column_higher[r, v] > j)
                    )
                    if not is_first:
                        continue
                lower[count] = i
                higher[count] = j
                weight[count] = w
                count += 1
    return height, count

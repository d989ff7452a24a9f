"""The same distances in every place where tiles are read from."""

import numpy as np
from scipy.spatial.distance import squareform

from clustergrid.pipeline.execution import SerialExecutor
from clustergrid.pipeline.hierarchy.certified import Limits, merge_certified
from clustergrid.pipeline.hierarchy.condensed import CondensedSource
from clustergrid.pipeline.monitor import Progress
from clustergrid.pipeline.precomputed import put_at_rest
from clustergrid.storage.arrays import create_array
from clustergrid.storage.condensed import CondensedDistances, allocate_condensed, open_condensed
from clustergrid.storage.grid import TriangleGrid
from clustergrid.storage.precomputed import ArrayVector, ConvertedTiles, SquareTiles, VectorTiles
from clustergrid.storage.source import ZarrSource

PLACES = ("memory", "store", "square", "vector", "converted")


def tiles_in_memory(vector, edge):
    square = squareform(vector)
    held = allocate_condensed(n=len(square), tile_edge=edge, dtype=vector.dtype)
    for position in range(held.grid.n_tiles):
        i, j = held.grid.tile(position)
        held.tile_out(i, j)[:] = square[held.grid.rows(i), held.grid.rows(j)]
    return held


def tiles_at_rest(vector, edge, folder):
    held = tiles_in_memory(vector, edge)
    where = {"executor": SerialExecutor(), "progress": Progress()}
    put_at_rest(held, str(folder), "condensed_row", **where)
    return open_condensed(folder, "condensed_row")


def tiles_in(place, vector, edge, folder):
    """Return the distances of a vector as tiles that are in memory, or read from elsewhere."""
    if place == "memory":
        return tiles_in_memory(vector, edge)
    if place == "store":
        return tiles_at_rest(vector, edge, folder)
    square = squareform(vector)
    n = len(square)
    grid = TriangleGrid(n=n, tile_edge=min(edge, n))
    if place == "vector":
        return CondensedDistances(grid, VectorTiles(grid, ArrayVector(vector), vector.dtype))
    if place == "converted":
        wide = tiles_in_memory(vector.astype(np.float64), edge)
        return CondensedDistances(grid, ConvertedTiles(wide.tiles, vector.dtype))
    chunks = (min(7, n), min(13, n))
    array = create_array(folder, "square", shape=(n, n), dtype=vector.dtype, chunks=chunks)
    array[:] = square
    return CondensedDistances(
        grid, SquareTiles(grid, ZarrSource(str(folder), "square"), vector.dtype)
    )


def merged(vector, method, *, n_neighbors=3, start=None):
    """Return clusters of some points each, as rounds leave them."""
    n = CondensedSource(vector).n
    limits = Limits(most_clusters=n, n_neighbors=n_neighbors)
    return merge_certified(CondensedSource(vector), method, limits=limits, start=start).clusters

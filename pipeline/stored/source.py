"""Driver: distances at rest as a source of cluster distances, read again whenever they are needed.

Lists of the points are made by tasks on an executor, of which only lists travel; everything else of
regions of the matrix, which threads of this process read.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clustergrid.pipeline.execution import Executor, ThreadsExecutor
from clustergrid.pipeline.hierarchy._clusters import CODES, Clusters, labels_of, nothing_yet
from clustergrid.pipeline.hierarchy._contraction import finish_square
from clustergrid.pipeline.hierarchy._neighbors import Neighbors, open_lists
from clustergrid.pipeline.hierarchy._pieces import cut_evenly
from clustergrid.pipeline.hierarchy._regions import (
    Members,
    finish_pairs,
    finish_rows,
    nearest_of_rows,
    reduce_columns_to_rows,
    reduce_pairs,
    reduce_to_rows,
    reduce_to_square,
)
from clustergrid.pipeline.hierarchy._threads import in_threads
from clustergrid.pipeline.hierarchy.limits import LISTED_BYTES
from clustergrid.pipeline.stored.lists import list_points
from clustergrid.pipeline.stored.regions import RegionReader
from clustergrid.storage.condensed import CondensedDistances
from clustergrid.storage.condensed_tiles import StoredTiles, Tiles
from clustergrid.storage.grid import slabs
from clustergrid.storage.precomputed import (
    ConvertedTiles,
    NpyVector,
    SquareTiles,
    VectorTiles,
    ZarrVector,
)
from clustergrid.storage.source import ZarrSource

__all__ = ["StoredSource"]

Pause = Callable[[float], None]

_PIECES_A_THREAD = 4


class StoredSource:
    """Cluster distances from tiles that are read when they are needed; see `DistanceSource`.

    Lists, rows of some clusters and the square take a pass over the tiles that they need. The
    distances of single pairs take as much as the tiles that they are in: `values_read` says how
    much that is.

    Parameters
    ----------
    distances
        At rest, or in memory.
    executor
        Where lists of the points are made. Tiles that no other process can open stay in this one.
    threads
        How many threads of this process work on what was read.
    readers
        How many of them read tiles at once; None: all.
    listing_bytes
        What `nearest_clusters` may hold beside the region, `LISTED_BYTES` for each distance
        between an owner and another cluster; it takes a pass for as many owners as fit.

    Examples
    --------
    >>> from clustergrid.pipeline import pdist
    >>> from clustergrid.pipeline.execution import SerialExecutor
    >>> from clustergrid.pipeline.hierarchy._clusters import open_clusters
    >>> d = pdist([[0.0], [1.0], [5.0]])
    >>> source = StoredSource(d, executor=SerialExecutor(), threads=1, listing_bytes=10**6)
    >>> clusters = open_clusters(np.ones(3, np.int64), "average")
    >>> float(source.square(clusters, "average", lambda share: None)[0, 2]), source.reads
    (5.0, 1.0)
    """

    def __init__(
        self,
        distances: CondensedDistances,
        *,
        executor: Executor,
        threads: int,
        readers: int | None = None,
        listing_bytes: int,
    ) -> None:
        self.n = distances.n
        self._distances = distances
        self._threads = threads
        self._listing_bytes = listing_bytes
        self._reader = RegionReader(distances, min(threads, readers or threads))
        self._listed_bytes = 0
        self._is_compiled = False
        is_shared = executor.in_process or _travels(distances.tiles)
        self._executor = executor if is_shared else ThreadsExecutor(self._reader.threads)

    @property
    def reads(self) -> float:
        """How often the matrix was read: the bytes of tiles that were read by those of all."""
        return (self._listed_bytes + self._reader.bytes_read) / self._matrix_bytes

    @property
    def _matrix_bytes(self) -> int:
        return self._distances.grid.n_values * self._distances.dtype.itemsize

    def nearest_points(
        self, clusters: Clusters, method: str, n_neighbors: int, pause: Pause
    ) -> Neighbors:
        """List the K nearest of every point, in one pass over the tiles."""
        lists = list_points(
            *(self._distances, clusters, method, n_neighbors),
            executor=self._executor,
            pause=pause,
        )
        self._listed_bytes += self._matrix_bytes
        return lists

    def nearest_clusters(
        self,
        clusters: Clusters,
        method: str,
        n_neighbors: int,
        owners: NDArray[np.int64],
        pause: Pause,
    ) -> Neighbors:
        """List the K nearest clusters of some clusters, in as few passes as the memory allows."""
        lists = open_lists(len(owners), n_neighbors)
        slots = np.flatnonzero(clusters.live)
        at_once = max(1, self._listing_bytes // (LISTED_BYTES * len(slots)))
        parts = list(slabs(len(owners), at_once))
        for done, part in enumerate(parts):
            self._list_owners(
                *(clusters, method, n_neighbors, owners[part], lists, part.start),
                pause=partial(_tell_part, pause, done, len(parts)),
            )
            if not self._is_compiled:
                # Numba's compiler leaves cycles that hold what a kernel was first called with.
                gc.collect()
                self._is_compiled = True
        return lists

    def _list_owners(
        self,
        clusters: Clusters,
        method: str,
        n_neighbors: int,
        owners: NDArray[np.int64],
        lists: Neighbors,
        first_list: int,
        *,
        pause: Pause,
    ) -> None:
        slots = np.flatnonzero(clusters.live)
        rows = self.rows(clusters, method, owners, pause)
        self._in_threads(
            partial(nearest_of_rows, rows, owners, slots, n_neighbors, lists, first_list),
            cut_evenly(len(owners), len(slots), self._threads),
            partial(pause, 1.0),
        )

    def rows(
        self, clusters: Clusters, method: str, owners: NDArray[np.int64], pause: Pause
    ) -> NDArray[np.float64]:
        """Compute the distances of some clusters to all live ones, one owner a row."""
        code = CODES[method]
        slots = np.flatnonzero(clusters.live)
        labels = labels_of(clusters)
        positions = np.searchsorted(slots, labels)
        numbers = np.full(self.n, -1)
        numbers[owners] = np.arange(len(owners))
        owner_of = numbers[labels]
        points = np.flatnonzero(owner_of >= 0)
        rows = np.full((len(owners), len(slots)), nothing_yet.python(code))
        for region, share in self._reader.read(self._reader.tiles_of(points), positions):
            left, right = region.left, region.left + region.distances.shape[1]
            columns = points[np.searchsorted(points, left) : np.searchsorted(points, right)]
            given = (region, positions, clusters.weights, code, owner_of)
            self._in_threads(
                partial(reduce_to_rows, *given, rows),
                self._cut(positions[region.top + region.order]),
                partial(pause, share),
            )
            self._in_threads(
                partial(reduce_columns_to_rows, *given, columns, rows),
                cut_evenly(len(owners), 1, self._threads),
                partial(pause, share),
            )
        self._in_threads(
            partial(finish_rows, clusters, code, owners, slots, rows),
            cut_evenly(len(owners), len(slots), self._threads),
            partial(pause, 1.0),
        )
        return rows

    def distances(
        self,
        clusters: Clusters,
        method: str,
        first: NDArray[np.int64],
        second: NDArray[np.int64],
        pause: Pause,
    ) -> NDArray[np.float64]:
        """Compute the distances of pairs of clusters, one a pair, from the tiles that hold them."""
        code = CODES[method]
        members = _members(clusters)
        totals = np.full((len(first), 2), nothing_yet.python(code))
        needed = self._reader.tiles_of_pairs(members, first, second)
        for region, share in self._reader.read(needed, np.arange(self.n)):
            self._in_threads(
                partial(
                    reduce_pairs, region, members, clusters.weights, code, first, second, totals
                ),
                cut_evenly(len(first), 1, self._threads),
                partial(pause, share),
            )
        return finish_pairs(clusters, code, first, second, totals)

    def values_read(
        self, clusters: Clusters, first: NDArray[np.int64], second: NDArray[np.int64]
    ) -> int:
        """Say how many distances between points `distances` would read for some pairs."""
        needed = self._reader.tiles_of_pairs(_members(clusters), first, second)
        return self._reader.values_in(needed)

    def square(self, clusters: Clusters, method: str, pause: Pause) -> NDArray[np.float64]:
        """Make the ``(m, m)`` distances between all clusters, in one pass over the tiles."""
        code = CODES[method]
        slots = np.flatnonzero(clusters.live)
        positions = np.searchsorted(slots, labels_of(clusters))
        square = np.full((len(slots), len(slots)), nothing_yet.python(code))
        for region, share in self._reader.read(self._reader.all_tiles(), positions):
            self._in_threads(
                partial(reduce_to_square, region, positions, clusters.weights, code, square),
                self._cut(positions[region.top + region.order]),
                partial(pause, share),
            )
        self._in_threads(
            partial(finish_square, clusters, code, slots, square),
            cut_evenly(len(slots), len(slots), self._threads),
            partial(pause, 1.0),
        )
        return square

    def _in_threads(
        self,
        kernel: Callable[[int, int], None],
        pieces: list[tuple[int, int]],
        pause: Callable[[], None],
    ) -> None:
        """Call a kernel for ranges that share no result."""
        in_threads(lambda piece: kernel(*piece), pieces, threads=self._threads, pause=pause)

    def _cut(self, clusters: NDArray[np.int64]) -> list[tuple[int, int]]:
        """Cut a sorted vector of clusters into ranges that share none, some for each thread."""
        begins = np.flatnonzero(np.diff(clusters, prepend=-1))
        if len(begins) == 0:
            return []
        wanted = np.linspace(0, len(clusters), self._threads * _PIECES_A_THREAD, endpoint=False)
        starts = np.unique(begins[np.searchsorted(begins, wanted, side="right") - 1]).tolist()
        return list(zip(starts, [*starts[1:], len(clusters)], strict=True))


def _tell_part(pause: Pause, done: int, total: int, share: float) -> None:
    pause((done + share) / total)


def _members(clusters: Clusters) -> Members:
    labels = labels_of(clusters)
    points = np.argsort(labels, kind="stable")
    return Members(points, np.searchsorted(labels[points], np.arange(len(labels) + 1)))


def _travels(tiles: Tiles) -> bool:
    """Whether other processes can open tiles where they are."""
    origin: Any = tiles
    while isinstance(origin, ConvertedTiles):
        origin = origin.tiles
    if isinstance(origin, VectorTiles):
        return isinstance(origin.vector, ZarrVector | NpyVector)
    if isinstance(origin, SquareTiles):
        return isinstance(origin.source, ZarrSource)
    return isinstance(origin, StoredTiles)

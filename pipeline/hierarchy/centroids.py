"""Kernel: centroid and median linkage of points, in O(n k) memory.

``_centroids.py`` merges, until a cluster has to be compared with all others. Such passes are made
here, for some queries at a time, so that a panel of points is read once for all of them, and the
threads have enough to do until they meet again.

Every distance is a sum of squared differences of float64, so each merge is the least of all to
the last bit, and nothing depends on when passes are made or on how many threads make them.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clustergrid.pipeline._blas import single_blas_thread
from clustergrid.pipeline.hierarchy._centroid_slots import (
    LIST_LENGTH,
    Clusters,
    open_clusters,
    pack,
)
from clustergrid.pipeline.hierarchy._centroids import advance, plan_passes, take_passes
from clustergrid.pipeline.hierarchy._panels import LANES, fill_panels, join_lists, scan_panels
from clustergrid.pipeline.hierarchy._product_sieve import ProductSieve
from clustergrid.pipeline.hierarchy._record import Report
from clustergrid.pipeline.hierarchy.methods import Merges, Start
from clustergrid.storage.errors import DataTypeError, DataValueError

__all__ = ["cluster_points"]

_QUERIES = 32
"""Passes that are made together."""

_VALUES_A_PIECE = 2**23
"""Read between two calls of `progress`: some hundredths of a second."""

_VALUES_OF_PRODUCTS = 2**29
"""The same, where most of the work is a matrix product."""

_VALUES_A_THREAD = 2**19
"""Below this, waking another thread takes longer than it saves."""

_SMALLEST_PACKED = 4 * LANES

_LARGEST_EXPONENT = 1000
"""Of a scale; 2**1024 is no double."""


class _Lists(NamedTuple):
    listed: NDArray[np.int64]
    squared: NDArray[np.float64]
    counts: NDArray[np.int64]

    @classmethod
    def empty(cls, n: int) -> _Lists:
        return cls(
            np.empty((n, LIST_LENGTH), np.int64),
            np.empty((n, LIST_LENGTH)),
            np.zeros(n, np.int64),
        )

    def of(self, queries: slice) -> _Lists:
        return _Lists(self.listed[queries], self.squared[queries], self.counts[queries])


def cluster_points(
    points: NDArray[np.float64],
    method: str,
    *,
    start: Start | None = None,
    threads: int = 1,
    progress: Report | None = None,
) -> Merges:
    """Merge points by their Euclidean distances, as ``centroid`` or ``median``.

    Parameters
    ----------
    points
        ``(m, k) float64``, finite. It is copied.
    method
        ``"centroid"`` or ``"median"``.
    start
        The clusters that the points are the centroids of; by default each is one observation.
    threads
        How many threads work. The merges are the same to the bit for any number.
    progress
        Called between bounded pieces of the work with how many merges are done, of how many, and
        the greatest height among them. What it raises ends the clustering, as Ctrl-C does.

    Returns
    -------
    Merges
        The ``m - 1`` merges of points, for `start.expand` or `linkage_matrix`, in their order;
        heights may invert. Each is at the least distance of any two clusters; of equal ones, it
        is of those with the lowest points.

    Raises
    ------
    DataTypeError, DataValueError
        The points are not float64, not ``(m, k)`` or not finite, the method is another, or
        `start` has another number of clusters.

    Examples
    --------
    >>> merges = cluster_points(np.array([[0.0], [8.0], [1.0], [3.0]]), "centroid")
    >>> merges.first.tolist(), merges.second.tolist(), merges.height.tolist()
    ([0, 0, 0], [2, 3, 1], [1.0, 2.5, 6.666666666666666])
    """
    _check(points, method, start)
    m = len(points)
    merges = Merges.empty(m - 1)
    if m == 1:
        return merges
    rows, scale = _conditioned(points)
    sizes = np.ones(m) if start is None else start.sizes.astype(np.float64)
    with ThreadPoolExecutor(max(1, threads - 1), "clustergrid-linkage") as pool:
        passes = _Passes(pool, threads)
        panels = passes.panels(rows)
        told = _Told(merges, scale, progress)
        with single_blas_thread():
            lists = passes.of_points(rows, panels, told)
        clusters = open_clusters(rows, panels, sizes, *lists)
        _merge_all(clusters, method == "median", merges, passes, told)
    with np.errstate(over="ignore"):  # which leaves an infinite height, for the caller to refuse
        np.divide(merges.height, scale, out=merges.height)
    return merges


class _Told:
    """Says how far merges are, and how high."""

    def __init__(self, merges: Merges, scale: float, progress: Report | None) -> None:
        self._merges, self._scale, self._progress = merges, scale, progress
        self._done, self._height = 0, 0.0

    def __call__(self, done: int = 0) -> None:
        if self._progress is None:
            return
        new = self._merges.height[self._done : done]
        self._height = float(new.max(initial=self._height * self._scale)) / self._scale
        self._done = done
        self._progress(done, len(self._merges.height), self._height)


def _check(points: NDArray[Any], method: str, start: Start | None) -> None:
    if method not in ("centroid", "median"):
        raise DataValueError(f"points are merged by centroid or median, not by {method!r}")
    if points.dtype != np.float64:
        raise DataTypeError(f"points must be float64, got {points.dtype}")
    if points.ndim != 2 or len(points) == 0:
        raise DataValueError(f"points must be (m, k), at least one, got shape {points.shape}")
    if start is not None and len(start.sizes) != len(points):
        raise DataValueError(f"{len(points)} points are as many clusters, got {len(start.sizes)}")


def _conditioned(points: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """Copy points about their centre, scaled by a power of two so that no square overflows.

    Raises
    ------
    DataValueError
        A value is not finite.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        lowest, highest = points.min(axis=0), points.max(axis=0)
        centre = lowest / 2 + highest / 2
        widest = float(np.max(highest / 2 - lowest / 2, initial=0.0))
    if not np.isfinite(centre).all():
        bad = np.argwhere(~np.isfinite(points))[0]
        raise DataValueError(
            f"points must be finite, got {points[tuple(bad)]} at row {bad[0]}, feature {bad[1]}"
        )
    exponent = 0 if widest == 0.0 else min(-int(np.frexp(widest)[1]), _LARGEST_EXPONENT)
    scale = float(np.ldexp(1.0, exponent))
    rows = points * 0.5 - centre * 0.5
    return np.multiply(rows, 2.0 * scale, out=rows), scale


def _merge_all(
    clusters: Clusters, is_median: bool, merges: Merges, passes: _Passes, told: _Told
) -> None:
    n_merges = len(merges.height)
    queries = np.empty((_QUERIES, clusters.rows.shape[1]))
    wanted = np.empty(_QUERIES, np.int64)
    left_out = np.empty((_QUERIES, 2), np.int64)
    while True:
        live = n_merges + 1 - clusters.n_merged
        target = n_merges
        if live > _SMALLEST_PACKED:
            target = n_merges + 1 - live // 2
        while clusters.n_merged < target:
            must_look = advance(
                clusters,
                is_median,
                merges.first,
                merges.second,
                merges.height,
                target,
                _VALUES_A_PIECE // 4,
            )
            if must_look:
                count = plan_passes(clusters, is_median, wanted, queries, left_out)
                found = passes.over(clusters, queries[:count], left_out[:count])
                take_passes(clusters, wanted[:count], *found)
            told(clusters.n_merged)
        if target == n_merges:
            return
        clusters = pack(clusters)
        fill_panels(clusters.rows, clusters.panels, 0, len(clusters.panels))


class _Passes:
    """Comparisons of some points with all others, on threads that stay."""

    def __init__(self, pool: ThreadPoolExecutor, threads: int) -> None:
        self._pool, self._threads = pool, threads

    def panels(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Copy points to panels."""
        n_panels = -(-len(rows) // LANES)
        panels = np.empty((n_panels, rows.shape[1], LANES))
        fill_panels(rows, panels, 0, n_panels)
        return panels

    def of_points(
        self, rows: NDArray[np.float64], panels: NDArray[np.float64], told: _Told
    ) -> _Lists:
        """Return, for every point, the nearest of those before it."""
        m, k = rows.shape
        lists = _Lists.empty(m)
        sieve = ProductSieve.of(rows, panels)

        def fill(points: slice) -> None:
            sieve.list_earlier(points, *lists.of(points))

        pieces = _pieces(m, k)
        if self._threads == 1:
            for piece in pieces:
                fill(piece)
                told()
            return lists
        futures = [self._pool.submit(fill, piece) for piece in pieces]
        try:
            # This thread takes from the end what the others, from the front, have not begun.
            for future, piece in zip(reversed(futures), reversed(pieces), strict=True):
                if future.cancel():
                    fill(piece)
                else:
                    future.result()
                told()
        finally:
            for future in futures:
                future.cancel()
        return lists

    def over(
        self, clusters: Clusters, queries: NDArray[np.float64], left_out: NDArray[np.int64]
    ) -> _Lists:
        """Return, for every query, the nearest of all clusters."""
        n_panels, k = len(clusters.panels), queries.shape[1]
        values = n_panels * LANES * max(1, k) * len(queries)
        parts = max(1, min(self._threads, values // _VALUES_A_THREAD, n_panels))
        edges = [n_panels * part // parts for part in range(parts + 1)]
        limits = np.full(len(queries), len(clusters.ids))

        def scan(part: int) -> _Lists:
            lists = _Lists.empty(len(queries))
            scan_panels(
                clusters.panels,
                clusters.ids,
                clusters.labels,
                edges[part],
                edges[part + 1],
                queries,
                limits,
                left_out,
                *lists,
            )
            return lists

        futures = {part: self._pool.submit(scan, part) for part in range(1, parts)}
        lists = scan(0)
        for part in reversed(futures):
            # On a busy machine, a thread that was woken may run much later than this one is done.
            found = scan(part) if futures[part].cancel() else futures[part].result()
            join_lists(clusters.labels, *lists, *found)
        return lists


def _pieces(m: int, k: int) -> list[slice]:
    """Cut points into pieces, each to be compared with those before it."""
    pieces, start = [], 0
    while start < m:
        panels = max(1, _VALUES_OF_PRODUCTS // (LANES * LANES * max(1, k) * (start // LANES + 1)))
        stop = min(m, start + min(panels, 4) * LANES)
        pieces.append(slice(start, stop))
        start = stop
    return pieces

"""Kernel: centroid and median linkage of points, in O(n k) memory.

``_centroids.py`` merges, until a cluster has to be compared with all others. Such passes are made
here, for some queries at a time, so that a panel of points is read once for all of them, and the
threads have enough to do until they meet again.

Every distance is a sum of squared differences of coordinates that no sum of far points has rounded
(``_panels.py``), so each merge is the least of all to the last bit, and nothing depends on when
passes are made or on how many threads make them.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clustergrid.pipeline._blas import single_blas_thread
from clustergrid.pipeline.hierarchy._centroid_slots import (
    LIST_LENGTH,
    Clusters,
    open_clusters,
    pack,
)
from clustergrid.pipeline.hierarchy._centroids import (
    LARGEST,
    advance,
    plan_passes,
    take_passes,
)
from clustergrid.pipeline.hierarchy._panels import (
    LANES,
    Centroids,
    Lists,
    Queries,
    fill_panels,
    join_lists,
    open_centroids,
    scan_panels,
)
from clustergrid.pipeline.hierarchy._product_sieve import ProductSieve
from clustergrid.pipeline.hierarchy._record import Record, Report
from clustergrid.pipeline.hierarchy.methods import Merges
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


def cluster_points(
    points: NDArray[np.float64],
    method: str,
    *,
    sizes: NDArray[np.int64] | None = None,
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
    sizes
        ``(m,) int64``: how many observations each point is the centroid of; by default one.
    threads
        How many threads work. The merges are the same to the bit for any number.
    progress
        Called between bounded pieces of the work with how many merges are done, of how many, and
        the greatest height among them. What it raises ends the clustering, as Ctrl-C does.

    Returns
    -------
    Merges
        The ``m - 1`` merges of points, for `Start.expand` or `linkage_matrix`, in their order;
        heights may invert. Each is at the least distance of any two clusters; of equal ones, it
        is of those with the lowest points.

    Raises
    ------
    DataTypeError, DataValueError
        The points are not float64, not ``(m, k)`` or not finite, the method is another, or
        there is another number of sizes.

    Examples
    --------
    >>> merges = cluster_points(np.array([[0.0], [8.0], [1.0], [3.0]]), "centroid")
    >>> merges.first.tolist(), merges.second.tolist(), merges.height.tolist()
    ([0, 0, 0], [2, 3, 1], [1.0, 2.5, 6.666666666666666])
    """
    _check(points, method, sizes)
    m = len(points)
    record = Record(m, progress)
    if m == 1:
        return record.merges
    rows, scale = _scaled(points)
    centroids = open_centroids(rows)
    fill_panels(centroids, 0, len(centroids.panels))
    with ThreadPoolExecutor(max(1, threads - 1), "clustergrid-linkage") as pool:
        passes = _Passes(pool, threads)
        with single_blas_thread():
            lists = passes.of_points(centroids, record)
        clusters = open_clusters(
            centroids,
            np.ones(m) if sizes is None else sizes.astype(np.float64),
            lists,
            is_median=method == "median",
            scale=scale,
        )
        _merge_all(clusters, record, passes)
    return record.merges


def _check(points: NDArray[Any], method: str, sizes: NDArray[np.int64] | None) -> None:
    if method not in ("centroid", "median"):
        raise DataValueError(f"points are merged by centroid or median, not by {method!r}")
    if points.dtype != np.float64:
        raise DataTypeError(f"points must be float64, got {points.dtype}")
    if points.ndim != 2 or len(points) == 0:
        raise DataValueError(f"points must be (m, k), at least one, got shape {points.shape}")
    if sizes is not None and sizes.shape != points.shape[:1]:
        raise DataValueError(f"{len(points)} points have as many sizes, got shape {sizes.shape}")


def _scaled(points: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """Copy points, multiplied by a power of two: no square overflows, and few can vanish.

    Raises
    ------
    DataValueError
        A value is not finite.
    """
    with np.errstate(invalid="ignore"):
        largest = np.maximum(points.max(axis=0), -points.min(axis=0))
    if not np.isfinite(largest).all():
        bad = np.argwhere(~np.isfinite(points))[0]
        raise DataValueError(
            f"points must be finite, got {points[tuple(bad)]} at row {bad[0]}, feature {bad[1]}"
        )
    exponent = np.frexp(LARGEST)[1] - 1 - np.frexp(np.max(largest, initial=0.0))[1]
    scale = float(np.ldexp(1.0, min(int(exponent), _LARGEST_EXPONENT)))
    return points * scale, scale


def _merge_all(clusters: Clusters, record: Record, passes: _Passes) -> None:
    merges = record.merges
    wanted = np.empty(_QUERIES, np.int64)
    queries = Queries.empty(_QUERIES, clusters.centroids.rows.shape[1])
    while True:
        live = record.total + 1 - clusters.n_merged
        target = record.total
        if live > _SMALLEST_PACKED:
            target = record.total + 1 - live // 2
        while clusters.n_merged < target:
            must_look = advance(
                clusters,
                merges.first,
                merges.second,
                merges.height,
                target,
                _VALUES_A_PIECE // 4,
            )
            if must_look:
                some = slice(plan_passes(clusters, wanted, queries))
                found = passes.over(clusters.centroids, queries.of(some))
                take_passes(clusters, wanted[some], found)
            record.done = clusters.n_merged
            record.tell()
        if target == record.total:
            return
        clusters = pack(clusters)
        fill_panels(clusters.centroids, 0, len(clusters.centroids.panels))


class _Passes:
    """Comparisons of some points with all others, on threads that stay."""

    def __init__(self, pool: ThreadPoolExecutor, threads: int) -> None:
        self._pool, self._threads = pool, threads

    def of_points(self, centroids: Centroids, record: Record) -> Lists:
        """Return, for every point, the nearest of those before it."""
        m, k = centroids.rows.shape
        lists = Lists.empty(m, LIST_LENGTH)
        sieve = ProductSieve.of(centroids)

        def fill(points: slice) -> None:
            sieve.list_earlier(points, lists.of(points))

        pieces = _pieces(m, k)
        if self._threads == 1:
            for piece in pieces:
                fill(piece)
                record.tell()
            return lists
        futures = [self._pool.submit(fill, piece) for piece in pieces]
        try:
            # This thread takes from the end what the others, from the front, have not begun.
            for future, piece in zip(reversed(futures), reversed(pieces), strict=True):
                if future.cancel():
                    fill(piece)
                else:
                    future.result()
                record.tell()
        finally:
            for future in futures:
                future.cancel()
        return lists

    def over(self, centroids: Centroids, queries: Queries) -> Lists:
        """Return, for every query, the nearest of all clusters."""
        m, k = queries.rows.shape
        n_panels = len(centroids.panels)
        values = n_panels * LANES * max(1, k) * m
        parts = max(1, min(self._threads, values // _VALUES_A_THREAD, n_panels))
        edges = [n_panels * part // parts for part in range(parts + 1)]

        def scan(part: int) -> Lists:
            lists = Lists.empty(m, LIST_LENGTH)
            scan_panels(centroids, edges[part], edges[part + 1], queries, lists)
            return lists

        futures = {part: self._pool.submit(scan, part) for part in range(1, parts)}
        lists = scan(0)
        for part in reversed(futures):
            # On a busy machine, a thread that was woken may run much later than this one is done.
            found = scan(part) if futures[part].cancel() else futures[part].result()
            join_lists(centroids.labels, lists, found)
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

"""Kernel helper: which points may be among the nearest, from products in single precision.

A matrix product of float32 costs a tenth of exact distances, and each of its distances has a known
error; whatever may be near after all is computed exactly. So lists are those of
``_panels.py``, to the bit.

Points are taken about their centre here, each rounded by no more than a share of its own length;
with ``u = 2^-24``, values and the sums of ``k`` products are rounded so that

    | |p|^2 + |x|^2 - 2 p.x - d(p, x)^2 |  <=  (k + 8) u (|p|^2 + |x|^2)

in any order of summation (Higham 2002, section 3.1); twice eight leaves room for the comparison.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clustergrid.pipeline._jit import jit
from clustergrid.pipeline.hierarchy._panels import (
    LANES,
    VANISHED,
    Centroids,
    Lists,
    Queries,
    insert,
    scan_panels,
    squared_distance,
)

__all__ = ["ProductSieve"]

_PANELS_AT_ONCE = 8

_MANY = 1 / 12
"""Share of the pairs of a product above which panels are faster than pair by pair."""

_UNDERFLOW = 1e-30
"""More than all products that float32 cannot hold, of points within one of the centre."""

_ROWS_AT_ONCE = 1024


class ProductSieve(NamedTuple):
    """Points, and what is needed to look for their nearest among those before each.

    Parameters
    ----------
    centroids
        The points, each a cluster, in its slot.
    single
        ``(m, k) float32``: the points about their centre, by `scale` within one of it.
    norms
        ``(m,) float32``: their squared lengths, less what all roundings of a product may add.
    scale
        A power of two.
    """

    centroids: Centroids
    single: NDArray[np.float32]
    norms: NDArray[np.float32]
    scale: float

    @classmethod
    def of(cls, centroids: Centroids) -> ProductSieve:
        """Prepare the points."""
        rows = centroids.rows
        m, k = rows.shape
        lowest, highest = rows.min(axis=0), rows.max(axis=0)
        centre = lowest / 2 + highest / 2
        widest = float(np.max(highest / 2 - lowest / 2, initial=0.0))
        scale = float(np.ldexp(1.0, -int(np.frexp(widest)[1])))
        share = (k + 16) * 2.0**-24
        single, norms = np.empty((m, k), np.float32), np.empty(m, np.float32)
        for start in range(0, m, _ROWS_AT_ONCE):
            some = slice(start, start + _ROWS_AT_ONCE)
            block = (rows[some] - centre) * scale
            single[some] = block
            norms[some] = np.einsum("ij,ij->i", block, block) * (1.0 - share)
        return cls(centroids, single, norms, scale)

    def list_earlier(self, points: slice, lists: Lists) -> None:
        """List the nearest of the points before each of some."""
        centroids = self.centroids
        queries = Queries(
            rows=centroids.rows[points],
            rests=centroids.rests[points],
            blurs=centroids.blurs[points],
            limits=centroids.ids[points],
            left_out=np.full((len(lists.counts), 2), -1),
        )
        scratch = np.empty((len(lists.counts), _PANELS_AT_ONCE * LANES), np.float32)
        n_panels = -(-points.stop // LANES)
        for start in reversed(range(0, n_panels, _PANELS_AT_ONCE)):
            stop = min(start + _PANELS_AT_ONCE, n_panels)
            others = slice(start * LANES, min(stop * LANES, len(self.single)))
            products = scratch[:, : others.stop - others.start]
            full = len(lists.counts) > 0 and lists.counts.min() == lists.listed.shape[1]
            if full:
                np.matmul(self.single[points], self.single[others].T, out=products)
                most = int(_MANY * products.size)
                full = _list_passing(self, products, points.start, others.start, lists, most)
            if not full:
                scan_panels(centroids, start, stop, queries, lists)


@jit
def _threshold(sieve: ProductSieve, query: int, lists: Lists, q: int) -> np.float32:
    """Return what the bound of another point is at most, if it still enters a full list."""
    farthest = lists.squared[q, lists.listed.shape[1] - 1] + VANISHED
    return np.float32(farthest * sieve.scale * sieve.scale - sieve.norms[query] + _UNDERFLOW)


@jit
def _list_passing(
    sieve: ProductSieve,
    products: NDArray[np.float32],
    first_query: int,
    first_other: int,
    lists: Lists,
    most: int,
) -> bool:
    """Compute what may be nearer than the last of a full list; False, and nothing, if too many."""
    rows, labels, norms = sieve.centroids.rows, sieve.centroids.labels, sieve.norms
    n_queries, width = products.shape
    two = np.float32(2.0)
    thresholds = np.empty(n_queries, np.float32)
    passing = 0
    for q in range(n_queries):
        threshold = _threshold(sieve, first_query + q, lists, q)
        thresholds[q] = threshold
        row = products[q]
        for j in range(width):
            bound = norms[first_other + j] - two * row[j]
            row[j] = bound
            passing += 1 if bound <= threshold else 0
    if passing > most:
        return False
    for q in range(n_queries):
        query = first_query + q
        row = products[q]
        threshold = thresholds[q]
        for left in range(0, min(width, query - first_other), LANES):
            right = min(left + LANES, width, query - first_other)
            within = 0
            for j in range(left, right):
                within += 1 if row[j] <= threshold else 0
            if within == 0:
                continue
            for j in range(left, right):
                if row[j] <= threshold:
                    other = first_other + j
                    insert(lists, q, labels, other, squared_distance(rows[other], rows[query]))
                    threshold = _threshold(sieve, query, lists, q)
    return True

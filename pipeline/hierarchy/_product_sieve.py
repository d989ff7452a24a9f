"""Kernel helper: which points may be among the nearest, from products in single precision.

A matrix product of float32 costs a tenth of exact distances, and each of its distances has a known
error; whatever may be near after all is computed exactly. So lists are those of
``_panels.py``, to the bit.

With ``u = 2^-24``, values and the sums of ``k`` products are rounded so that

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


class ProductSieve(NamedTuple):
    """Points, and what is needed to look for their nearest among those before each.

    Parameters
    ----------
    rows, panels, places
        ``(m, k)`` points, the same in panels, and ``arange(m)``.
    single
        ``(m, k) float32``: the points.
    norms
        ``(m,) float32``: their squared lengths, less what all roundings of a product may add.
    """

    rows: NDArray[np.float64]
    panels: NDArray[np.float64]
    places: NDArray[np.int64]
    single: NDArray[np.float32]
    norms: NDArray[np.float32]

    @classmethod
    def of(cls, rows: NDArray[np.float64], panels: NDArray[np.float64]) -> ProductSieve:
        """Prepare the points."""
        m, k = rows.shape
        share = (k + 16) * 2.0**-24
        norms = np.einsum("ij,ij->i", rows, rows) * (1.0 - share)
        return cls(rows, panels, np.arange(m), rows.astype(np.float32), norms.astype(np.float32))

    def list_earlier(
        self,
        points: slice,
        listed: NDArray[np.int64],
        squared: NDArray[np.float64],
        counts: NDArray[np.int64],
    ) -> None:
        """List the nearest of the points before each of some; see `scan_panels` for lists."""
        limits = self.places[points]
        left_out = np.full((len(limits), 2), -1)
        scratch = np.empty((len(limits), _PANELS_AT_ONCE * LANES), np.float32)
        n_panels = -(-points.stop // LANES)
        for start in reversed(range(0, n_panels, _PANELS_AT_ONCE)):
            stop = min(start + _PANELS_AT_ONCE, n_panels)
            others = slice(start * LANES, min(stop * LANES, len(self.rows)))
            products = scratch[:, : others.stop - others.start]
            full = len(counts) > 0 and counts.min() == listed.shape[1]
            if full:
                np.matmul(self.single[points], self.single[others].T, out=products)
                full = _list_passing(
                    products,
                    self.rows,
                    self.norms,
                    points.start,
                    others.start,
                    self.places,
                    listed,
                    squared,
                    counts,
                    int(_MANY * products.size),
                )
            if not full:
                scan_panels(
                    self.panels,
                    self.places,
                    self.places,
                    start,
                    stop,
                    self.rows[points],
                    limits,
                    left_out,
                    listed,
                    squared,
                    counts,
                )


@jit
def _list_passing(
    products: NDArray[np.float32],
    rows: NDArray[np.float64],
    norms: NDArray[np.float32],
    first_query: int,
    first_other: int,
    labels: NDArray[np.int64],
    listed: NDArray[np.int64],
    squared: NDArray[np.float64],
    counts: NDArray[np.int64],
    most: int,
) -> bool:
    """Compute what may be nearer than the last of a full list; False, and nothing, if too many."""
    n_queries, width = products.shape
    last = listed.shape[1] - 1
    two = np.float32(2.0)
    thresholds = np.empty(n_queries, np.float32)
    passing = 0
    for q in range(n_queries):
        threshold = np.float32(squared[q, last] - norms[first_query + q] + _UNDERFLOW)
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
                    distance = squared_distance(rows[other], rows[query])
                    counts[q] = insert(listed[q], squared[q], counts[q], labels, other, distance)
                    threshold = np.float32(squared[q, last] - norms[query] + _UNDERFLOW)
    return True

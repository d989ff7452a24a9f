"""Plan: from which density on the stored values of a sparse matrix alone are compared.

Nanoseconds of a pair of rows of ``k`` features, of which the share ``d`` is stored, were measured
on one core of a machine with AVX-512. What finishes a distance is the same for both engines::

    counts of entries    k (0.023 d + d^2)    a stored value of one row is looked up among those
                                              of 512 others, and meets each that it has in common
    ... and values       k (0.023 d + 1.3 d^2)
    counts of bits       0.0021 k             64 features at a time, whatever their values
    loop over features   0.1 k                for values that are compared
"""

from __future__ import annotations

from clustergrid.pipeline.metrics import Metric

__all__ = ["SPARSE_METRICS", "SPARSE_PRODUCTS", "is_sparse_metric", "prefers_stored"]

SPARSE_PRODUCTS = ("euclidean", "sqeuclidean", "cosine", "correlation")
"""Metrics that are products of stored values, and what centring adds."""

SPARSE_METRICS = (
    *SPARSE_PRODUCTS,
    "dice",
    "hamming",
    "jaccard",
    "rogerstanimoto",
    "russellrao",
    "sokalsneath",
    "yule",
)
"""Metrics that are computed of stored values alone."""

_MOST_STORED = {4: 0.15, 8: 0.3}
"""Share of stored values up to which products of sparse rows are faster than dense ones.

By bytes of a distance: sparse ones are in float64 always, dense ones in the distances' type.
"""

_LOOKUP, _COMMON, _COMPARED = 0.023, 1.0, 1.3
_BITS, _LOOP = 0.0021, 0.1


def is_sparse_metric(metric: str, *, is_normalized: bool) -> bool:
    """Whether a metric can be computed of stored values: a shifted zero is one no longer.

    Examples
    --------
    >>> is_sparse_metric("cosine", is_normalized=True)
    True
    >>> is_sparse_metric("jaccard", is_normalized=True)
    False
    """
    return metric in SPARSE_PRODUCTS or (metric in SPARSE_METRICS and not is_normalized)


def prefers_stored(
    metric: Metric,
    density: float,
    *,
    itemsize: int,
    is_normalized: bool = False,
    is_boolean: bool = False,
) -> bool:
    """Whether the engine ``sparse`` is faster than the one of a dense matrix.

    Parameters
    ----------
    metric
        With its keywords: features that are weighted are not compared here.
    density
        Share of values that are stored.
    itemsize
        Bytes of a distance.
    is_normalized
        Whether rows or columns are shifted and scaled.
    is_boolean
        Whether the matrix holds truth values.

    Examples
    --------
    >>> from clustergrid.pipeline.metrics import get_metric
    >>> prefers_stored(get_metric("euclidean"), 0.1, itemsize=4)
    True
    >>> prefers_stored(get_metric("jaccard"), 0.1, itemsize=4)
    False
    """
    if metric.function is not None or metric.keywords.given:
        return False
    if not is_sparse_metric(metric.name, is_normalized=is_normalized):
        return False
    if metric.name in SPARSE_PRODUCTS:
        return density <= _MOST_STORED[itemsize]
    is_of_bits = metric.is_boolean or is_boolean
    common = _COMPARED if metric.name == "hamming" else _COMMON
    entries = _LOOKUP * density + common * density * density
    return entries <= (_BITS if is_of_bits else _LOOP)

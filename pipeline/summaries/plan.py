"""Plan: which trees are made from summaries of clusters, and what that takes."""

from __future__ import annotations

__all__ = ["summaries_serve", "summary_tree_bytes"]

_SQUARES = ("sqeuclidean", "cosine", "correlation", "spearman", "russellrao")
"""Metrics that are squared Euclidean distances of some rows, but for a constant of each."""

_POINT_BYTES = 400
"""Of a point beside its values and its list: clusters, rounds, norms, merges, the tree."""

_LIST_BYTES = 39
"""Of an entry of a list: room for two, and half as much for the lists of unions."""


def summaries_serve(method: str, metric_name: str, *, is_boolean: bool = False) -> bool:
    """Whether a cluster is its mean and a scalar, so that a tree takes no distances of pairs.

    Parameters
    ----------
    method, metric_name
        As SciPy names them.
    is_boolean
        Whether the matrix holds booleans, of which hamming is a squared distance.

    Examples
    --------
    >>> summaries_serve("ward", "euclidean"), summaries_serve("average", "correlation")
    (True, True)
    >>> summaries_serve("average", "euclidean"), summaries_serve("complete", "cosine")
    (False, False)
    >>> [summaries_serve("average", "hamming", is_boolean=held) for held in (False, True)]
    [False, True]
    """
    if method == "ward":
        return metric_name == "euclidean"
    if method not in ("average", "weighted"):
        return False
    return metric_name in _SQUARES or (metric_name == "hamming" and is_boolean)


def summary_tree_bytes(n: int, k: int, *, n_neighbors: int = 64, itemsize: int = 8) -> int:
    """Most memory that a tree from summaries takes, of `n` different rows of `k` features.

    The square of what rounds leave comes on top.

    Parameters
    ----------
    n, k
        Different rows, and their features.
    n_neighbors
        The length of lists.
    itemsize
        Bytes of a value of the rows as they are held.

    Examples
    --------
    >>> summary_tree_bytes(200_000, 50)
    779200000
    """
    # The rows, offsets of means from them, and means in single precision.
    values = k * (itemsize + 8 + 4)
    return n * (values + _LIST_BYTES * n_neighbors + _POINT_BYTES)

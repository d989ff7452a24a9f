"""Plan: which trees are made from summaries of clusters."""

from __future__ import annotations

__all__ = ["summaries_serve"]

_SQUARES = ("sqeuclidean", "cosine", "correlation", "spearman", "russellrao")
"""Metrics that are squared Euclidean distances of some rows, but for a constant of each."""


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

"""Plan: why a stage's engine was chosen, in a line for people."""

from __future__ import annotations

from clustergrid.pipeline.tree.optimal import MAX_LEAVES_ORDERED_EXACTLY, leaves_ordered_at_once

__all__ = ["distance_reason", "ordering_reason"]


def distance_reason(metric: str, engine: str, n: int, k: int) -> str:
    """Say why `engine_for` chose an engine.

    Examples
    --------
    >>> distance_reason("cityblock", "direct", 20_000, 1_000)
    'cityblock is no matrix product: a compiled loop over each pair'
    """
    if engine == "precomputed":
        return "they are there: symmetry, zeros on the diagonal and signs are checked"
    if engine == "function":
        return "a function of the user's own is called for every pair"
    if engine == "scipy":
        return f"few operations, {n:,} x {n:,} x {k:,}: SciPy, without a compiler"
    return f"{metric} {_WHYS[engine]}"


_WHYS = {
    "product": "is a matrix product; pairs that lost digits are computed again",
    "sparse": "is made of the stored values of sparse rows alone",
    "counts": "compares booleans: 64 features at a time are counted",
    "missing": "compares what both rows have: a compiled loop over each pair",
    "direct": "is no matrix product: a compiled loop over each pair",
}


def ordering_reason(n: int) -> str:
    """Say how good the order of `n` leaves will be.

    Examples
    --------
    >>> ordering_reason(5_000)
    'neighbours are as near in sum as the tree allows'
    >>> ordering_reason(50_000)
    'more than 20,000 leaves: the best order in parts of 4,000 leaves, and of what joins them'
    """
    if n <= MAX_LEAVES_ORDERED_EXACTLY:
        return "neighbours are as near in sum as the tree allows"
    return (
        f"more than {MAX_LEAVES_ORDERED_EXACTLY:,} leaves: the best order in parts of "
        f"{leaves_ordered_at_once(n):,} leaves, and of what joins them"
    )

"""Plan: why a stage's engine was chosen, in a line for people."""

from __future__ import annotations

from clustergrid.pipeline.hierarchy.methods import REDUCIBLE_METHODS
from clustergrid.pipeline.metrics import METRICS, SMALL_OBSERVATIONS, SMALL_OPERATIONS
from clustergrid.pipeline.sizes import format_bytes

__all__ = ["distance_reason", "linkage_engine", "linkage_reason"]


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
    if n * n * k <= SMALL_OPERATIONS:
        how = "SciPy, without a compiler" if engine == "scipy" else "a compiled loop"
        return f"few operations, {n:,} x {n:,} x {k:,}: {how}"
    if engine == "product":
        return f"{metric} is a matrix product; pairs that lost digits are computed again"
    assert METRICS[metric].product is None
    return f"{metric} is no matrix product: a compiled loop over each pair"


def linkage_engine(method: str, n: int) -> str:
    """Name what makes a tree.

    Examples
    --------
    >>> linkage_engine("ward", 10_000), linkage_engine("ward", 100)
    ('chain', 'scipy')
    """
    if n <= SMALL_OBSERVATIONS:
        return "scipy"
    if method == "single":
        return "spanning tree"
    return "chain" if method in REDUCIBLE_METHODS else "minima"


def linkage_reason(method: str, n: int, square_bytes: int) -> str:
    """Say why it is that, and where."""
    engine = linkage_engine(method, n)
    why = {
        "scipy": f"up to {SMALL_OBSERVATIONS:,} observations SciPy takes a moment",
        "spanning tree": "single linkage is a minimum spanning tree",
        "chain": f"{method} is reducible: a chain of nearest neighbours",
        "minima": f"{method} is not reducible: cached minima",
    }
    return f"{why[engine]}, on a square of {format_bytes(square_bytes)} in memory"

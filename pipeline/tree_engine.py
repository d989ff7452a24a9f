"""Plan: which engine makes a tree, from what, and why."""

from __future__ import annotations

from clustergrid.pipeline.hierarchy.methods import REDUCIBLE_METHODS
from clustergrid.pipeline.metrics import SMALL_OBSERVATIONS
from clustergrid.pipeline.sizes import format_bytes
from clustergrid.storage.errors import DataValueError

__all__ = ["ENGINES", "check_engine", "condensed_engine", "linkage_reason", "rows_engine"]

ENGINES = ("scipy", "square", "condensed", "data")
"""What a tree can be made from; every one of them gives SciPy's answer.

``scipy``: SciPy itself, on the condensed distances. ``square``: the square of the distances, in
memory. ``condensed``: rounds of proved merges on a condensed vector that is neither copied nor
changed, before the square of what is left. ``data``: the rows, with no matrix of distances.
"""

_ALWAYS = ("scipy", "square")


def check_engine(engine: str | None, method: str, metric_name: str) -> None:
    """Refuse an engine that there is not, or that cannot make such a tree of anything.

    Raises
    ------
    DataValueError
        The message says which engines can.

    Examples
    --------
    >>> check_engine("data", "single", "cityblock")
    >>> check_engine("data", "average", "euclidean")
    Traceback (most recent call last):
    ...
    clustergrid.storage.errors.DataValueError: engine='data' makes trees of single linkage, ...
    """
    if engine is None or engine in _ALWAYS:
        return
    if engine not in ENGINES:
        raise DataValueError(f"engine must be one of {', '.join(ENGINES)}, got {engine!r}")
    if engine == "data" and not _grows_from_rows(method, metric_name):
        raise DataValueError(
            "engine='data' makes trees of single linkage, and of centroid and median with "
            f"metric='euclidean'; {method} with {metric_name} takes engine='square'"
        )
    if engine == "condensed" and not _has_certificates(method):
        raise DataValueError(
            "engine='condensed' makes trees of complete, average, weighted and ward linkage; "
            f"{method} takes engine='square'"
        )


def _grows_from_rows(method: str, metric_name: str) -> bool:
    if method in ("centroid", "median"):
        return metric_name == "euclidean"
    return method == "single" and metric_name != "precomputed"


def _has_certificates(method: str) -> bool:
    return method in REDUCIBLE_METHODS and method != "single"


def rows_engine(
    asked: str | None,
    n: int,
    *,
    in_memory: bool,
    optimal_ordering: bool = False,
) -> str:
    """Choose the engine for the tree of `n` rows.

    Trees from the rows themselves are asked for: of ties they take others than the square, and
    the tree is to be the same whether distances are kept or not.

    Parameters
    ----------
    asked
        The user's choice, which `check_engine` has passed.
    n
        How many observations there are.
    in_memory
        Whether nothing is put at rest: a run directory keeps the distances.
    optimal_ordering
        Whether the leaves are ordered by distances, which have to be there then.

    Raises
    ------
    DataValueError
        What was asked works on something else than the rows.

    Examples
    --------
    >>> rows_engine(None, 10_000, in_memory=True)
    'square'
    >>> rows_engine("data", 10_000, in_memory=True)
    'data'
    """
    if asked == "condensed":
        raise DataValueError(
            "engine='condensed' works on condensed distances: give those of pdist(...).to_numpy(), "
            "or leave engine out"
        )
    if asked == "data" and (optimal_ordering or not in_memory):
        what = "optimal_ordering needs" if optimal_ordering else "a run keeps"
        raise DataValueError(f"engine='data' makes no distances, which {what}: use engine='square'")
    if asked is not None:
        return asked
    if n <= SMALL_OBSERVATIONS:
        return "scipy"
    return "square"


def condensed_engine(asked: str | None, method: str, n: int) -> str:
    """Choose the engine for the tree of condensed distances in memory.

    Raises
    ------
    DataValueError
        What was asked works on rows.

    Examples
    --------
    >>> condensed_engine(None, "average", 10_000), condensed_engine(None, "single", 10_000)
    ('condensed', 'square')
    """
    if asked == "data":
        raise DataValueError("engine='data' works on rows, and these are distances")
    if asked is not None:
        return asked
    if n <= SMALL_OBSERVATIONS:
        return "scipy"
    return "condensed" if _has_certificates(method) else "square"


def linkage_reason(engine: str, method: str, square_bytes: int) -> str:
    """Say why it is that engine, and where it works.

    Examples
    --------
    >>> linkage_reason("data", "single", 0)
    'single linkage is a minimum spanning tree, grown from tiles that nobody keeps'
    """
    if engine == "data" and method == "single":
        return "single linkage is a minimum spanning tree, grown from tiles that nobody keeps"
    if engine == "data":
        return f"clusters of {method} linkage are points: no distances are kept"
    if engine == "condensed":
        return "near clusters prove most merges; the square is of those that are left"
    where = f"on a square of {format_bytes(square_bytes)} in memory"
    if engine == "scipy":
        return f"up to {SMALL_OBSERVATIONS:,} observations SciPy takes a moment, {where}"
    if method == "single":
        return f"single linkage is a minimum spanning tree, {where}"
    if method in REDUCIBLE_METHODS:
        return f"{method} is reducible: rounds of near pairs, {where}"
    return f"{method} is not reducible: cached minima, {where}"

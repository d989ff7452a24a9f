"""Plan: which engine makes a tree, from what, and why."""

from __future__ import annotations

from clustergrid.pipeline.hierarchy.methods import REDUCIBLE_METHODS
from clustergrid.pipeline.metrics import SMALL_OBSERVATIONS
from clustergrid.pipeline.row_tree_plan import way_from_rows
from clustergrid.pipeline.sizes import format_bytes
from clustergrid.storage.errors import DataValueError

__all__ = [
    "ENGINES",
    "ENGINES_OF_ROWS",
    "check_engine",
    "condensed_engine",
    "grows_from_rows",
    "linkage_choice",
    "linkage_reason",
    "makes_distances",
    "rows_choice",
    "rows_engine",
    "rows_reason",
    "tiles_engine",
]

ENGINES = ("scipy", "square", "condensed", "tiles", "data")
"""What a tree can be made from; every one of them gives SciPy's answer.

``scipy``: SciPy itself, on the condensed distances. ``square``: the square of the distances, in
memory. ``condensed``: rounds of proved merges on a condensed vector that is neither copied nor
changed, before the square of what is left. ``tiles``: the same on tiles of distances, which may
be at rest. ``data``: the rows, with no matrix of distances.
"""

ENGINES_OF_ROWS = ("scipy", "square", "data")
"""Those that make a tree of the rows of a matrix."""

_ALWAYS = ("scipy", "square")

_ROWS_A_FEATURE = 100
"""Centroids are chosen where there are so many times as many observations as features: they take
time by features too, and with fewer rows the square is the faster."""


def check_engine(engine: str | None, method: str, metric_name: str) -> None:
    """Refuse an engine that there is not, or that cannot make such a tree of anything.

    Raises
    ------
    DataValueError
        The message says which engines can.

    Examples
    --------
    >>> check_engine("data", "average", "cityblock")
    >>> check_engine("data", "average", "precomputed")
    Traceback (most recent call last):
    ...
    clustergrid.storage.errors.DataValueError: engine='data' makes trees of rows, and ...
    """
    if engine is None or engine in _ALWAYS:
        return
    if engine not in ENGINES:
        raise DataValueError(f"engine must be one of {', '.join(ENGINES)}, got {engine!r}")
    if engine == "data" and not grows_from_rows(method, metric_name):
        raise DataValueError(
            "engine='data' makes trees of rows, and of centroid and median those with "
            f"metric='euclidean'; {method} with {metric_name} takes engine='square'"
        )
    if engine == "condensed" and not _has_certificates(method):
        raise DataValueError(
            "engine='condensed' makes trees of complete, average, weighted and ward linkage; "
            f"{method} takes engine='square'"
        )
    if engine == "tiles" and method not in REDUCIBLE_METHODS:
        raise DataValueError(
            "engine='tiles' makes trees of single, complete, average, weighted and ward linkage; "
            f"{method} takes engine='square'"
        )


def grows_from_rows(method: str, metric_name: str) -> bool:
    """Whether a tree can be made of the rows themselves.

    Examples
    --------
    >>> grows_from_rows("average", "jaccard"), grows_from_rows("centroid", "cityblock")
    (True, False)
    """
    if method in ("centroid", "median"):
        return metric_name == "euclidean"
    return metric_name != "precomputed"


def _has_certificates(method: str) -> bool:
    return method in REDUCIBLE_METHODS and method != "single"


def rows_engine(
    asked: str | None,
    method: str,
    metric_name: str,
    *,
    n: int,
    k: int,
) -> str:
    """Choose the engine for the tree of the rows of a matrix.

    It follows from the question and the shape, never from the memory, the workers, or whether
    distances are kept: centroids and the square break ties otherwise, and a tree is to be the same
    wherever it is made.

    Parameters
    ----------
    asked
        The user's choice, which `check_engine` has passed.
    method, metric_name
        Of the tree.
    n, k
        How many observations there are, of how many features.

    Raises
    ------
    DataValueError
        What was asked works on something else than the rows.

    Examples
    --------
    >>> rows_engine(None, "average", "euclidean", n=10_000, k=50)
    'square'
    >>> rows_engine(None, "single", "cityblock", n=10_000, k=50_000)
    'data'
    >>> [rows_engine(None, "centroid", "euclidean", n=10_000, k=k) for k in (100, 101)]
    ['data', 'square']
    """
    if asked == "condensed":
        raise DataValueError(
            "engine='condensed' works on condensed distances: give those of pdist(...).to_numpy(), "
            "or leave engine out"
        )
    if asked == "tiles":
        raise DataValueError(
            "engine='tiles' works on tiles of distances: give those of pdist(...), or use "
            "engine='data'"
        )
    if asked is not None:
        return asked
    if n <= SMALL_OBSERVATIONS:
        return "scipy"
    if not grows_from_rows(method, metric_name):
        return "square"
    if method == "single":
        return "data"
    if method in ("centroid", "median"):
        return "data" if k * _ROWS_A_FEATURE <= n else "square"
    return "square"


def makes_distances(engine: str) -> bool:
    """Whether distances of all pairs are made and kept.

    Examples
    --------
    >>> [makes_distances(engine) for engine in ("data", "square")]
    [False, True]
    """
    return engine != "data"


def tiles_engine(asked: str | None, n: int) -> str:
    """Choose the engine for the tree of distances in tiles, of `n` observations.

    Raises
    ------
    DataValueError
        What was asked works on something else.

    Examples
    --------
    >>> tiles_engine(None, 10_000)
    'square'
    """
    if asked == "tiles":
        return asked
    return rows_engine(asked, "average", "precomputed", n=n, k=n)


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
    if asked == "tiles":
        raise DataValueError("engine='tiles' works on what pdist(...) gives: use 'condensed'")
    if asked is not None:
        return asked
    if n <= SMALL_OBSERVATIONS:
        return "scipy"
    return "condensed" if _has_certificates(method) else "square"


_WAYS = {
    "spanning": "single linkage is a minimum spanning tree, grown from tiles that nobody keeps",
    "centroids": "clusters of {method} linkage are points: no distances are kept",
    "summaries": "clusters of {method} linkage with {metric} are means: no distances are kept",
    "points": "near clusters prove most merges; distances are computed from rows, and not kept",
}


def rows_reason(method: str, metric_name: str, *, is_boolean: bool = False) -> str:
    """Say how a tree is made from rows.

    Examples
    --------
    >>> rows_reason("single", "cityblock")
    'single linkage is a minimum spanning tree, grown from tiles that nobody keeps'
    """
    way = way_from_rows(method, metric_name, is_boolean=is_boolean)
    return _WAYS[way].format(method=method, metric=metric_name)


def rows_choice(method: str, metric_name: str, *, is_boolean: bool = False) -> str:
    """Say how a tree is made from rows, in a line for the log of a run.

    Examples
    --------
    >>> rows_choice("centroid", "euclidean")
    'engine data: clusters of centroid linkage are points: no distances are kept'
    """
    return f"engine data: {rows_reason(method, metric_name, is_boolean=is_boolean)}"


def linkage_reason(engine: str, method: str, square_bytes: int) -> str:
    """Say why it is that engine of distances, and where it works.

    Examples
    --------
    >>> linkage_reason("condensed", "average", 0)
    'near clusters prove most merges; the square is of those that are left'
    """
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


def linkage_choice(engine: str, method: str, square_bytes: int) -> str:
    """Say which engine makes a tree, and why, in a line for the log of a run.

    Examples
    --------
    >>> linkage_choice("square", "ward", 3_200_000_000)
    'engine square: ward is reducible: rounds of near pairs, on a square of 3.2 GB in memory'
    """
    return f"engine {engine}: {linkage_reason(engine, method, square_bytes)}"

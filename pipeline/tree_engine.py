"""Plan: which engine makes a tree, from what, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

from clustergrid.pipeline.hierarchy.methods import REDUCIBLE_METHODS
from clustergrid.pipeline.metrics import SMALL_OBSERVATIONS
from clustergrid.pipeline.row_tree_plan import RowTreeMemory, way_from_rows
from clustergrid.pipeline.sizes import format_bytes
from clustergrid.pipeline.square import PRECOMPUTED
from clustergrid.pipeline.tree_passes import Passes
from clustergrid.storage.errors import DataValueError

__all__ = [
    "ENGINES",
    "ENGINES_OF_ROWS",
    "SQUARE_OBSERVATIONS",
    "WIDE_SQUARE_OBSERVATIONS",
    "TreeOfRows",
    "check_engine",
    "condensed_engine",
    "grows_from_rows",
    "linkage_choice",
    "linkage_reason",
    "makes_distances",
    "refuse_ordered_tiles",
    "rows_choice",
    "rows_engines",
    "rows_reason",
    "tiles_choice",
    "tiles_engines",
    "tiles_reason",
]

ENGINES = ("scipy", "square", "condensed", "tiles", "data")
"""What a tree can be made from; every one of them gives SciPy's answer.

``scipy``: SciPy itself, on the condensed distances. ``square``: the square of the distances, in
memory. ``condensed``: rounds of proved merges on a condensed vector that is neither copied nor
changed, before the square of what is left. ``tiles``: the same on tiles of distances, which may
be at rest. ``data``: the rows, with no matrix of distances.
"""

ENGINES_OF_ROWS = ("scipy", "square", "tiles", "data")
"""Those that make a tree of the rows of a matrix."""

SQUARE_OBSERVATIONS = 8192
"""Up to this many observations the square of their distances is quickly made, and is small: half a
gigabyte. Of more, rounds of proved merges are mostly faster, and take a part of the memory."""

WIDE_SQUARE_OBSERVATIONS = 32_768
"""Likewise, where distances are so dear that the square is faster: it takes each of them once. It
is of 8.6 GB at most."""

_SUMMED_FEATURES, _COMPARED_FEATURES = 500, {4: 100, 8: 300}
"""Features from which on the square is faster, by bytes of a distance. Measured with 10,000 rows;
processor seconds of the square, and from rows: 50 features 3.5 and 1.4, 300 features 3.8 and 3.9,
1,000 features 5.7 and 10.8; of 150 in single precision 2.0 and 2.5; of 300 with ward, whose
clusters are means, 3.9 and 2.9. Metrics that are no products: cityblock 3.2 and 3.0 (50 features),
nan_euclidean 3.0 and 4.6, jensenshannon 9.8 and 21."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeOfRows:
    """A tree that is asked for, of the rows of a matrix.

    Attributes
    ----------
    asked
        The user's choice of an engine, which `check_engine` has passed; None: what is best.
    method, metric_name
        Of the tree.
    n, k
        How many observations there are, of how many features.
    itemsize
        Bytes of a distance.
    is_product
        Whether products of rows say which ones are near.
    is_called
        Whether the metric is a function of the user's, called pair by pair.
    is_sparse
        Whether distances are made of the stored values of sparse rows alone.
    is_boolean
        Whether the matrix holds booleans.
    is_ordered
        Whether leaves are ordered by the distances between them.
    """

    asked: str | None = None
    method: str
    metric_name: str
    n: int
    k: int
    itemsize: int = 8
    is_product: bool = True
    is_called: bool = False
    is_sparse: bool = False
    is_boolean: bool = False
    is_ordered: bool = False

    @property
    def way(self) -> str:
        """How it is made straight from the rows, where it can be."""
        return way_from_rows(self.method, self.metric_name, is_boolean=self.is_boolean)

    @property
    def is_dear(self) -> bool:
        """Whether distances take so long that the square is faster, which takes each once."""
        if self.way == "summaries":
            return self.k > _SUMMED_FEATURES
        return not self.is_product or self.k > _COMPARED_FEATURES[self.itemsize]

    @property
    def is_large(self) -> bool:
        """Whether the square is larger than the rows, and not quickly made either."""
        rows = RowTreeMemory(n=self.n, k=self.k, way=self.way).rows_bytes
        least = WIDE_SQUARE_OBSERVATIONS if self.is_dear else SQUARE_OBSERVATIONS
        return self.n > least and rows <= self.n * self.n * self.itemsize


def rows_engines(tree: TreeOfRows) -> tuple[str, ...]:
    """Say which engine makes the tree of the rows of a matrix, and which ones in its stead.

    The first one is taken wherever its plan fits the memory, and it follows from the question and
    the shape: never from the memory, the workers, or whether there is a store. Only where the
    alternative is a refusal the next one that fits takes its place.

    ===============================================================  ===================
    tree                                                             engines
    ===============================================================  ===================
    of up to 2,048 observations                                      scipy
    single, of any metric                                            data
    centroid, median: 100 times as many observations as features     data
    the others of up to 8,192 observations                           square, data
    complete, average, weighted, ward of more                        data, square
    ... up to 32,768, of so many features, or such a metric, that
    the square is faster                                             square, data
    ... where rows take more memory than their square, or are
    sparse enough to be compared by their stored values              square, data
    ... of a function, which is called for each pair once            square, tiles, data
    of distances that are given (``precomputed``), up to 8,192       square, tiles
    ... of more                                                      tiles
    ... single, which is the same to the bit from the square         square, tiles
    ... centroid and median; or leaves are ordered by distances      square
    ===============================================================  ===================

    Heights of two engines agree to 1e-10 in double precision, and their clades where nothing ties.
    In single precision the square's heights are rounded to it, and those from rows are not.

    Raises
    ------
    DataValueError
        What was asked works on something else than the rows.

    Examples
    --------
    >>> rows_engines(TreeOfRows(method="average", metric_name="euclidean", n=8_192, k=50))
    ('square', 'data')
    >>> rows_engines(TreeOfRows(method="average", metric_name="euclidean", n=8_193, k=50))
    ('data', 'square')
    >>> rows_engines(TreeOfRows(method="centroid", metric_name="euclidean", n=10_000, k=101))
    ('square', 'data')
    """
    if tree.asked == "condensed":
        raise DataValueError(
            "engine='condensed' works on condensed distances: give those of pdist(...).to_numpy(), "
            "or leave engine out"
        )
    if tree.asked is not None:
        return (tree.asked,)
    if tree.n <= SMALL_OBSERVATIONS:
        return ("scipy",)
    if tree.metric_name == PRECOMPUTED:
        return tiles_engines(None, tree.method, tree.n, is_ordered=tree.is_ordered)
    if not grows_from_rows(tree.method, tree.metric_name):
        return ("square",)
    if tree.method == "single":
        return ("data",)
    if tree.method in ("centroid", "median"):
        return ("data",) if tree.k * _ROWS_A_FEATURE <= tree.n else ("square", "data")
    if tree.is_called:
        return ("square", "data") if tree.is_ordered else ("square", "tiles", "data")
    return ("data", "square") if tree.is_large and not tree.is_sparse else ("square", "data")


def makes_distances(engine: str) -> bool:
    """Whether distances of all pairs are made and kept.

    Examples
    --------
    >>> [makes_distances(engine) for engine in ("data", "square", "tiles")]
    [False, True, True]
    """
    return engine in ("scipy", "square", "tiles")


def tiles_engines(
    asked: str | None, method: str, n: int, *, is_ordered: bool = False
) -> tuple[str, ...]:
    """Say which engine makes the tree of distances in tiles, and which one in its stead.

    Parameters
    ----------
    asked
        The user's choice, which `check_engine` has passed.
    method, n
        Of the tree, of so many observations.
    is_ordered
        Whether leaves are ordered by the distances, which takes these in memory.

    Raises
    ------
    DataValueError
        What was asked works on something else.

    Examples
    --------
    >>> tiles_engines(None, "average", 8_192), tiles_engines(None, "average", 8_193)
    (('square', 'tiles'), ('tiles',))
    """
    if asked == "data":
        raise DataValueError("engine='data' works on rows, and these are distances")
    if asked == "condensed":
        raise DataValueError("engine='condensed' works on a condensed vector: use 'tiles'")
    if asked is not None:
        return (asked,)
    if n <= SMALL_OBSERVATIONS:
        return ("scipy",)
    if method not in REDUCIBLE_METHODS or is_ordered:
        return ("square",)
    # Of equal distances the square takes those that every other engine of single linkage does.
    return ("square", "tiles") if n <= SQUARE_OBSERVATIONS or method == "single" else ("tiles",)


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
    "summaries": "clusters of {method} linkage with {metric} are means",
    "points": "near clusters prove most merges; distances come from rows",
}


def rows_reason(
    method: str, metric_name: str, *, is_boolean: bool = False, passes: Passes | None = None
) -> str:
    """Say how a tree is made from rows.

    Parameters
    ----------
    method, metric_name, is_boolean
        As of `way_from_rows`.
    passes
        How often all distances are computed, where that is predicted.

    Examples
    --------
    >>> rows_reason("single", "cityblock")
    'single linkage is a minimum spanning tree, grown from tiles that nobody keeps'
    >>> rows_reason("ward", "euclidean", passes=Passes(least=2.0, likely=2.0, most=3.0))
    'clusters of ward linkage with euclidean are means: 2 passes (up to 3) over rows'
    """
    way = way_from_rows(method, metric_name, is_boolean=is_boolean)
    told = _WAYS[way].format(method=method, metric=metric_name)
    if way == "summaries":
        return told + (": no distances are kept" if passes is None else f": {passes} over rows")
    if way == "points":
        return told + (", and not kept" if passes is None else f" in {passes}")
    return told


def tiles_reason(passes: Passes | None = None) -> str:
    """Say how a tree is made from tiles that are read a few times.

    Examples
    --------
    >>> tiles_reason(Passes(least=2.0, likely=4.0, most=12.0))
    'near clusters prove most merges; tiles of distances are read in 4 passes (up to 12)'
    """
    told = "near clusters prove most merges; tiles of distances are read"
    return f"{told} a few times" if passes is None else f"{told} in {passes}"


def tiles_choice() -> str:
    """Say how a tree is made from tiles, in a line for the log of a run.

    Examples
    --------
    >>> tiles_choice()
    'engine tiles: near clusters prove most merges; tiles of distances are read a few times'
    """
    return f"engine tiles: {tiles_reason()}"


def refuse_ordered_tiles() -> NoReturn:
    """Refuse to order leaves by distances that are not in memory.

    Raises
    ------
    DataValueError
        Always.
    """
    raise DataValueError(
        "engine='tiles' keeps no distances in memory, by which leaves could be ordered optimally: "
        "leave optimal_ordering off, or use engine='square'"
    )


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

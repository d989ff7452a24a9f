"""Kernel: the table of metrics, each the same few functions of blocks.

A metric says how a block of rows becomes an operand (``prepare``), what one block of features
adds to an accumulator of pairs (``partial``), and how the accumulator becomes a distance
(``finish``). Because partial results of feature blocks are added in their order, the feature axis
may be cut anywhere.

::

    values (b, k) ──prepare──▶ operand (b, k) ┐
                                              ├─partial─▶ accumulator (b, b) ──finish──▶ distances
    values (b, k) ──prepare──▶ operand (b, k) ┘    ▲ one call a block of features

Four engines serve the table. ``scipy`` is SciPy itself, for what is small. ``product`` uses one
matrix product a block, where the metric allows it, and hands the pairs that lost digits to
cancellation back to be recomputed from differences. ``direct`` loops over the features of each
pair in float64, with the arithmetic of `scipy.spatial.distance.pdist`. ``function`` calls what the
user passed. Which one runs depends on the metric and on the size of the problem alone, so the same
input gives the same bits with any chunks, workers and memory.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from clustergrid.pipeline import kernels
from clustergrid.pipeline.square import PRECOMPUTED, is_precomputed
from clustergrid.storage.errors import DataValueError
from clustergrid.storage.grid import BLOCK_FEATURES

__all__ = [
    "METRICS",
    "SMALL_OBSERVATIONS",
    "SMALL_OPERATIONS",
    "Function",
    "Metric",
    "Product",
    "RowTotals",
    "check_metric",
    "engine_for",
    "get_metric",
]

SMALL_OPERATIONS = 2**29
"""Up to this many (rows x rows x features) no engine takes a time worth saving."""

SMALL_OBSERVATIONS = 2048
"""Up to this many observations SciPy takes a moment, and needs no compiler."""

RowTotals = np.ndarray
"""Per row ``(mean, sum of squares)`` over all features: what `Metric.totals` asks for."""

Function = Callable[[np.ndarray, np.ndarray], float]
"""A metric of the user's own: the distance of two vectors."""

Partial = Callable[[np.ndarray, np.ndarray, np.ndarray], None]
Finish = Callable[[np.ndarray, RowTotals, RowTotals], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """How a metric is computed from matrix products.

    Attributes
    ----------
    kind
        ``"centred"``: squared Euclidean distances of centred rows from their norms and products.
        ``"unit"``: one minus the product of unit rows.
    root
        Take the square root at the end.
    """

    kind: Literal["centred", "unit"]
    root: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One metric, under SciPy's name.

    Attributes
    ----------
    name, aliases
        Names that `scipy.spatial.distance.pdist` accepts.
    totals
        What `finish` needs of each whole row: nothing, the sum of squares, or the mean and the
        sum of squared deviations from it.
    partial
        ``partial(left, right_transposed, accumulator)`` adds one block of features, float64.
    finish
        ``finish(accumulator, left_totals, right_totals)`` makes distances of it, in place.
    product
        The faster way for large problems, if there is one.
    undefined
        What a row without a distance is called in errors; such rows have a zero sum of squares.
    function
        The metric of the user's own that is called instead, pair by pair.
    """

    name: str
    aliases: tuple[str, ...]
    partial: Partial
    finish: Finish
    totals: Literal["none", "squares", "deviations"] = "none"
    product: Product | None = None
    undefined: str | None = None
    function: Function | None = None

    def prepare(self, values: np.ndarray, totals: RowTotals) -> np.ndarray:
        """Operand of the direct engine: the rows, centred on their mean where it is wanted."""
        return values - totals[:, :1] if self.totals == "deviations" else values

    def unit_rows(self, values: np.ndarray, totals: RowTotals) -> np.ndarray:
        """Rows of length one, float64: the operand of a ``"unit"`` product."""
        unit: np.ndarray = self.prepare(values, totals) / np.sqrt(totals[:, 1:2])
        return unit


def _nothing(accumulator: np.ndarray, left: RowTotals, right: RowTotals) -> None:
    del accumulator, left, right


def _root(accumulator: np.ndarray, left: RowTotals, right: RowTotals) -> None:
    del left, right
    np.sqrt(accumulator, out=accumulator)


def _one_minus_cosine(accumulator: np.ndarray, left: RowTotals, right: RowTotals) -> None:
    accumulator /= np.sqrt(left[:, 1])[:, None] * np.sqrt(right[:, 1])[None, :]
    np.clip(accumulator, -1.0, 1.0, out=accumulator)
    np.subtract(1.0, accumulator, out=accumulator)


_TABLE = (
    Metric(
        name="euclidean",
        aliases=("euclid", "eu", "e"),
        partial=kernels.add_squared_differences,
        finish=_root,
        product=Product(kind="centred", root=True),
    ),
    Metric(
        name="sqeuclidean",
        aliases=("sqe", "sqeuclid"),
        partial=kernels.add_squared_differences,
        finish=_nothing,
        product=Product(kind="centred"),
    ),
    Metric(
        name="cosine",
        aliases=("cos",),
        partial=kernels.add_products,
        finish=_one_minus_cosine,
        totals="squares",
        product=Product(kind="unit"),
        undefined="all zero",
    ),
    Metric(
        name="correlation",
        aliases=("co",),
        partial=kernels.add_products,
        finish=_one_minus_cosine,
        totals="deviations",
        product=Product(kind="unit"),
        undefined="constant",
    ),
    Metric(
        name="cityblock",
        aliases=("cblock", "cb", "c"),
        partial=kernels.add_absolute_differences,
        finish=_nothing,
    ),
    Metric(
        name="chebyshev",
        aliases=("chebychev", "cheby", "cheb", "ch"),
        partial=kernels.max_absolute_differences,
        finish=_nothing,
    ),
)

METRICS: dict[str, Metric] = {metric.name: metric for metric in _TABLE}
"""Every metric by its name."""

_PRECOMPUTED = Metric(
    name=PRECOMPUTED, aliases=(), partial=kernels.add_squared_differences, finish=_nothing
)
"""Of a matrix of distances, of which nothing is computed; so it is not in the table."""

_BY_ALIAS = {alias: metric for metric in _TABLE for alias in (metric.name, *metric.aliases)}


def get_metric(name: str | Function) -> Metric:
    """Look a metric up by name or alias, in any case, as SciPy does; or wrap a function.

    Raises
    ------
    DataValueError
        A ValueError: there is no such metric. The message lists those there are.

    Examples
    --------
    >>> get_metric("cityblock").name, get_metric("Euclid").name
    ('cityblock', 'euclidean')
    """
    if callable(name):
        return Metric(
            name=getattr(name, "__name__", type(name).__name__),
            aliases=(),
            partial=kernels.add_squared_differences,
            finish=_nothing,
            function=name,
        )
    if is_precomputed(name):
        return _PRECOMPUTED
    metric = _BY_ALIAS.get(name.lower()) if isinstance(name, str) else None
    if metric is None:
        raise DataValueError(f"Unknown Distance Metric: {name!r}. Known: {', '.join(METRICS)}.")
    return metric


def check_metric(name: str | Function, method: str) -> Metric:
    """Look a metric up and refuse it where the linkage method has no meaning with it.

    Raises
    ------
    DataValueError
        A ValueError with SciPy's words: ward, centroid and median need Euclidean distances.
    """
    metric = get_metric(name)
    # Of which metric precomputed distances are is the user's to know, as in SciPy.
    euclidean = (METRICS["euclidean"], _PRECOMPUTED)
    if method in ("ward", "centroid", "median") and metric not in euclidean:
        raise DataValueError(f"`method={method}` requires the distance metric to be Euclidean")
    return metric


def engine_for(
    metric: Metric, n: int, k: int
) -> Literal["scipy", "direct", "product", "function", "precomputed"]:
    """Choose the engine from the metric and the size of the problem alone.

    Examples
    --------
    >>> engine_for(get_metric("euclidean"), 150, 4)
    'scipy'
    >>> engine_for(get_metric("euclidean"), 20_000, 1_000)
    'product'
    >>> engine_for(get_metric("cityblock"), 20_000, 1_000)
    'direct'
    """
    if metric is _PRECOMPUTED:
        return "precomputed"
    if metric.function is not None:
        return "function"
    if n * n * k <= SMALL_OPERATIONS:
        return "scipy" if n <= SMALL_OBSERVATIONS and k <= BLOCK_FEATURES else "direct"
    return "direct" if metric.product is None else "product"

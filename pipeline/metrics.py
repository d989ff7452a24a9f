"""Plan: the table of metrics, under SciPy's names, and which engine computes each.

A metric is data. Its engine makes an operand of a block of rows, adds what one block of features
tells of every pair to accumulators, and finishes distances of these. Because partial results of
feature blocks are added in their order, the feature axis may be cut anywhere.

::

    values (b, k) ──operand──▶ (b, k) ┐
                                      ├─add─▶ accumulators (m, b, b) ──finish──▶ distances (b, b)
    values (b, k) ──operand──▶ (b, k) ┘   ▲ one call a block of features

Which engine runs depends on the metric, its keywords, the input's type and density, and the size
of the problem: never on chunks, workers or memory. The same input gives the same bits.

=============  ================================================================================
engine         when, and how
=============  ================================================================================
``scipy``      few operations: `scipy.spatial.distance.cdist`
``product``    the metric is a matrix product, after which pairs that lost digits to
               cancellation are computed again from differences
``counts``     booleans: common ones are counted 64 features at a time
``direct``     a compiled loop over the features of each pair
``sparse``     as ``product`` and ``counts``, from the stored values of a sparse matrix alone
``missing``    the features that both rows have, which differ from pair to pair
``function``   a metric of the user's own, called pair by pair
``precomputed``  the matrix holds the distances: nothing is computed
=============  ================================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from clustergrid.pipeline.keywords import MetricKeywords
from clustergrid.pipeline.square import PRECOMPUTED
from clustergrid.storage.errors import DataTypeError, DataValueError
from clustergrid.storage.grid import BLOCK_FEATURES

__all__ = [
    "METRICS",
    "SMALL_OBSERVATIONS",
    "SMALL_OPERATIONS",
    "Engine",
    "Function",
    "Metric",
    "MetricKeywords",
    "Product",
    "check_metric",
    "engine_for",
    "get_metric",
]

SMALL_OPERATIONS = 2**29
"""Up to this many (rows x rows x features) no engine takes a time worth saving."""

SMALL_OBSERVATIONS = 2048
"""Up to this many observations SciPy takes a moment, and needs no compiler."""

Engine = Literal[
    "scipy", "product", "counts", "direct", "sparse", "missing", "function", "precomputed"
]

Function = Callable[[np.ndarray, np.ndarray], float]
"""A metric of the user's own: the distance of two vectors."""


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
    """One metric, under SciPy's name, with its keywords once `get_metric` has bound them.

    Attributes
    ----------
    name, aliases
        Names that `scipy.spatial.distance.pdist` accepts, and of those beyond SciPy ours.
    accepts
        Keywords that it takes.
    keywords
        Those that were given.
    product
        How it is computed from matrix products, if it is.
    loop
        Name of its loop in `clustergrid.pipeline.engines._loops.LOOPS`, if it has one.
    is_boolean
        Whether it compares booleans; other values are converted, as SciPy converts them.
    counts
        Whether booleans are compared by counting the features that both rows have.
    totals
        What is needed of each whole row beforehand: nothing; its sum; its sum of squares; or its
        mean and the sum of squared deviations from it.
    undefined
        What a row without a distance is called in errors.
    is_zero_of_equals
        Whether identical rows are at distance 0.
    ranks
        Whether rows are replaced by their ranks first.
    missing
        Whether it takes rows with missing values, and compares the features that both have.
    function
        The metric of the user's own that is called instead, pair by pair.
    """

    name: str
    aliases: tuple[str, ...] = ()
    accepts: tuple[str, ...] = ()
    keywords: MetricKeywords = field(default_factory=MetricKeywords)
    product: Product | None = None
    loop: str | None = None
    is_boolean: bool = False
    counts: bool = False
    totals: Literal["none", "sum", "squares", "deviations"] = "none"
    undefined: str | None = None
    is_zero_of_equals: bool = True
    ranks: bool = False
    missing: bool = False
    function: Function | None = None

    @property
    def is_unit(self) -> bool:
        """Whether it is one minus the product of unit rows."""
        return self.product is not None and self.product.kind == "unit"

    @property
    def needs_whole_rows(self) -> bool:
        """Whether a row is sorted or transformed as a whole, in tasks, whatever its length."""
        return self.name in ("mahalanobis", "nan_spearman")


_EUCLIDEAN = Product(kind="centred", root=True)
_UNIT = Product(kind="unit")


def _boolean(name: str) -> Metric:
    return Metric(name=name, accepts=("w",), loop=f"boolean {name}", is_boolean=True, counts=True)


_TABLE = (
    Metric(name="braycurtis", accepts=("w",), loop="braycurtis"),
    Metric(name="canberra", accepts=("w",), loop="canberra"),
    Metric(
        name="chebyshev",
        aliases=("chebychev", "cheby", "cheb", "ch"),
        accepts=("w",),
        loop="chebyshev",
    ),
    Metric(name="cityblock", aliases=("cblock", "cb", "c"), accepts=("w",), loop="cityblock"),
    Metric(
        name="correlation",
        aliases=("co",),
        accepts=("w",),
        product=_UNIT,
        totals="deviations",
        undefined="constant",
    ),
    Metric(
        name="cosine",
        aliases=("cos",),
        accepts=("w",),
        product=_UNIT,
        totals="squares",
        undefined="all zero",
    ),
    _boolean("dice"),
    Metric(name="euclidean", aliases=("euclid", "eu", "e"), accepts=("w",), product=_EUCLIDEAN),
    Metric(
        name="hamming",
        aliases=("matching", "hamm", "ha", "h"),
        accepts=("w",),
        loop="hamming",
        counts=True,
    ),
    replace(_boolean("jaccard"), aliases=("jacc", "ja", "j")),
    Metric(
        name="jensenshannon",
        aliases=("js",),
        loop="jensenshannon",
        totals="sum",
        undefined="all zero or negative somewhere",
    ),
    Metric(name="mahalanobis", aliases=("mahal", "mah"), accepts=("VI",), product=_EUCLIDEAN),
    Metric(name="minkowski", aliases=("mi", "m", "pnorm"), accepts=("p", "w"), loop="minkowski"),
    _boolean("rogerstanimoto"),
    replace(_boolean("russellrao"), is_zero_of_equals=False),
    Metric(name="seuclidean", aliases=("se", "s"), accepts=("V",), product=_EUCLIDEAN),
    _boolean("sokalsneath"),
    Metric(
        name="sqeuclidean",
        aliases=("sqe", "sqeuclid"),
        accepts=("w",),
        product=Product(kind="centred"),
    ),
    _boolean("yule"),
    Metric(name="spearman", product=_UNIT, totals="deviations", undefined="constant", ranks=True),
    Metric(name="nan_euclidean", accepts=("min_periods",), missing=True),
    Metric(name="nan_correlation", accepts=("min_periods",), missing=True),
    Metric(name="nan_spearman", accepts=("min_periods",), missing=True),
    Metric(name=PRECOMPUTED, is_zero_of_equals=False),
)

_BY_ALIAS = {alias: metric for metric in _TABLE for alias in (metric.name, *metric.aliases)}


def get_metric(
    name: str | Function, keywords: MetricKeywords | Mapping[str, Any] | None = None
) -> Metric:
    """Look a metric up by name or alias, in any case, as SciPy does; or wrap a function.

    Parameters
    ----------
    name
        As `scipy.spatial.distance.pdist` takes it.
    keywords
        Its keywords.

    Raises
    ------
    DataTypeError
        A TypeError: the metric does not take a keyword.
    DataValueError
        A ValueError: there is no such metric, and the message lists those there are; or a keyword
        has a value that it cannot have.

    Examples
    --------
    >>> get_metric("cityblock").name, get_metric("Euclid").name
    ('cityblock', 'euclidean')
    >>> get_metric("minkowski", {"p": 1}).loop
    'cityblock'
    """
    if keywords is None:
        keywords = MetricKeywords()
    elif not isinstance(keywords, MetricKeywords):
        keywords = MetricKeywords.from_mapping(keywords)
    if callable(name):
        if keywords.given:
            raise DataTypeError(
                f"a function takes no {', '.join(keywords.given)}: bind it with functools.partial"
            )
        called = getattr(name, "__name__", type(name).__name__)
        return Metric(name=called, function=name, is_zero_of_equals=False)
    metric = _BY_ALIAS.get(_scipy_name(name)) if isinstance(name, str) else None
    if metric is None:
        raise DataValueError(f"Unknown Distance Metric: {name!r}. Known: {', '.join(METRICS)}.")
    _check_accepted(metric, keywords)
    return _resolved(replace(metric, keywords=keywords)) if keywords.given else METRICS[metric.name]


def _scipy_name(name: str) -> str:
    """Name in lower case; SciPy knows each metric as ``test_...`` too."""
    return name.lower().removeprefix("test_")


def _check_accepted(metric: Metric, keywords: MetricKeywords) -> None:
    unknown = [word for word in keywords.given if word not in metric.accepts]
    if unknown:
        takes = ", ".join(metric.accepts) or "no keyword"
        raise DataTypeError(f"{metric.name} does not take {', '.join(unknown)}: it takes {takes}")


def _resolved(metric: Metric) -> Metric:
    """Choose the way of computing that keywords ask for."""
    keywords = metric.keywords
    if metric.name == "minkowski":
        p = 2.0 if keywords.p is None else keywords.p
        if p == 2.0:
            return replace(metric, loop=None, product=_EUCLIDEAN)
        return replace(metric, loop={1.0: "cityblock", np.inf: "chebyshev"}.get(p, "minkowski"))
    if metric.counts and keywords.w is not None:
        return replace(metric, counts=False)
    return metric


METRICS: dict[str, Metric] = {metric.name: _resolved(metric) for metric in _TABLE}
"""Every metric by its name, without keywords."""


def check_metric(
    name: str | Function,
    method: str,
    keywords: MetricKeywords | Mapping[str, Any] | None = None,
) -> Metric:
    """Look a metric up and refuse it where the linkage method has no meaning with it.

    Raises
    ------
    DataTypeError, DataValueError
        As `get_metric`; and with SciPy's words: ward, centroid and median need Euclidean
        distances. Precomputed ones may be such.
    """
    metric = get_metric(name, keywords)
    is_euclidean = metric.function is None and metric.name in ("euclidean", PRECOMPUTED)
    if method in ("ward", "centroid", "median") and not is_euclidean:
        raise DataValueError(f"`method={method}` requires the distance metric to be Euclidean")
    return metric


def engine_for(
    metric: Metric,
    n: int,
    k: int,
    *,
    is_boolean: bool = False,
) -> Engine:
    """Choose the engine of a dense matrix; of a sparse one, its density has a say too.

    Parameters
    ----------
    metric
        As `get_metric` gave it.
    n, k
        Observations and features.
    is_boolean
        Whether the matrix holds booleans, so that metrics of both kinds compare these.

    Examples
    --------
    >>> engine_for(get_metric("euclidean"), 150, 4)
    'scipy'
    >>> engine_for(get_metric("euclidean"), 20_000, 1_000)
    'product'
    >>> engine_for(get_metric("cityblock"), 20_000, 1_000)
    'direct'
    >>> engine_for(get_metric("jaccard"), 20_000, 1_000, is_boolean=True)
    'counts'
    """
    if metric.name == PRECOMPUTED:
        return "precomputed"
    if metric.function is not None:
        return "function"
    if metric.missing:
        return "missing"
    if n <= SMALL_OBSERVATIONS and k <= BLOCK_FEATURES and n * n * k <= SMALL_OPERATIONS:
        return "scipy"
    if metric.counts and (metric.is_boolean or is_boolean):
        return "counts"
    return "direct" if metric.product is None else "product"

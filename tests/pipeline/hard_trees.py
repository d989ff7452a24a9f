"""Every source of cluster distances behind one face, and the tree of the square as the oracle.

A `Case` is a source, a method and data; `Asked` is all that must not alter its tree: the length of
lists, the memory, threads, tile edges, the executor, and what is kept to go on from.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from scipy.cluster.hierarchy import is_valid_linkage
from scipy.spatial.distance import squareform
from scipy.stats import rankdata

from clustergrid.pipeline.duplicates import find_duplicates
from clustergrid.pipeline.execution import SerialExecutor, ThreadsExecutor
from clustergrid.pipeline.hierarchy import Duplicates, cluster_square, linkage_matrix
from clustergrid.pipeline.hierarchy.certified import cluster_certified
from clustergrid.pipeline.hierarchy.condensed import CondensedSource
from clustergrid.pipeline.hierarchy.limits import Limits
from clustergrid.pipeline.hierarchy.recorded import RecordedSource
from clustergrid.pipeline.hierarchy.source import DistanceSource
from clustergrid.pipeline.monitor import Progress
from clustergrid.pipeline.points.tree import point_tree
from clustergrid.pipeline.row_tree_plan import way_from_rows
from clustergrid.pipeline.stored.memory import StoredMemory
from clustergrid.pipeline.stored.tree import stored_tree
from clustergrid.pipeline.summaries.tree import summary_tree
from clustergrid.pipeline.tiles import tile_distances
from clustergrid.storage.source import ArraySource
from tests.pipeline.hierarchy.kinds import clades
from tests.pipeline.points.cases import given_of, manhattan_of_ends
from tests.pipeline.stored.matrices import tiles_at_rest, tiles_in_memory

METHODS = ("complete", "average", "weighted", "ward")
"""Those that rounds make; single linkage is a spanning tree, except of tiles and vectors."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """How a tree is asked for.

    `memory_share` is of the memory between the least that is accepted, 0, and what holds the square
    of all, 1. `folder` is where tiles are put at rest; None: they are in memory.
    """

    n_neighbors: int = 64
    memory_share: float = 1.0
    threads: int = 1
    edge: int = 64
    executor: Any = None
    folder: Any = None
    recorded: Callable[[DistanceSource], DistanceSource] | None = None
    duplicates: Duplicates | None = None

    def within(self, least_bytes: int, n: int) -> int:
        return least_bytes + int(self.memory_share * 9 * n * n)

    @property
    def run_by(self) -> Any:
        if self.executor is not None:
            return self.executor
        return SerialExecutor() if self.threads == 1 else ThreadsExecutor(self.threads)


PLAIN = Asked()


def limits_of(n: int, asked: Asked) -> Limits:
    """Return the limits of `n` points in the memory that is asked for."""
    least = Limits.least_bytes(n, n_neighbors=asked.n_neighbors)
    limits = Limits.within(asked.within(least, n), n=n, n_neighbors=asked.n_neighbors)
    return replace(limits, threads=asked.threads)


@dataclass(frozen=True, kw_only=True)
class RowCase:
    """A tree from rows, by points or by summaries, as the plan has it (or as `way` has it)."""

    method: str
    metric: Any
    values: np.ndarray = field(repr=False)
    keywords: dict[str, Any] = field(default_factory=dict, repr=False)
    way: str | None = None

    @property
    def n(self) -> int:
        return len(self.values)

    @property
    def source(self) -> str:
        if self.way is not None:
            return self.way
        named = "function" if callable(self.metric) else self.metric
        return way_from_rows(self.method, named, is_boolean=self.values.dtype == bool)

    @cached_property
    def given(self) -> Any:
        values = rankdata(self.values, axis=1) if self.metric == "spearman" else self.values
        return given_of(values, self.metric, self.keywords)

    def tree(self, asked: Asked = PLAIN) -> np.ndarray:
        make = {"points": point_tree, "summaries": summary_tree}[self.source]
        n_kept = self.n if asked.duplicates is None else len(asked.duplicates.kept)
        return make(
            self.given,
            self.method,
            asked.duplicates,
            limits=limits_of(n_kept, asked),
            executor=asked.run_by,
            progress=Progress(),
            name="linkage-row",
            recorded=asked.recorded,
        )

    @cached_property
    def square(self) -> np.ndarray:
        """All distances in double precision, as the tiles have them."""
        rows = slice(0, self.n)
        square = tile_distances(self.given, rows, rows).astype(np.float64)
        np.fill_diagonal(square, 0)
        return square


@dataclass(frozen=True, kw_only=True)
class VectorCase:
    """A tree of distances that are given: in tiles (``stored``), or a vector (``condensed``)."""

    method: str
    source: str
    vector: np.ndarray = field(repr=False)

    @property
    def n(self) -> int:
        return CondensedSource(self.vector).n

    def memory(self, asked: Asked) -> StoredMemory:
        return StoredMemory(
            n=self.n,
            tile_edge=asked.edge,
            itemsize=self.vector.itemsize,
            n_neighbors=asked.n_neighbors,
        ).with_fewer_readers(0)

    def tree(self, asked: Asked = PLAIN) -> np.ndarray:
        if self.source == "condensed":
            return self._tree_of_vector(asked)
        if asked.folder is None:
            distances = tiles_in_memory(self.vector, asked.edge)
        else:
            distances = tiles_at_rest(self.vector, asked.edge, asked.folder)
        return stored_tree(
            distances,
            self.method,
            memory_bytes=asked.within(self.memory(asked).least_bytes, self.n),
            n_neighbors=asked.n_neighbors,
            executor=asked.run_by,
            threads=asked.threads,
            progress=Progress(),
            name="linkage",
            recorded=asked.recorded,
        )

    def _tree_of_vector(self, asked: Asked) -> np.ndarray:
        source: DistanceSource = CondensedSource(self.vector, threads=asked.threads)
        merges = cluster_certified(
            source if asked.recorded is None else asked.recorded(source),
            self.method,
            limits=limits_of(self.n, asked),
        )
        return linkage_matrix(merges, self.n)

    @cached_property
    def square(self) -> np.ndarray:
        return squareform(self.vector.astype(np.float64))


Case = RowCase | VectorCase


def oracle(case: Case) -> np.ndarray:
    """Return the tree that the engine in memory makes of the square of all distances."""
    return linkage_matrix(cluster_square(case.square.copy(), case.method), case.n)


def assert_same_tree(Z, expected, *, untied=True, rtol=1e-10):
    """Compare heights, and clades where nothing ties."""
    assert is_valid_linkage(Z)
    assert (np.diff(Z[:, 2]) >= 0).all()
    np.testing.assert_allclose(Z[:, 2], expected[:, 2], rtol=rtol, atol=1e-13 * expected[-1, 2])
    if untied:
        np.testing.assert_array_equal(clades(Z), clades(expected))


def duplicates_of(values):
    return find_duplicates(ArraySource(values), SerialExecutor(), Progress(), name="duplicates")


class Shelf:
    """Answers of a source that are kept, until the process that keeps them is stopped."""

    def __init__(self, most=None, answers=()):
        self.most = most
        self.answers = dict(answers)
        self.computed = 0

    def recorded(self, kept):
        def record(source):
            return RecordedSource(
                source, save=self._save, load=self._load, drop=self._drop, kept=kept
            )

        return record

    def _save(self, number, name, arrays):
        if len(self.answers) == self.most:
            raise KeyboardInterrupt
        assert (number, name) not in self.answers
        self.computed += 1
        self.answers[number, name] = {key: array.copy() for key, array in arrays.items()}

    def _load(self, number, name):
        return self.answers.get((number, name))

    def _drop(self, number):
        raise AssertionError(f"answer {number} was dropped: the same source asked something else")


def normal(n, k, seed=0):
    return np.random.default_rng(seed).normal(size=(n, k))


def positive(n, k, seed=0):
    return np.random.default_rng(seed).gamma(1.0, 1.0, (n, k)) + 0.01


def booleans(n, k, seed=0):
    rng = np.random.default_rng(seed)
    return rng.random((n, k)) < rng.uniform(0.4, 0.8, (n, 1))


def with_missing(n, k, seed=0):
    values = normal(n, k, seed)
    values[np.random.default_rng(seed + 1).random((n, k)) < 0.2] = np.nan
    return values


N = 300
METRICS: dict[Any, tuple[Callable[..., np.ndarray], int, int]] = {
    **dict.fromkeys(
        ("euclidean", "sqeuclidean", "seuclidean", "mahalanobis", "cosine", "correlation"),
        (normal, N, 12),
    ),
    **dict.fromkeys(("cityblock", "chebyshev", "braycurtis", "minkowski"), (normal, N, 12)),
    "canberra": (normal, N, 60),
    "jensenshannon": (positive, N, 12),
    **dict.fromkeys(
        ("hamming", "jaccard", "dice", "rogerstanimoto", "sokalsneath"),
        (booleans, N, 60),
    ),
    **dict.fromkeys(("russellrao", "yule"), (booleans, 120, 120)),
    "spearman": (normal, 80, 1000),
    "nan_euclidean": (with_missing, N, 12),
    "nan_correlation": (with_missing, N, 40),
    "nan_spearman": (with_missing, 50, 300),
    manhattan_of_ends: (normal, 40, 12),
}
"""How a matrix is made, rows and features, of every metric; so that no two distances tie."""


def row_case(method, metric, *, n=None, seed=0, way=None):
    make, rows, k = METRICS[metric]
    keywords: dict[str, Any] = {}
    if make is booleans:
        # Counts of features tie, sums of weights do not.
        keywords["w"] = np.random.default_rng(99).uniform(0.5, 1.5, k)
    if metric == "minkowski":
        keywords["p"] = 3.0
    return RowCase(
        method=method, metric=metric, values=make(n or rows, k, seed), keywords=keywords, way=way
    )


def served():
    """Yield every method and metric that rounds make trees of from rows."""
    for metric in METRICS:
        for method in METHODS:
            if method != "ward" or metric == "euclidean":
                yield method, metric


def name_of(metric):
    return metric.__name__ if callable(metric) else metric

"""Matrices, metrics and sources that the tests of points share."""

import numpy as np

from clustergrid.pipeline.execution import SerialExecutor
from clustergrid.pipeline.hierarchy._clusters import CODES, join, open_clusters
from clustergrid.pipeline.keywords import MetricKeywords
from clustergrid.pipeline.monitor import Progress
from clustergrid.pipeline.normalize import Normalization, matrix_statistics
from clustergrid.pipeline.operands import distance_input
from clustergrid.pipeline.points.tree import point_source
from clustergrid.storage.grid import BLOCK_FEATURES
from clustergrid.storage.source import ArraySource


def manhattan_of_ends(one, other):
    """A metric of the user's own."""
    return abs(one[0] - other[0]) + 0.25 * abs(one[-1] - other[-1])


def lopsided(one, other):
    """A function that is no metric: its two vectors are not treated alike."""
    return abs(one[0] - other[0]) * (1.0 + 0.1 * (one[0] > other[0])) + 1.0


def normal(n, k, seed=0):
    return np.random.default_rng(seed).normal(size=(n, k))


def booleans(n, k, seed=0):
    return np.random.default_rng(seed).random((n, k)) < 0.4


def with_missing(n, k, seed=0):
    values = normal(n, k, seed)
    missing = np.random.default_rng(seed + 1).random((n, k)) < 0.3
    missing[:, :3] = False  # so that all pairs have a distance
    values[missing] = np.nan
    return values


METRICS = {
    "euclidean": (normal, {}),
    "sqeuclidean": (normal, {}),
    "seuclidean": (normal, {}),
    "mahalanobis": (normal, {}),
    "minkowski": (normal, {"p": 3.0}),
    "cosine": (normal, {}),
    "correlation": (normal, {}),
    "cityblock": (normal, {}),
    "canberra": (normal, {}),
    "jensenshannon": (lambda n, k, seed=0: np.abs(normal(n, k, seed)), {}),
    "jaccard": (booleans, {}),
    "hamming": (booleans, {}),
    "russellrao": (booleans, {}),
    "nan_euclidean": (with_missing, {}),
    "nan_correlation": (with_missing, {}),
    "nan_spearman": (with_missing, {}),
    "function": (normal, {}),
    "weighted euclidean": (normal, {"w": True}),
    "weighted correlation": (normal, {"w": True}),
    "weighted cityblock": (normal, {"w": True}),
}
"""How a matrix is made, and the keywords, of every metric that is tested."""

EUCLIDEAN = ("euclidean", "sqeuclidean", "seuclidean", "mahalanobis", "cosine", "correlation")


def metric_of(name):
    return manhattan_of_ends if name == "function" else name.split()[-1]


def keywords_of(name, k):
    keywords = dict(METRICS[name][1])
    if "w" in keywords:
        keywords["w"] = np.arange(1.0, k + 1) / k
    return keywords


def given_of(values, metric="euclidean", keywords=None, *, z_score=False):
    executor, progress = SerialExecutor(), Progress()
    source = ArraySource(values)
    statistics = matrix_statistics(source, executor, progress)
    return distance_input(
        source,
        statistics,
        Normalization.z_score(statistics, 0) if z_score else Normalization(),
        metric,
        MetricKeywords.from_mapping(keywords or {}),
        dtype=values.dtype if values.dtype == np.float32 else np.dtype(np.float64),
        features_at_once=BLOCK_FEATURES,
        executor=executor,
        progress=progress,
        name="distance",
    )


def case(name, n, k=7, seed=0):
    """Return values and what is given of them, for a metric of `METRICS`."""
    values = METRICS[name][0](n, k, seed)
    return values, given_of(values, metric_of(name), keywords_of(name, k))


def source_of(given, executor=None, duplicates=None):
    return point_source(given, duplicates, executor=executor or SerialExecutor())


def some_clusters(n, method, *, n_merges, seed=0, sizes=None, groups=None):
    """Clusters of several members, which were merged at random, or at random within groups."""
    clusters = open_clusters(np.ones(n, np.int64) if sizes is None else sizes, method)
    rng = np.random.default_rng(seed)
    for _ in range(n_merges):
        slots = np.flatnonzero(clusters.live)
        if groups is not None:
            slots = slots[groups[slots] == rng.choice(groups)]
        low, high = np.sort(rng.choice(slots, 2, replace=False))
        join(clusters, CODES[method], low, high, 1.0)
    return clusters


def ignore(share):
    """Take what a source says of its progress."""
    assert 0 <= share <= 1

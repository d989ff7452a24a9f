"""Centroid and median linkage of a matrix, whatever it holds."""

import dataclasses

import numpy as np
import pytest
from scipy.cluster.hierarchy import cophenet, linkage
from scipy.spatial.distance import pdist

from clustergrid.pipeline.centroid_tree import centroid_tree
from clustergrid.pipeline.duplicates import find_duplicates
from clustergrid.pipeline.execution import SerialExecutor
from clustergrid.pipeline.footprint import centroid_tree_bytes
from clustergrid.pipeline.monitor import Progress
from clustergrid.pipeline.normalize import Normalization, matrix_statistics
from clustergrid.pipeline.operands import distance_input
from clustergrid.storage.errors import DataValueError
from clustergrid.storage.source import ArraySource

METHODS = ("centroid", "median")


def distances_of(values, metric="euclidean", *, keywords=None, z_score=False):
    executor, progress = SerialExecutor(), Progress()
    source = ArraySource(values)
    statistics = matrix_statistics(source, executor, progress)
    return distance_input(
        source,
        statistics,
        Normalization.z_score(statistics, 1) if z_score else Normalization(),
        metric,
        keywords,
        dtype=values.dtype if values.dtype == np.float32 else np.dtype(np.float64),
        features_at_once=2048,
        executor=executor,
        progress=progress,
        name="distance",
    )


def tree_of(values, method, *, duplicates=None, progress=None, **options):
    return centroid_tree(
        distances_of(values, **options),
        method,
        duplicates,
        threads=2,
        progress=progress or Progress(),
        name="linkage-row",
    )


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int16])
@pytest.mark.parametrize("method", METHODS)
def test_heights_are_float64_whatever_the_matrix_holds(method, dtype):
    values = (1000 * np.random.default_rng(0).normal(size=(300, 7))).astype(dtype)
    Z = tree_of(values, method)
    expected = linkage(pdist(values.astype(np.float64)), method)
    np.testing.assert_allclose(Z[:, 2], expected[:, 2], rtol=1e-10)
    np.testing.assert_array_equal(Z[:, [0, 1, 3]], expected[:, [0, 1, 3]])


@pytest.mark.parametrize("method", METHODS)
def test_heights_may_invert(method):
    values = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, 0.87]])
    Z = tree_of(values, method)
    assert Z[1, 2] < Z[0, 2]
    np.testing.assert_allclose(Z, linkage(values, method))


def test_features_have_weights_and_are_normalized():
    values = np.random.default_rng(1).normal(size=(120, 5)) * np.arange(1, 6)
    weights = np.array([0.5, 2.0, 0.0, 1.0, 3.0])
    Z = tree_of(values, "centroid", keywords={"w": weights})
    expected = linkage(pdist(values, "euclidean", w=weights), "centroid")
    np.testing.assert_allclose(Z, expected, rtol=1e-10)
    Z = tree_of(values, "centroid", z_score=True)
    scored = (values - values.mean(axis=0)) / values.std(axis=0, ddof=1)
    np.testing.assert_allclose(Z, linkage(scored, "centroid"), rtol=1e-10)


@pytest.mark.parametrize("method", METHODS)
def test_identical_rows_are_one_cluster(method):
    rng = np.random.default_rng(2)
    values = rng.normal(size=(70, 4))[rng.integers(0, 70, 200)]
    duplicates = find_duplicates(ArraySource(values), SerialExecutor(), Progress(), name="d")
    Z = tree_of(values, method, duplicates=duplicates)
    expected = linkage(values, method)
    np.testing.assert_allclose(cophenet(Z), cophenet(expected), rtol=1e-10)


def test_progress_counts_rows_and_merges():
    events = []
    tree_of(
        np.random.default_rng(3).normal(size=(500, 4)), "centroid", progress=Progress(events.append)
    )
    finished = {event.stage: event for event in events if event.state == "finished"}
    assert finished["linkage-row-rows"].done == 500
    assert finished["linkage-row"].done == 499
    assert finished["linkage-row"].unit == "merges"


def test_other_metrics_have_no_centroids():
    with pytest.raises(DataValueError, match="cityblock distances: method='median' needs"):
        tree_of(np.ones((3, 2)), "median", metric="cityblock")


def test_heights_that_overflow_are_refused_by_their_rows():
    values = np.zeros((4, 3))
    values[1], values[3] = 1.7e308, -1.7e308
    given = dataclasses.replace(distances_of(np.ones((4, 3))), source=ArraySource(values))
    with pytest.raises(DataValueError, match="rows 0 and 1 are at a distance that overflows"):
        centroid_tree(given, "centroid", None, progress=Progress(), name="linkage-row")


@pytest.mark.slow
def test_memory_is_what_was_said():
    import tracemalloc

    values = np.random.default_rng(4).normal(size=(6000, 40))
    given = distances_of(values)
    centroid_tree(given, "centroid", None, progress=Progress(), name="linkage-row")
    tracemalloc.start()
    try:
        centroid_tree(given, "centroid", None, progress=Progress(), name="linkage-row")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    said = centroid_tree_bytes(6000, 40)
    assert said / 3 < peak <= said + 5e6

"""Trees from rows, against those from all their distances."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster.hierarchy import cophenet, is_valid_linkage, linkage
from scipy.spatial.distance import pdist, squareform

from clustergrid.pipeline.duplicates import find_duplicates
from clustergrid.pipeline.execution import DaskExecutor, SerialExecutor, ThreadsExecutor
from clustergrid.pipeline.hierarchy import linkage_matrix
from clustergrid.pipeline.hierarchy.certified import Limits, cluster_certified
from clustergrid.pipeline.hierarchy.condensed import CondensedSource
from clustergrid.pipeline.monitor import Progress
from clustergrid.pipeline.points.tree import point_tree
from clustergrid.pipeline.tiles import tile_distances
from clustergrid.storage.errors import DataValueError
from clustergrid.storage.source import ArraySource
from tests.budget import examples
from tests.pipeline.hierarchy.kinds import (
    KINDS,
    UNTIED,
    assert_every_merge_is_a_minimum,
    clades,
)
from tests.pipeline.points.cases import METRICS, case, given_of, normal

pytestmark = pytest.mark.quick_cases(one_in=8)

METHODS = ("single", "complete", "average", "weighted")
TIED = ("jaccard", "hamming", "russellrao", "canberra", "nan_spearman")


def tree_of(
    given, method, *, n_neighbors=16, most_clusters=None, executor=None, duplicates=None, **kwargs
):
    n = given.source.shape[0]
    return point_tree(
        given,
        method,
        duplicates,
        limits=Limits(most_clusters=most_clusters or n, n_neighbors=n_neighbors),
        executor=executor or SerialExecutor(),
        progress=kwargs.pop("progress", None) or Progress(),
        name="linkage-row",
        **kwargs,
    )


def condensed_of(given):
    n = given.source.shape[0]
    return squareform(tile_distances(given, slice(0, n), slice(0, n)).astype(float), checks=False)


def assert_same_tree(Z, expected, *, untied=True, exact=False):
    assert is_valid_linkage(Z)
    if exact:
        np.testing.assert_array_equal(Z[:, 2], expected[:, 2])
    np.testing.assert_allclose(Z[:, 2], expected[:, 2], rtol=1e-10)
    if untied:
        np.testing.assert_array_equal(clades(Z), clades(expected))


@pytest.mark.parametrize("name", METRICS)
def test_trees_of_every_metric(name):
    n = 160
    _, given = case(name, n)
    condensed = condensed_of(given)
    source = CondensedSource(condensed)
    for method in METHODS:
        for n_neighbors, most_clusters in ((4, 60), (16, None)):
            Z = tree_of(given, method, n_neighbors=n_neighbors, most_clusters=most_clusters)
            if name in TIED:
                if method == "single":
                    assert_same_tree(Z, linkage(condensed, method), untied=False, exact=True)
                continue
            limits = Limits(most_clusters=n, n_neighbors=n_neighbors)
            merges = cluster_certified(source, method, limits=limits)
            assert_same_tree(Z, linkage_matrix(merges, n))
            assert_same_tree(Z, linkage(condensed, method))


@pytest.mark.parametrize("name", ["jaccard", "euclidean integers", "equal distances"])
@pytest.mark.parametrize("method", METHODS)
def test_every_merge_among_ties_is_a_minimum(name, method):
    if name == "jaccard":
        _, given = case(name, 30)
    else:
        kind = KINDS[name.removeprefix("euclidean ")]
        given = given_of(kind(np.random.default_rng(0), 30))
    for n_neighbors in (1, 4, 29):
        Z = tree_of(given, method, n_neighbors=n_neighbors)
        assert_every_merge_is_a_minimum(Z, condensed_of(given), method)


@pytest.mark.parametrize("method", [*METHODS, "ward"])
@pytest.mark.parametrize("kind", KINDS)
def test_trees_of_hard_data_are_scipys(kind, method):
    values = KINDS[kind](np.random.default_rng(7), 400)
    untied = kind in UNTIED
    if not untied and method != "single":
        pytest.skip("which of equals are merged first may change heights further up")
    distances = pdist(values)
    for n_neighbors in (3, 64):
        Z = tree_of(given_of(values), method, n_neighbors=n_neighbors)
        expected = linkage(distances, method)
        assert_same_tree(
            Z, expected, untied=untied, exact=untied and method in ("single", "complete")
        )


@pytest.mark.parametrize("method", METHODS)
def test_noise_in_many_dimensions(method):
    values = normal(700, 1000)
    Z = tree_of(given_of(values), method, n_neighbors=8, executor=ThreadsExecutor(2))
    exact = method in ("single", "complete")
    assert_same_tree(Z, linkage(pdist(values), method), exact=exact)


@pytest.mark.parametrize("dtype", [np.float32, np.int16, np.bool_])
def test_heights_are_float64_whatever_the_matrix_holds(dtype):
    values = (100 * normal(300, 6)).astype(dtype)
    given = given_of(values)
    duplicates = find_duplicates(
        ArraySource(values), SerialExecutor(), Progress(), name="duplicates"
    )
    Z = tree_of(given, "complete", duplicates=duplicates)
    expected = linkage(pdist(values.astype(np.float64)), "complete")
    if dtype != np.bool_:
        np.testing.assert_array_equal(Z[:, 2], expected[:, 2])
    else:
        assert Z[-1, 2] == expected[-1, 2]


@pytest.mark.parametrize("method", ["complete", "average", "weighted", "ward"])
@pytest.mark.parametrize("name", ["euclidean", "cityblock"])
def test_identical_rows_are_merged_first(name, method):
    if (name, method) == ("cityblock", "ward"):
        pytest.skip("ward takes Euclidean distances")
    rng = np.random.default_rng(7)
    values = rng.normal(size=(120, 4))[rng.integers(0, 120, 300)]
    duplicates = find_duplicates(
        ArraySource(values), SerialExecutor(), Progress(), name="duplicates"
    )
    assert len(duplicates.kept) < 120
    Z = tree_of(given_of(values, name), method, n_neighbors=9, duplicates=duplicates)
    assert is_valid_linkage(Z)
    if method != "weighted":  # which of identical rows merge first is in its weights
        expected = linkage(pdist(values, name), method)
        np.testing.assert_allclose(cophenet(Z), cophenet(expected), rtol=1e-10)


def test_rows_are_normalized_first():
    values = normal(200, 6) * np.arange(1, 7) + 5
    scored = (values - values.mean(axis=1, keepdims=True)) / values.std(
        axis=1, keepdims=True, ddof=1
    )
    for name in ("euclidean", "cityblock"):
        Z = tree_of(given_of(values, name, z_score=True), "average")
        assert_same_tree(Z, linkage(pdist(scored, name), "average"))


@pytest.mark.parametrize("name", ["euclidean", "correlation", "cityblock", "nan_euclidean"])
def test_threads_workers_and_pieces_change_no_bit(client, name):
    _, given = case(name, 700, 6)
    expected = tree_of(given, "average", n_neighbors=5, most_clusters=300)
    assert expected is not None
    for executor in (ThreadsExecutor(2), ThreadsExecutor(5), DaskExecutor(client)):
        Z = tree_of(given, "average", n_neighbors=5, most_clusters=300, executor=executor)
        np.testing.assert_array_equal(Z, expected)


@settings(max_examples=examples(60), deadline=None)
@given(
    data=st.data(),
    n=st.integers(1, 30),
    k=st.integers(1, 4),
    n_neighbors=st.integers(1, 30),
    most_clusters=st.integers(1, 30),
    method=st.sampled_from(METHODS),
    metric=st.sampled_from(["euclidean", "sqeuclidean", "cityblock"]),
)
def test_any_small_integers(data, n, k, n_neighbors, most_clusters, method, metric):
    values = data.draw(st.lists(st.integers(-3, 3), min_size=n * k, max_size=n * k))
    values = np.array(values, dtype=np.float64).reshape(n, k)
    given = given_of(values, metric)
    Z = tree_of(given, method, n_neighbors=n_neighbors, most_clusters=most_clusters)
    if n > 1:
        assert_every_merge_is_a_minimum(Z, pdist(values, metric), method)


@settings(max_examples=examples(60), deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(2, 120),
    k=st.integers(1, 5),
    n_neighbors=st.integers(1, 120),
    offset=st.sampled_from([0.0, 1e6]),
    scale=st.sampled_from([1e-150, 1.0, 1e140]),
    method=st.sampled_from(METHODS),
    metric=st.sampled_from(["euclidean", "sqeuclidean"]),
)
def test_any_points(seed, n, k, n_neighbors, offset, scale, method, metric):
    values = scale * (np.random.default_rng(seed).standard_t(1.5, size=(n, k)) + offset)
    given = given_of(values, metric)
    Z = tree_of(given, method, n_neighbors=n_neighbors)
    exact = method in ("single", "complete")
    assert_same_tree(Z, linkage(pdist(values, metric), method), exact=exact)


def test_a_tree_whose_square_does_not_fit_ends():
    given = given_of(normal(500, 30))
    Z = tree_of(given, "average", n_neighbors=2, most_clusters=2)
    assert_same_tree(Z, linkage(pdist(given.source.array), "average"))


def test_progress_and_errors():
    events = []
    tree_of(given_of(normal(300, 4)), "average", progress=Progress(events.append))
    assert events[-1].done == 299
    assert events[-1].stage == "linkage-row"
    with pytest.raises(DataValueError, match="never brings clusters nearer, got 'centroid'"):
        tree_of(given_of(normal(30, 4)), "centroid")


def test_interrupt_ends_the_tree():
    def interrupt(event):
        if "lists" in event.note:
            raise KeyboardInterrupt

    progress = Progress(interrupt, interval_seconds=0)
    with pytest.raises(KeyboardInterrupt):
        tree_of(given_of(normal(900, 4)), "average", progress=progress)


@pytest.mark.slow
def test_heights_do_not_depend_on_threads_where_bounds_say_little():
    # Nearly equal distances: of some owners bounds are enough, of others they are not.
    rng = np.random.default_rng(24)
    noise = 10 ** rng.uniform(-3.6, -3.0, 2)[0]
    values = np.eye(700) + noise * rng.standard_normal((700, 700))
    given = given_of(values)
    one, *others = (
        tree_of(given, "average", n_neighbors=24, most_clusters=30, executor=executor)
        for executor in (SerialExecutor(), ThreadsExecutor(2), ThreadsExecutor(4))
    )
    for other in others:
        np.testing.assert_array_equal(one, other)

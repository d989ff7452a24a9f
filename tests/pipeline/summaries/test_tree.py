"""Trees from means of clusters: SciPy's, whatever the rows hold, and always the same bits."""

import dataclasses
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster.hierarchy import cophenet, is_valid_linkage, linkage
from scipy.spatial.distance import pdist
from scipy.stats import rankdata

from clustergrid.pipeline import row_reader
from clustergrid.pipeline.duplicates import find_duplicates
from clustergrid.pipeline.execution import DaskExecutor, SerialExecutor, ThreadsExecutor
from clustergrid.pipeline.hierarchy.certified import Limits
from clustergrid.pipeline.monitor import Progress
from clustergrid.pipeline.row_tree_plan import RowTreeMemory
from clustergrid.pipeline.summaries import tree as summary_tree_module
from clustergrid.pipeline.summaries.plan import summaries_serve
from clustergrid.pipeline.summaries.source import SummarySource
from clustergrid.pipeline.summaries.tree import summary_tree
from clustergrid.storage.errors import DataValueError
from clustergrid.storage.source import ArraySource
from tests.budget import examples
from tests.pipeline.hierarchy.kinds import (
    KINDS,
    UNTIED,
    assert_every_merge_is_a_minimum,
    assert_scipys,
    clades,
)
from tests.pipeline.summaries.cases import distances_of

pytestmark = pytest.mark.quick_cases(one_in=8)

PAIRS = [
    ("ward", "euclidean"),
    *product(("average", "weighted"), ("sqeuclidean", "cosine", "correlation", "spearman")),
]
TRUTHS = list(product(("average", "weighted"), ("hamming", "russellrao")))


def tree_of(
    values,
    method,
    metric,
    *,
    n_neighbors=16,
    most_clusters=10_000,
    threads=1,
    executor=None,
    duplicates=None,
    progress=None,
    **options,
):
    return summary_tree(
        distances_of(values, metric, **options),
        method,
        duplicates,
        limits=Limits(most_clusters=most_clusters, n_neighbors=n_neighbors, threads=threads),
        executor=executor or SerialExecutor(),
        progress=progress or Progress(),
        name="linkage-row",
    )


def condensed_of(values, metric, **keywords):
    values = np.asarray(values) if values.dtype == bool else np.asarray(values, np.float64)
    if metric == "spearman":
        return pdist(rankdata(values, axis=1), "correlation")
    return pdist(values, metric, **keywords)


def lost_by_scipy(metric):
    """What SciPy loses of a distance that it takes from one, which sums of squares keep."""
    return 1e-15 if metric in ("cosine", "correlation", "spearman") else 0.0


def assert_tree(Z, values, method, metric, **keywords):
    """A tree is SciPy's, of values whose distances are not equal."""
    assert_scipys(Z, condensed_of(values, metric, **keywords), method, lost=lost_by_scipy(metric))


def assert_minima(Z, values, method, metric):
    """Every merge is a minimum at its time."""
    assert_every_merge_is_a_minimum(
        Z, condensed_of(values, metric), method, lost=lost_by_scipy(metric)
    )


@pytest.mark.parametrize(("method", "metric"), PAIRS)
@pytest.mark.parametrize("kind", UNTIED)
def test_heights_and_clades_are_scipys(kind, method, metric):
    for n in (2, 3, 60, 250):
        values = UNTIED[kind](np.random.default_rng(n), n)
        if metric in ("cosine", "correlation", "spearman"):
            # Those of one feature are 0 or 2, those of rows far away all but 0.
            if kind in ("powers of 3", "far apart") or (metric == "cosine" and kind == "offset"):
                continue
            if kind == "offset":
                values = values - 1e6
        if metric == "spearman" and n > 3:
            continue  # ranks of few features are at equal distances
        for n_neighbors in (3, 64):
            Z = tree_of(values, method, metric, n_neighbors=n_neighbors)
            assert_tree(Z, values, method, metric)


@pytest.mark.parametrize(("method", "metric"), PAIRS)
def test_noise_in_a_thousand_dimensions(method, metric):
    values = np.random.default_rng(0).normal(size=(500, 1000))
    assert_tree(tree_of(values, method, metric), values, method, metric)


@pytest.mark.parametrize(("method", "metric"), [p for p in PAIRS if p[1] in ("euclidean",)])
@pytest.mark.parametrize("kind", ["normal", "heavy tails", "offset"])
def test_more_clusters_than_a_product_compares(kind, method, metric):
    values = KINDS[kind](np.random.default_rng(5), 1500)
    Z = tree_of(values, method, metric, executor=ThreadsExecutor(2), threads=2)
    assert_tree(Z, values, method, metric)


@pytest.mark.parametrize("method", ["ward", "average", "weighted"])
def test_one_feature(method):
    values = np.random.default_rng(1).normal(size=(200, 1))
    metric = "euclidean" if method == "ward" else "sqeuclidean"
    assert_tree(tree_of(values, method, metric), values, method, metric)


@pytest.mark.parametrize(("method", "metric"), TRUTHS)
@pytest.mark.parametrize("weighted_features", [False, True])
def test_booleans(method, metric, weighted_features):
    rng = np.random.default_rng(2)
    # Weights make few distances equal.
    n = 300 if weighted_features else 50
    values = rng.random((n, 97)) < rng.random((n, 1))
    keywords = {"w": rng.random(97)} if weighted_features else {}
    Z = tree_of(values, method, metric, keywords=keywords)
    if weighted_features:
        assert_tree(Z, values, method, metric, **keywords)
    else:
        assert_minima(Z, values, method, metric)


def test_truth_values_of_numbers():
    values = np.random.default_rng(3).integers(-1, 2, (40, 9)).astype(float)
    Z = tree_of(values, "average", "russellrao")
    assert_minima(Z, values != 0, "average", "russellrao")


@pytest.mark.parametrize("n", [25, 130])
@pytest.mark.parametrize(("method", "metric"), PAIRS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_merge_is_a_minimum(kind, method, metric, n):
    values = KINDS[kind](np.random.default_rng(4), n)
    if metric not in ("euclidean", "sqeuclidean"):
        places = np.arange(len(values))
        values = np.column_stack([values, (1 + places) % 7, 3.0 + places % 5])
    for n_neighbors in (1, 7, 64):
        Z = tree_of(values, method, metric, n_neighbors=n_neighbors)
        assert_minima(Z, values, method, metric)


@settings(max_examples=examples(60), deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(2, 40),
    k=st.integers(2, 20),
    n_neighbors=st.integers(1, 40),
    pair=st.sampled_from(PAIRS),
)
def test_any_small_matrix(seed, n, k, n_neighbors, pair):
    method, metric = pair
    values = np.random.default_rng(seed).normal(size=(n, k))
    if metric == "correlation" and k == 2:
        k = 3
        values = np.random.default_rng(seed).normal(size=(n, k))
    Z = tree_of(values, method, metric, n_neighbors=n_neighbors)
    if metric == "spearman":
        assert_minima(Z, values, method, metric)
    else:
        assert_tree(Z, values, method, metric)


@settings(max_examples=examples(40), deadline=None)
@given(data=st.data(), n=st.integers(2, 12), pair=st.sampled_from([PAIRS[0], *PAIRS[1:2], *TRUTHS]))
def test_any_small_integers(data, n, pair):
    method, metric = pair
    entries = st.lists(st.integers(0, 1), min_size=3 * n, max_size=3 * n)
    values = np.array(data.draw(entries)).reshape(n, 3)
    values = values.astype(bool) if metric in ("hamming", "russellrao") else values.astype(float)
    Z = tree_of(values, method, metric, n_neighbors=data.draw(st.integers(1, 12)))
    assert_minima(Z, values, method, metric)


@pytest.mark.parametrize(("method", "metric"), [*PAIRS, *TRUTHS])
def test_nothing_but_the_tree_decides_on_bits(client, method, metric):
    values = np.random.default_rng(6).normal(size=(700, 31))
    keywords = {}
    if metric in ("hamming", "russellrao"):
        values = values > 0.5
        keywords = {"w": np.random.default_rng(7).random(31)}
    if metric == "spearman":
        # Ranks of few features would be at equal distances.
        values = np.random.default_rng(6).normal(size=(150, 1000))
    expected = tree_of(values, method, metric, keywords=keywords, n_neighbors=16)
    for n_neighbors, most_clusters in ((4, 700), (16, 60), (64, 40), (699, 1), (5, 1)):
        Z = tree_of(
            values,
            method,
            metric,
            keywords=keywords,
            n_neighbors=n_neighbors,
            most_clusters=most_clusters,
            threads=2,
            executor=ThreadsExecutor(3),
        )
        np.testing.assert_array_equal(Z, expected)
    for executor in (ThreadsExecutor(2), DaskExecutor(client)):
        Z = tree_of(values, method, metric, keywords=keywords, executor=executor)
        np.testing.assert_array_equal(Z, expected)


def test_lists_are_made_anew_rather_than_a_square(monkeypatch):
    values = np.random.default_rng(17).normal(size=(600, 8))
    expected = tree_of(values, "ward", "euclidean")
    squares, lists = [], []
    real_square, real_lists = SummarySource.square, SummarySource.nearest_clusters

    def square(self, *args):
        squares.append(real_square(self, *args))
        return squares[-1]

    def nearest_clusters(self, *args):
        lists.append(args[3])
        return real_lists(self, *args)

    monkeypatch.setattr(SummarySource, "square", square)
    monkeypatch.setattr(SummarySource, "nearest_clusters", nearest_clusters)
    np.testing.assert_array_equal(tree_of(values, "ward", "euclidean", n_neighbors=4), expected)
    without = len(squares[-1])
    assert len(lists) == 0
    monkeypatch.setattr(summary_tree_module, "_FEW_CLUSTERS", 20)
    np.testing.assert_array_equal(tree_of(values, "ward", "euclidean", n_neighbors=4), expected)
    assert len(squares[-1]) < without
    assert len(lists) > 1


@pytest.mark.parametrize(("method", "metric"), [*PAIRS[:3], ("weighted", "sqeuclidean")])
def test_identical_rows_are_one_cluster(method, metric):
    rng = np.random.default_rng(8)
    values = rng.normal(size=(90, 5))[rng.integers(0, 90, 300)]
    duplicates = find_duplicates(ArraySource(values), SerialExecutor(), Progress(), name="d")
    Z = tree_of(values, method, metric, duplicates=duplicates, n_neighbors=9)
    expected = linkage(condensed_of(values, metric), method)
    assert is_valid_linkage(Z)
    lost = lost_by_scipy(metric)
    np.testing.assert_allclose(cophenet(Z), cophenet(expected), rtol=1e-10, atol=lost)


def test_near_cosines_keep_their_digits():
    rng = np.random.default_rng(9)
    base = rng.normal(size=12)
    values = base + 1e-6 * rng.normal(size=(60, 12))
    exact = values.astype(np.longdouble)
    exact /= np.sqrt((exact * exact).sum(axis=1))[:, None]
    rows, columns = np.triu_indices(60, 1)
    distances = (((exact[rows] - exact[columns]) ** 2).sum(axis=1) / 2).astype(np.float64)
    assert distances.max() < 1e-10
    for method in ("average", "weighted"):
        expected = linkage(distances, method)
        Z = tree_of(values, method, "cosine")
        np.testing.assert_allclose(Z[:, 2], expected[:, 2], rtol=1e-9)
        np.testing.assert_array_equal(clades(Z), clades(expected))


@pytest.mark.parametrize("dtype", [np.float32, np.int16, np.float64])
def test_heights_are_float64_whatever_the_matrix_holds(dtype):
    values = (1000 * np.random.default_rng(10).normal(size=(300, 11))).astype(dtype)
    assert_tree(tree_of(values, "ward", "euclidean"), values, "ward", "euclidean")


@pytest.mark.parametrize(("method", "metric"), [p for p in PAIRS if p[1] != "spearman"])
def test_features_have_weights_and_are_normalized(method, metric):
    values = np.random.default_rng(11).normal(size=(120, 7)) * np.arange(1, 8)
    weights = np.array([0.5, 2.0, 0.0, 1.0, 3.0, 0.25, 1.5])
    Z = tree_of(values, method, metric, keywords={"w": weights})
    assert_tree(Z, values, method, metric, w=weights)
    Z = tree_of(values, method, metric, z_score=True)
    scored = (values - values.mean(axis=0)) / values.std(axis=0, ddof=1)
    assert_tree(Z, scored, method, metric)


@pytest.mark.parametrize("size", [1e-170, 1e-300, 1e-307, 1e160, 1e300])
def test_values_whose_squares_are_no_doubles(size):
    values = np.random.default_rng(12).normal(size=(80, 4))
    expected = linkage(pdist(values), "ward")
    Z = tree_of(size * values, "ward", "euclidean")
    np.testing.assert_allclose(Z[:, 2], size * expected[:, 2], rtol=1e-10)
    np.testing.assert_array_equal(clades(Z), clades(expected))


def test_distances_that_overflow_are_refused():
    values = np.random.default_rng(13).normal(size=(20, 4))
    given = dataclasses.replace(
        distances_of(values, "sqeuclidean"), source=ArraySource(values * 1e200)
    )
    with pytest.raises(DataValueError, match=r"the rows span .*e\+200, and distances .* overflow"):
        summary_tree(
            given,
            "average",
            None,
            limits=Limits(most_clusters=9),
            executor=SerialExecutor(),
            progress=Progress(),
            name="linkage-row",
        )


@pytest.mark.parametrize(
    ("method", "metric"), [("average", "euclidean"), ("complete", "cosine"), ("average", "hamming")]
)
def test_others_have_no_summaries(method, metric):
    assert not summaries_serve(method, metric)
    with pytest.raises(DataValueError, match=f"{method} linkage with {metric} distances are not"):
        tree_of(np.random.default_rng(0).normal(size=(5, 3)), method, metric)


def test_features_may_come_in_slabs():
    values = np.random.default_rng(14).normal(size=(130, 50))
    expected = tree_of(values, "average", "correlation")
    given = distances_of(values, "correlation")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_reader, "pass_block", lambda shape, chunks: (17, 9))
        Z = summary_tree(
            given,
            "average",
            None,
            limits=Limits(most_clusters=130, n_neighbors=16),
            executor=SerialExecutor(),
            progress=Progress(),
            name="linkage-row",
        )
    np.testing.assert_array_equal(Z, expected)


def test_progress_counts_rows_and_merges():
    events = []
    values = np.random.default_rng(15).normal(size=(500, 4))
    tree_of(values, "ward", "euclidean", progress=Progress(events.append))
    finished = {event.stage: event for event in events if event.state == "finished"}
    assert finished["linkage-row-rows"].done == 500
    assert finished["linkage-row"].done == 499


@pytest.mark.slow
@pytest.mark.parametrize(("n", "k"), [(30_000, 40), (6_000, 1_500)])
@pytest.mark.parametrize(("method", "metric"), [("ward", "euclidean"), ("average", "correlation")])
def test_memory_is_what_was_said(method, metric, n, k):
    import tracemalloc

    values = np.random.default_rng(16).normal(size=(n, k))
    given = distances_of(values, metric)
    memory = RowTreeMemory(n=n, k=k, way="summaries")
    allowed = memory.least_bytes + 10_000_000
    limits = memory.limits(allowed)
    assert limits.most_clusters < n // 3

    def tree():
        return summary_tree(
            given,
            method,
            None,
            limits=limits,
            executor=SerialExecutor(),
            progress=Progress(),
            name="linkage-row",
        )

    tree()
    tracemalloc.start()
    try:
        tree()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    said = memory.rows_bytes + memory.task_bytes + allowed
    assert said / 3 < peak <= said

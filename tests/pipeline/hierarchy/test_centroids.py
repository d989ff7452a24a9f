"""Centroid and median linkage of points, against SciPy and against all pairs at every step."""

from concurrent.futures import Executor, Future

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.cluster.hierarchy import cophenet, is_valid_linkage, linkage
from scipy.spatial.distance import cdist, pdist

from clustergrid.pipeline.hierarchy import (
    Duplicates,
    Merges,
    Start,
    _product_sieve,
    centroids,
    linkage_matrix,
)
from clustergrid.pipeline.hierarchy._panels import LANES, fill_panels, join_lists, scan_panels
from clustergrid.pipeline.hierarchy.centroids import cluster_points
from clustergrid.storage.errors import DataTypeError, DataValueError
from tests.pipeline.hierarchy.kinds import (
    KINDS,
    UNTIED,
    assert_every_merge_is_a_minimum,
    clades,
)

METHODS = ("centroid", "median")


def our_linkage(points, method, **options):
    merges = cluster_points(points, method, **options)
    return linkage_matrix(merges, len(points), monotonic=False)


def squared_distances(rows, others):
    """Sums over the features in their order, as the engine adds them."""
    sums = np.zeros((len(rows), len(others)))
    for f in range(rows.shape[1]):
        sums += np.square(rows[:, f, None] - others[:, f])
    return sums


def by_all_pairs(points, method, sizes=None):
    """Merge the nearest of all pairs, of equal ones that of the lowest points, until one is left.

    To the bit: a union is where the engine puts it.
    """
    rows, scale = centroids._conditioned(points)
    sizes = np.ones(len(rows)) if sizes is None else sizes.astype(float)
    squared = squared_distances(rows, rows)
    squared[np.tril_indices(len(rows))] = np.inf
    merges = []
    for _ in range(len(rows) - 1):
        # Row-major: the first of the least has the lowest rows.
        one, other = np.unravel_index(np.argmin(squared), squared.shape)
        merges.append((one, other, np.sqrt(squared[one, other]) / scale))
        live = np.isfinite(squared).any(axis=0) | np.isfinite(squared).any(axis=1)
        share = 0.5 if method == "median" else sizes[one] / (sizes[one] + sizes[other])
        rows[one] += (1.0 - share) * (rows[other] - rows[one])
        sizes[one] += sizes[other]
        live[other] = False
        squared[other], squared[:, other] = np.inf, np.inf
        again = np.where(live, squared_distances(rows[[one]], rows)[0], np.inf)
        squared[one, one + 1 :] = again[one + 1 :]
        squared[:one, one] = again[:one]
    first, second, height = (np.array(values) for values in zip(*merges, strict=True))
    return Merges(first=first, second=second, height=height)


def assert_same(one, other):
    for field in ("first", "second", "height"):
        np.testing.assert_array_equal(getattr(one, field), getattr(other, field))


@pytest.mark.parametrize("n", [2, 3, 90, 1300])
@pytest.mark.parametrize("kind", UNTIED)
def test_trees_are_scipys(kind, n):
    points = UNTIED[kind](np.random.default_rng(n), n)
    for method in METHODS:
        Z = our_linkage(points, method, threads=2)
        expected = linkage(pdist(points), method)
        assert is_valid_linkage(Z)
        scale = np.abs(points).max()
        np.testing.assert_allclose(Z[:, 2], expected[:, 2], rtol=1e-10, atol=1e-14 * scale)
        np.testing.assert_array_equal(clades(Z), clades(expected), err_msg=method)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_merge_is_a_minimum(kind, method):
    points = KINDS[kind](np.random.default_rng(0), 25)
    assert_every_merge_is_a_minimum(our_linkage(points, method), pdist(points), method)


@pytest.mark.parametrize("n", [2, 3, 60, 400])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", KINDS)
def test_merges_are_those_of_all_pairs(kind, method, n):
    points = KINDS[kind](np.random.default_rng(n), n)
    assert_same(cluster_points(points, method, threads=2), by_all_pairs(points, method))


@settings(max_examples=100, deadline=None)
@given(
    n=st.integers(2, 90),
    k=st.integers(0, 3),
    largest=st.integers(0, 6),
    method=st.sampled_from(METHODS),
    length=st.integers(1, 8),
    queries=st.integers(1, 5),
    sized=st.booleans(),
)
@example(n=70, k=1, largest=0, method="centroid", length=1, queries=1, sized=True)
def test_ties_go_to_the_lowest_points(n, k, largest, method, length, queries, sized):
    rng = np.random.default_rng(n + 100 * largest)
    points = rng.integers(0, largest + 1, (n, k)).astype(float)
    start, sizes = None, None
    if sized:
        sizes = rng.integers(1, 5, n)
        total = sizes.sum() - n
        # Which observations merged before is of no interest here.
        before = Merges(
            first=np.zeros(total, int), second=np.zeros(total, int), height=np.zeros(total)
        )
        start = Start(sizes=sizes, rows=np.arange(n), merges=before)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(centroids, "LIST_LENGTH", length)
        patch.setattr(centroids, "_QUERIES", queries)
        found = cluster_points(points, method, start=start)
    assert_same(found, by_all_pairs(points, method, sizes))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["normal", "hub", "integers", "low rank"])
def test_neither_threads_nor_pieces_change_a_bit(monkeypatch, kind, method):
    points = KINDS[kind](np.random.default_rng(1), 900)
    expected = cluster_points(points, method)
    assert_same(cluster_points(points, method, threads=3), expected)
    for name, value in (
        ("_VALUES_A_THREAD", 1),
        ("_VALUES_A_PIECE", 4),
        ("_VALUES_OF_PRODUCTS", 4),
        ("_SMALLEST_PACKED", 2),
        ("_SMALLEST_PACKED", 10**9),
        ("_QUERIES", 1),
        ("_QUERIES", 200),
        ("LIST_LENGTH", 3),
        ("LIST_LENGTH", 100),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(centroids, name, value)
            assert_same(cluster_points(points, method, threads=2), expected)


class NeverRuns(Executor):
    """Threads of a machine that is so busy that none of them ever comes to run."""

    n_submitted = 0

    def submit(self, function, *arguments):
        self.n_submitted += 1
        return Future()


def test_no_thread_is_waited_for_that_has_not_begun(monkeypatch):
    points = UNTIED["normal"](np.random.default_rng(5), 900)
    expected = cluster_points(points, "centroid")
    pool = NeverRuns()
    monkeypatch.setattr(centroids, "_VALUES_A_THREAD", 64)
    monkeypatch.setattr(centroids, "ThreadPoolExecutor", lambda *options: pool)
    assert_same(cluster_points(points, "centroid", threads=3), expected)
    assert pool.n_submitted > 100


@pytest.mark.parametrize("kind", ["normal", "hub", "integers", "far apart", "offset"])
def test_products_only_sieve(monkeypatch, kind):
    points = KINDS[kind](np.random.default_rng(12), 2000)
    passing = []
    real = _product_sieve._list_passing

    def spy(*args):
        passing.append(real(*args))
        return passing[-1]

    monkeypatch.setattr(_product_sieve, "_list_passing", spy)
    expected = cluster_points(points, "centroid")
    is_used = any(passing)
    assert is_used or kind in ("hub", "integers")
    monkeypatch.setattr(_product_sieve, "_list_passing", lambda *args: False)
    assert_same(cluster_points(points, "centroid"), expected)
    monkeypatch.setattr(_product_sieve, "_list_passing", lambda *args: True)
    if kind == "normal":
        assert (cluster_points(points, "centroid").height != expected.height).any()


@pytest.mark.parametrize("method", METHODS)
def test_order_of_points_does_not_matter(method):
    points = KINDS["low rank"](np.random.default_rng(3), 300)
    shuffle = np.random.default_rng(4).permutation(300)
    heights = cluster_points(points, method).height
    np.testing.assert_allclose(cluster_points(points[shuffle], method).height, heights, rtol=1e-11)


@pytest.mark.parametrize("scale", [2.0**-1020, 1e-200, 1e200])
@pytest.mark.parametrize("method", METHODS)
def test_squares_neither_overflow_nor_vanish(method, scale):
    points = np.random.default_rng(5).normal(size=(80, 4))
    expected = cluster_points(points, method)
    found = cluster_points(points * scale, method)
    np.testing.assert_array_equal(found.first, expected.first)
    np.testing.assert_allclose(found.height / scale, expected.height, rtol=1e-10)


@pytest.mark.parametrize("method", METHODS)
def test_identical_rows_are_one_cluster_of_that_size(method):
    rng = np.random.default_rng(7)
    distinct, n = 60, 150
    of = np.concatenate([np.arange(distinct), rng.integers(0, distinct, n - distinct)])
    points, place = rng.normal(size=(distinct, 4)), rng.permutation(n)
    full = np.empty((n, 4))
    full[place] = points[of]
    duplicates = Duplicates(
        kept=place[:distinct], duplicate_of=place[of[distinct:]], row=place[distinct:]
    )
    merges = cluster_points(points, method, start=duplicates.start)
    Z = linkage_matrix(merges, n, duplicates=duplicates, monotonic=False)
    assert is_valid_linkage(Z)
    expected = linkage(pdist(full), method)
    np.testing.assert_allclose(cophenet(Z), cophenet(expected), rtol=1e-10, atol=1e-12)


def test_sizes_past_32_bits():
    # SciPy multiplies sizes as C integers: 60,000 squared would be negative.
    sizes = np.array([60_000, 60_000, 1])
    none = np.zeros(sizes.sum() - 3, int)
    before = Merges(first=none, second=none, height=none.astype(float))
    start = Start(sizes=sizes, rows=np.arange(3), merges=before)
    merges = cluster_points(np.array([[0.0], [1.0], [7.5]]), "centroid", start=start)
    np.testing.assert_allclose(merges.height, [1.0, 7.0])


def test_a_large_cluster_looks_only_now_and_then(monkeypatch):
    queries = []
    real = centroids._Passes.over

    def spy(passes, clusters, places, left_out):
        queries.append(len(places))
        return real(passes, clusters, places, left_out)

    monkeypatch.setattr(centroids._Passes, "over", spy)
    rng = np.random.default_rng(8)
    # A ball, whose centre takes in one point after another.
    points = rng.normal(size=(2000, 10))
    points *= rng.uniform(0.01, 1.0, 2000)[:, None] / np.linalg.norm(points, axis=1)[:, None]
    cluster_points(points, "centroid")
    assert len(queries) < 2000 / 4


@pytest.mark.parametrize("threads", [1, 2])
def test_progress_ends_at_the_last_merge(monkeypatch, threads):
    monkeypatch.setattr(centroids, "_VALUES_A_PIECE", 20_000)
    calls = []
    points = np.random.default_rng(9).normal(size=(600, 5))
    merges = cluster_points(
        points, "centroid", threads=threads, progress=lambda *call: calls.append(call)
    )
    assert len(calls) > 10
    assert calls == sorted(calls)
    assert calls[-1] == (599, 599, merges.height.max())


@pytest.mark.parametrize("after", [0, 20])
@pytest.mark.parametrize("threads", [1, 3])
def test_interrupt_ends_the_clustering(monkeypatch, threads, after):
    monkeypatch.setattr(centroids, "_VALUES_A_PIECE", 20_000)
    seen = []

    def interrupt(done, total, height):
        seen.append(done)
        if done >= after:
            raise KeyboardInterrupt

    points = np.random.default_rng(10).normal(size=(400, 5))
    with pytest.raises(KeyboardInterrupt):
        cluster_points(points, "median", threads=threads, progress=interrupt)
    assert seen[-1] < 399


def test_one_point_takes_no_merge():
    assert len(cluster_points(np.zeros((1, 4)), "centroid").height) == 0


def test_points_are_left_as_they_are():
    points = np.random.default_rng(11).normal(size=(50, 3))
    before = points.copy()
    cluster_points(points, "median")
    np.testing.assert_array_equal(points, before)


def test_points_that_cannot_be_clustered():
    points = np.zeros((4, 2))
    with pytest.raises(DataValueError, match="centroid or median, not by 'ward'"):
        cluster_points(points, "ward")
    with pytest.raises(DataTypeError, match="float32"):
        cluster_points(points.astype(np.float32), "centroid")
    with pytest.raises(DataValueError, match=r"shape \(4,\)"):
        cluster_points(points[:, 0], "centroid")
    with pytest.raises(DataValueError, match="4 points are as many clusters, got 3"):
        cluster_points(points, "centroid", start=Start.observations(3))
    for bad in (np.nan, np.inf, -np.inf):
        points[2, 1] = bad
        with pytest.raises(DataValueError, match="at row 2, feature 1"):
            cluster_points(points, "centroid")


@settings(max_examples=30, deadline=None)
@given(n=st.integers(1, 200), k=st.integers(0, 40), m=st.integers(1, 5), tied=st.booleans())
def test_passes_list_the_nearest(n, k, m, tied):
    rng = np.random.default_rng(n)
    rows, queries = rng.normal(size=(n, k)), rng.normal(size=(m, k))
    if tied:
        rows, queries = np.round(rows), np.round(queries)
    n_panels = -(-n // LANES)
    panels = np.empty((n_panels, k, LANES))
    fill_panels(rows, panels, 0, n_panels)
    ids = np.arange(n)
    ids[rng.random(n) < 0.1] = -1
    limits, left_out = rng.integers(0, n + 1, m), rng.integers(0, n, (m, 2))
    labels = rng.permutation(n)

    def scan(start, stop):
        lists = np.empty((m, 6), np.int64), np.empty((m, 6)), np.zeros(m, np.int64)
        scan_panels(panels, ids, labels, start, stop, queries, limits, left_out, *lists)
        return lists

    halfway = n_panels // 2
    found = scan(0, halfway)
    join_lists(labels, *found, *scan(halfway, n_panels))
    distances = squared_distances(queries, rows) if k else np.zeros((m, n))
    np.testing.assert_allclose(distances, cdist(queries, rows, "sqeuclidean") if k else 0)
    for q in range(m):
        asked = [i for i in range(limits[q]) if ids[i] >= 0 and i not in left_out[q]]
        nearest = sorted(asked, key=lambda i: (distances[q, i], labels[i]))[:6]
        assert found[2][q] == len(nearest)
        np.testing.assert_array_equal(found[0][q, : len(nearest)], nearest)
        np.testing.assert_array_equal(found[1][q, : len(nearest)], distances[q, nearest])

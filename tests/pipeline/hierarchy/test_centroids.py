"""Centroid and median linkage of points, against SciPy and against all pairs at every step."""

from concurrent.futures import Executor, Future
from fractions import Fraction
from math import sqrt

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.cluster.hierarchy import cophenet, is_valid_linkage, linkage
from scipy.spatial.distance import cdist, pdist

from clustergrid.pipeline.hierarchy import (
    Duplicates,
    Merges,
    _product_sieve,
    centroids,
    linkage_matrix,
)
from clustergrid.pipeline.hierarchy._panels import (
    Lists,
    Queries,
    fill_panels,
    join_lists,
    open_centroids,
    scan_panels,
)
from clustergrid.pipeline.hierarchy.centroids import cluster_points
from clustergrid.storage.errors import DataTypeError, DataValueError
from tests.budget import examples
from tests.pipeline.hierarchy.kinds import (
    KINDS,
    UNTIED,
    assert_every_merge_is_a_minimum,
    clades,
)

pytestmark = pytest.mark.quick_cases(one_in=8)

METHODS = ("centroid", "median")


def _next_to(far, *near):
    """Values that are far smaller than another one."""
    return lambda rng, n: np.concatenate([np.array(near)[: n - 1], [far]])[:, None]


def _clusters_apart(distance):
    def points(rng, n):
        values = rng.normal(size=(n, 3))
        values[n // 2 :] += distance
        return values

    return points


WIDE = {
    "next to 1e6": _next_to(1e6, 1e-12, 2e-12),
    "next to 1 and 1e6": _next_to(1e6, 1e-8, 2e-8, 1.0),
    "next to 1e150": _next_to(1e150, 1e-150, 3e-150, 1e10),
    "powers of a third": lambda rng, n: 3.0 ** -rng.permutation(min(n, 33))[:, None],
    "lognormal": lambda rng, n: rng.lognormal(sigma=4, size=(n, 5)),
    "very heavy tails": lambda rng, n: rng.standard_t(0.5, size=(n, 4)),
    "farther apart": _clusters_apart(1e10),
    "one far": lambda rng, n: np.concatenate([rng.normal(size=(n - 1, 3)), np.full((1, 3), 1e13)]),
}
"""Kinds whose distances are lost, where coordinates are rounded to the largest of them."""


def our_linkage(points, method, **options):
    merges = cluster_points(points, method, **options)
    return linkage_matrix(merges, len(points), monotonic=False)


def squared_distances(rows, rests, others, other_rests):
    """Sums over the features in their order, as the engine adds them."""
    sums = np.zeros((len(rows), len(others)))
    for f in range(rows.shape[1]):
        apart = rows[:, f, None] - others[:, f]
        sums += np.square(apart + (rests[:, f, None] - other_rests[:, f]))
    return sums


def by_all_pairs(points, method, sizes=None):
    """Merge the nearest of all pairs, of equal ones that of the lowest points, until one is left.

    To the bit: a union is where the engine puts it, the sum of two doubles.
    """
    rows, rests = points.copy(), np.zeros_like(points)
    sizes = np.ones(len(rows)) if sizes is None else sizes.astype(float)
    squared = squared_distances(rows, rests, rows, rests)
    squared[np.tril_indices(len(rows))] = np.inf
    merges = []
    for _ in range(len(rows) - 1):
        # Row-major: the first of the least has the lowest rows.
        one, other = np.unravel_index(np.argmin(squared), squared.shape)
        merges.append((one, other, np.sqrt(squared[one, other])))
        live = np.isfinite(squared).any(axis=0) | np.isfinite(squared).any(axis=1)
        share = 0.5 if method == "median" else sizes[one] / (sizes[one] + sizes[other])
        step = (1.0 - share) * ((rows[other] - rows[one]) + (rests[other] - rests[one]))
        total = rows[one] + step
        taken = total - rows[one]
        lost = (rows[one] - (total - taken)) + (step - taken) + rests[one]
        rows[one] = total + lost
        rests[one] = lost - (rows[one] - total)
        sizes[one] += sizes[other]
        live[other] = False
        squared[other], squared[:, other] = np.inf, np.inf
        again = squared_distances(rows[[one]], rests[[one]], rows, rests)[0]
        again = np.where(live, again, np.inf)
        squared[one, one + 1 :] = again[one + 1 :]
        squared[:one, one] = again[:one]
    first, second, height = (np.array(values) for values in zip(*merges, strict=True))
    return Merges(first=first, second=second, height=height)


def exact_heights(points, method):
    """Heights without any rounding, but of the root."""
    clusters = [(tuple(map(Fraction, row)), 1) for row in points.tolist()]
    heights = []
    while len(clusters) > 1:
        pairs = [
            (sum((a - b) ** 2 for a, b in zip(one, other, strict=True)), i, j)
            for i, (one, _) in enumerate(clusters)
            for j, (other, _) in enumerate(clusters[:i])
        ]
        squared, i, j = min(pairs)
        heights.append(sqrt(squared))
        (one, m), (other, n) = clusters.pop(i), clusters.pop(j)
        share = Fraction(1, 2) if method == "median" else Fraction(m, m + n)
        union = (share * a + (1 - share) * b for a, b in zip(one, other, strict=True))
        clusters.append((tuple(union), m + n))
    return heights


def assert_same(one, other):
    for field in ("first", "second", "height"):
        np.testing.assert_array_equal(getattr(one, field), getattr(other, field))


@pytest.mark.parametrize("n", [2, 3, 90, 1300])
@pytest.mark.parametrize("kind", UNTIED | WIDE)
def test_trees_are_scipys(kind, n):
    points = (UNTIED | WIDE)[kind](np.random.default_rng(n), n)
    for method in METHODS:
        Z = our_linkage(points, method, threads=2)
        expected = linkage(pdist(points), method)
        assert is_valid_linkage(Z)
        np.testing.assert_allclose(Z[:, 2], expected[:, 2], rtol=1e-10)
        np.testing.assert_array_equal(clades(Z), clades(expected), err_msg=method)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", UNTIED | WIDE)
def test_heights_are_those_of_exact_arithmetic(kind, method):
    points = (UNTIED | WIDE)[kind](np.random.default_rng(6), 24)
    expected = exact_heights(points[:, :3], method)
    found = cluster_points(points[:, :3], method)
    np.testing.assert_allclose(found.height, expected, rtol=1e-13)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_merge_is_a_minimum(kind, method):
    points = KINDS[kind](np.random.default_rng(0), 25)
    assert_every_merge_is_a_minimum(our_linkage(points, method), pdist(points), method)


@pytest.mark.parametrize("n", [2, 3, 60, 400])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", KINDS | WIDE)
def test_merges_are_those_of_all_pairs(kind, method, n):
    points = (KINDS | WIDE)[kind](np.random.default_rng(n), n)
    assert_same(cluster_points(points, method, threads=2), by_all_pairs(points, method))


@pytest.mark.parametrize("length", [1, 2, 5])
@pytest.mark.parametrize("kind", ["integers", "normal", "powers of a third"])
@pytest.mark.parametrize("far", [1e13, 1e14])
def test_short_lists_lose_no_merge_beside_a_far_row(monkeypatch, far, kind, length):
    monkeypatch.setattr(centroids, "LIST_LENGTH", length)
    for seed in range(10):
        points = (KINDS | WIDE)[kind](np.random.default_rng(seed), 60)
        points = np.concatenate([points, np.full((1, points.shape[1]), far)])
        for method in METHODS:
            assert_same(cluster_points(points, method), by_all_pairs(points, method))


@settings(max_examples=examples(100), deadline=None)
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
    sizes = rng.integers(1, 5, n) if sized else None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(centroids, "LIST_LENGTH", length)
        patch.setattr(centroids, "_QUERIES", queries)
        found = cluster_points(points, method, sizes=sizes)
    assert_same(found, by_all_pairs(points, method, sizes))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["normal", "hub", "integers", "low rank", "farther apart"])
def test_neither_threads_nor_pieces_change_a_bit(monkeypatch, kind, method):
    points = (KINDS | WIDE)[kind](np.random.default_rng(1), 900)
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
    merges = cluster_points(points, method, sizes=duplicates.start.sizes)
    Z = linkage_matrix(merges, n, duplicates=duplicates, monotonic=False)
    assert is_valid_linkage(Z)
    expected = linkage(pdist(full), method)
    np.testing.assert_allclose(cophenet(Z), cophenet(expected), rtol=1e-10)


def test_sizes_past_32_bits():
    # SciPy multiplies sizes as C integers: 60,000 squared would be negative.
    sizes = np.array([60_000, 60_000, 1])
    merges = cluster_points(np.array([[0.0], [1.0], [7.5]]), "centroid", sizes=sizes)
    np.testing.assert_allclose(merges.height, [1.0, 7.0])


def test_a_large_cluster_looks_only_now_and_then(monkeypatch):
    queries = []
    real = centroids._Passes.over

    def spy(passes, clusters, places):
        queries.append(len(places.rows))
        return real(passes, clusters, places)

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
    with pytest.raises(DataValueError, match=r"4 points have as many sizes, got shape \(3,\)"):
        cluster_points(points, "centroid", sizes=np.ones(3, int))
    for bad in (np.nan, np.inf, -np.inf):
        points[2, 1] = bad
        with pytest.raises(DataValueError, match="at row 2, feature 1"):
            cluster_points(points, "centroid")


@settings(max_examples=examples(60), deadline=None)
@given(
    n=st.integers(1, 200),
    k=st.integers(0, 40),
    m=st.integers(1, 5),
    tied=st.booleans(),
    blur=st.sampled_from([0.0, 1e-17, 0.4]),
)
def test_passes_list_the_nearest(n, k, m, tied, blur):
    rng = np.random.default_rng(n)
    points, places = rng.normal(size=(n, k)), rng.normal(size=(m, k))
    if tied:
        points, places = np.round(points), np.round(places)
    rests, query_rests = blur * rng.normal(size=(n, k)), blur * rng.normal(size=(m, k))
    ids = np.arange(n)
    ids[rng.random(n) < 0.1] = -1
    opened = open_centroids(points)._replace(
        ids=ids, labels=rng.permutation(n), rests=rests, blurs=np.abs(rests).sum(axis=1)
    )
    n_panels = len(opened.panels)
    fill_panels(opened, 0, n_panels)
    queries = Queries(
        rows=places,
        rests=query_rests,
        blurs=np.abs(query_rests).sum(axis=1),
        limits=rng.integers(0, n + 1, m),
        left_out=rng.integers(0, n, (m, 2)),
    )

    def scan(start, stop):
        lists = Lists.empty(m, 6)
        scan_panels(opened, start, stop, queries, lists)
        return lists

    halfway = n_panels // 2
    found = scan(0, halfway)
    join_lists(opened.labels, found, scan(halfway, n_panels))
    distances = squared_distances(places, query_rests, points, rests)
    by_scipy = cdist(places + query_rests, points + rests, "sqeuclidean") if k else 0
    np.testing.assert_allclose(distances, by_scipy, rtol=1e-12, atol=1e-15)
    for q in range(m):
        asked = [
            i for i in range(queries.limits[q]) if ids[i] >= 0 and i not in queries.left_out[q]
        ]
        nearest = sorted(asked, key=lambda i: (distances[q, i], opened.labels[i]))[:6]
        assert found.counts[q] == len(nearest)
        np.testing.assert_array_equal(found.listed[q, : len(nearest)], nearest)
        np.testing.assert_array_equal(found.squared[q, : len(nearest)], distances[q, nearest])

"""The engines against SciPy, and where there are ties against a replay from the definitions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster.hierarchy import cophenet, is_valid_linkage, linkage
from scipy.spatial.distance import pdist, squareform

from clustergrid.pipeline.hierarchy import (
    METHODS,
    REDUCIBLE_METHODS,
    Duplicates,
    Merges,
    Start,
    _chain,
    _generic,
    _pieces,
    _spanning,
    _table,
    check_method,
    cluster_condensed,
    cluster_square,
    linkage_matrix,
    weigh_identical,
)
from clustergrid.storage.errors import DataTypeError, DataValueError
from tests.budget import examples
from tests.pipeline.hierarchy.kinds import (
    KINDS,
    TIED,
    UNTIED,
    assert_every_merge_is_a_minimum,
    assert_scipys,
    hub,
    low_rank,
    normal,
)

pytestmark = pytest.mark.quick_cases(one_in=8)


def _cut_into_pieces_of(monkeypatch, entries):
    for engine in (_chain, _generic, _pieces, _spanning, _table):
        monkeypatch.setattr(engine, "ENTRIES_A_PIECE", entries)


def our_linkage(condensed, method):
    n = round((1 + np.sqrt(1 + 8 * len(condensed))) / 2)
    merges = cluster_condensed(condensed, method)
    return linkage_matrix(merges, n, monotonic=method in REDUCIBLE_METHODS)


@pytest.mark.parametrize("n", [2, 3, 90, 1300])
@pytest.mark.parametrize("kind", KINDS)
def test_heights_and_clades_are_scipys(kind, n):
    condensed = pdist(KINDS[kind](np.random.default_rng(n), n))
    for method in METHODS:
        if kind in TIED and method in ("centroid", "median") and n > 3:
            continue  # ties are SciPy's heap's to break, and change the heights
        Z = our_linkage(condensed, method)
        assert_scipys(Z, condensed, method, untied=kind in UNTIED)
        if method == "complete" or (method == "single" and kind in UNTIED):
            np.testing.assert_array_equal(Z, linkage(condensed, method))


@pytest.mark.parametrize("n", [25, 130])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_merge_is_a_minimum(kind, method, n):
    condensed = pdist(KINDS[kind](np.random.default_rng(0), n))
    assert_every_merge_is_a_minimum(our_linkage(condensed, method), condensed, method)


@settings(max_examples=examples(60), deadline=None)
@given(data=st.data(), n=st.integers(2, 16), method=st.sampled_from(REDUCIBLE_METHODS))
def test_any_small_integer_distances(data, n, method):
    n_distances = n * (n - 1) // 2
    values = st.lists(st.integers(0, 4), min_size=n_distances, max_size=n_distances)
    condensed = np.array(data.draw(values))
    Z = our_linkage(condensed, method)
    assert_every_merge_is_a_minimum(Z, condensed, method)
    expected = linkage(condensed.astype(float), method)
    if method in ("single", "complete"):
        np.testing.assert_array_equal(Z[:, 2], expected[:, 2])
    if method == "complete":
        np.testing.assert_array_equal(Z, expected)


@settings(max_examples=examples(40), deadline=None)
@given(data=st.data(), n=st.integers(2, 16), method=st.sampled_from(("centroid", "median")))
def test_any_small_integer_points(data, n, method):
    coordinates = st.tuples(st.integers(0, 3), st.integers(0, 3))
    points = np.array(data.draw(st.lists(coordinates, min_size=n, max_size=n)))
    condensed = pdist(points)
    assert_every_merge_is_a_minimum(our_linkage(condensed, method), condensed, method)


@pytest.mark.parametrize("method", METHODS)
def test_order_of_rows_does_not_matter(method):
    rng = np.random.default_rng(3)
    D = squareform(pdist(low_rank(rng, 200)))
    shuffle = rng.permutation(200)
    heights = our_linkage(squareform(D), method)[:, 2]
    shuffled = our_linkage(squareform(D[np.ix_(shuffle, shuffle)]), method)[:, 2]
    np.testing.assert_allclose(np.sort(shuffled), np.sort(heights), rtol=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_float32_is_kept_and_decided_in_float64(method):
    condensed = pdist(normal(np.random.default_rng(4), 700)).astype(np.float32)
    Z = our_linkage(condensed, method)
    expected = linkage(condensed.astype(np.float64), method)
    if method in ("single", "complete"):
        np.testing.assert_array_equal(Z, expected)
    elif method in REDUCIBLE_METHODS:
        np.testing.assert_allclose(Z[:, 2], expected[:, 2], rtol=1e-5)
    else:
        # One merge decided otherwise in float32's last bits moves those above it.
        assert np.quantile(np.abs(Z[:, 2] / expected[:, 2] - 1), 0.9) < 1e-4


@pytest.mark.parametrize("method", METHODS)
def test_neither_pieces_nor_packing_change_a_bit(monkeypatch, method):
    condensed = pdist(hub(np.random.default_rng(6), 300))
    expected = our_linkage(condensed, method)
    _cut_into_pieces_of(monkeypatch, 1)
    for smallest in (2, 10**9):
        monkeypatch.setattr(_table, "_SMALLEST_PACKED", smallest)
        np.testing.assert_array_equal(our_linkage(condensed, method), expected)


@pytest.mark.parametrize("method", METHODS)
def test_clusters_of_identical_rows(method):
    rng = np.random.default_rng(7)
    distinct, n = 60, 150
    of = np.concatenate([np.arange(distinct), rng.integers(0, distinct, n - distinct)])
    points = rng.normal(size=(distinct, 4))
    place = rng.permutation(n)
    full = np.empty((n, 4))
    full[place] = points[of]
    duplicates = Duplicates(
        kept=place[:distinct], duplicate_of=place[of[distinct:]], row=place[distinct:]
    )
    square = squareform(pdist(points))
    weigh_identical(square, method, duplicates.start.sizes)
    merges = cluster_square(square, method, start=duplicates.start)
    Z = linkage_matrix(merges, n, duplicates=duplicates, monotonic=method in REDUCIBLE_METHODS)
    assert is_valid_linkage(Z)
    assert (Z[: n - distinct, 2] == 0).all()
    expected = linkage(pdist(full), method)
    np.testing.assert_allclose(cophenet(Z), cophenet(expected), rtol=1e-10)


def test_sizes_past_32_bits():
    # SciPy multiplies sizes as C integers: 60,000 squared would be negative.
    square = squareform(pdist(np.array([[0.0], [1.0], [7.5]])))
    start = Start(
        sizes=np.array([60_000, 60_000, 1]),
        rows=np.array([0, 60_000, 120_000]),
        merges=Merges.empty(119_998),
    )
    merges = cluster_square(square, "centroid", start=start)
    np.testing.assert_allclose(merges.height, [1.0, 7.0])


def test_progress_ends_at_the_last_merge(monkeypatch):
    condensed = pdist(normal(np.random.default_rng(8), 600))
    _cut_into_pieces_of(monkeypatch, 20_000)
    for method in METHODS:
        calls = []
        cluster_condensed(condensed, method, progress=lambda *call, to=calls: to.append(call))
        assert len(calls) > 10
        assert calls == sorted(calls)
        assert calls[-1][:2] == (599, 599)
        assert calls[-1][2] == pytest.approx(linkage(condensed, method)[:, 2].max())


@pytest.mark.parametrize("method", METHODS)
def test_interrupt_ends_the_clustering(monkeypatch, method):
    _cut_into_pieces_of(monkeypatch, 1000)

    def interrupt(done, total, height):
        if done > 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cluster_condensed(pdist(normal(np.random.default_rng(9), 200)), method, progress=interrupt)


def test_condensed_is_left_as_it_is_and_may_be_integer():
    condensed = np.array([3, 1, 2])
    np.testing.assert_array_equal(
        our_linkage(condensed, "average"), linkage(condensed.astype(float), "average")
    )
    np.testing.assert_array_equal(condensed, [3, 1, 2])


def test_one_row_takes_no_merge():
    for method in METHODS:
        assert len(cluster_square(np.zeros((1, 1)), method).height) == 0


def test_diagonal_is_not_looked_at():
    condensed = pdist(normal(np.random.default_rng(10), 30))
    for method in METHODS:
        square = squareform(condensed)
        np.fill_diagonal(square, np.nan)
        np.testing.assert_array_equal(
            cluster_square(square, method).height, cluster_condensed(condensed, method).height
        )


def test_unknown_method():
    for call in (check_method, lambda m: cluster_condensed(np.ones(3), m)):
        with pytest.raises(DataValueError, match=r"^Invalid method: foo$"):
            call("foo")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_condensed_must_be_finite(bad):
    condensed = np.ones(10)
    condensed[4] = bad
    words = "The condensed distance matrix must contain only finite values."
    with pytest.raises(DataValueError, match=words):
        cluster_condensed(condensed, "average")


@pytest.mark.parametrize("method", METHODS)
def test_square_without_finite_distances_is_refused(method):
    with pytest.raises(DataValueError, match="only finite values"):
        cluster_square(np.full((5, 5), np.nan), method)


def test_a_cycle_of_an_asymmetric_square_ends():
    square = np.array([[0.0, 1.0, 2.0], [2.0, 0.0, 1.0], [1.0, 2.0, 0.0]])
    with pytest.raises(DataValueError, match="symmetric"):
        cluster_square(square, "average")


def test_condensed_of_no_number_of_observations():
    words = "The number of observations cannot be determined on"
    with pytest.raises(DataValueError, match=rf"{words} an empty distance matrix\."):
        cluster_condensed(np.empty(0), "average")
    with pytest.raises(DataValueError, match=rf"{words} a condensed .* length 4: 3 .* have 3"):
        cluster_condensed(np.ones(4), "average")
    with pytest.raises(DataValueError, match="one dimension"):
        cluster_condensed(np.ones((3, 3)), "average")


def test_square_that_cannot_be_worked_on():
    with pytest.raises(DataTypeError, match="int64"):
        cluster_square(np.ones((3, 3), np.int64), "average")
    with pytest.raises(DataValueError, match="shape"):
        cluster_square(np.ones((3, 2)), "average")
    with pytest.raises(DataValueError, match="C-contiguous"):
        cluster_square(np.ones((3, 4))[:, :3], "average")
    with pytest.raises(DataValueError, match="3 rows has 3 clusters, got 2"):
        cluster_square(np.ones((3, 3)), "average", start=Start.observations(2))


def test_clusters_that_do_not_fit():
    def start(sizes, rows, n_merges):
        return Start(sizes=np.array(sizes), rows=np.array(rows), merges=Merges.empty(n_merges))

    with pytest.raises(DataValueError, match="at least 1, got 0 at cluster 1"):
        start([1, 0], [0, 1], 0)
    with pytest.raises(DataValueError, match=r"got shapes \(2,\) and \(3,\)"):
        start([1, 1], [0, 1, 2], 0)
    with pytest.raises(DataValueError, match="2 clusters of 5 observations take 3 merges, got 2"):
        start([4, 1], [0, 1], 2)
    with pytest.raises(DataTypeError, match="integers, got float64"):
        start([1.0, 1.0], [0, 1], 0)

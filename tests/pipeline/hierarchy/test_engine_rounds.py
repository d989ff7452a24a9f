"""Rounds of reciprocal nearest neighbours: SciPy's trees, whenever the chain takes over."""

import os
import signal
import threading
import time
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.cluster.hierarchy import linkage
from scipy.spatial.distance import pdist, squareform

from clustergrid.pipeline.hierarchy import (
    Merges,
    Start,
    _pieces,
    _rounds,
    _square,
    _table,
    cluster_condensed,
    cluster_square,
    engine,
    linkage_matrix,
)
from clustergrid.storage.errors import DataValueError
from tests.budget import examples
from tests.pipeline.hierarchy.kinds import (
    KINDS,
    UNTIED,
    assert_every_merge_is_a_minimum,
    assert_scipys,
    clades,
    definition,
    low_rank,
    normal,
)

pytestmark = pytest.mark.quick_cases(one_in=8)

METHODS = ("complete", "average", "weighted", "ward")


@pytest.fixture
def rounds_only(monkeypatch):
    """Rounds down to three clusters, however poor and however tied."""
    monkeypatch.setattr(_rounds, "_FEWEST_CLUSTERS", 3)
    monkeypatch.setattr(_rounds, "_MOST_CLUSTERS_A_MERGE", 10**9)
    monkeypatch.setattr(_square.Searched, "is_tied", False)


def tree(condensed, method, threads=1):
    n = round((1 + np.sqrt(1 + 8 * len(condensed))) / 2)
    return linkage_matrix(cluster_condensed(condensed, method, threads=threads), n)


def counted_rounds(monkeypatch):
    """Return a list that gets the number of merges of every round."""
    merges, pair = [], _rounds._pair

    def counting(live, n_logged):
        stop = pair(live, n_logged)
        merges.append(stop - n_logged)
        return stop

    monkeypatch.setattr(_rounds, "_pair", counting)
    return merges


@pytest.mark.parametrize("n", [2, 3, 90, 1300])
@pytest.mark.parametrize("kind", UNTIED)
def test_heights_and_clades_are_scipys(rounds_only, monkeypatch, kind, n):
    merges = counted_rounds(monkeypatch)
    condensed = pdist(UNTIED[kind](np.random.default_rng(n), n))
    for method in METHODS:
        merges.clear()
        Z = tree(condensed, method)
        assert sum(merges) >= 0.9 * len(Z) - 2
        assert_scipys(Z, condensed, method)
        if method == "complete":
            np.testing.assert_array_equal(Z, linkage(condensed, method))


# With hundreds of equal distances lists are full of them, and bounds are equal to the least.
@pytest.mark.parametrize("n", [25, 250])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_merge_is_a_minimum(rounds_only, kind, method, n):
    condensed = pdist(KINDS[kind](np.random.default_rng(0), n))
    assert_every_merge_is_a_minimum(tree(condensed, method), condensed, method)


@settings(
    max_examples=examples(60),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data(), n=st.integers(2, 16), method=st.sampled_from(METHODS))
def test_any_small_integer_distances(rounds_only, data, n, method):
    n_distances = n * (n - 1) // 2
    values = st.lists(st.integers(0, 4), min_size=n_distances, max_size=n_distances)
    condensed = np.array(data.draw(values), dtype=float)
    assert_every_merge_is_a_minimum(tree(condensed, method), condensed, method)


@settings(
    max_examples=examples(60),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    n=st.integers(2, 200),
    method=st.sampled_from(METHODS),
    dtype=st.sampled_from([np.float32, np.float64]),
    threads=st.integers(1, 4),
    kind=st.sampled_from(sorted(KINDS)),
    fewest=st.integers(1, 100),
    clusters_a_merge=st.sampled_from([1, 5, 20, 300, 10**9]),
    entries=st.sampled_from([1, 1000, 10**7]),
)
def test_neither_threads_nor_pieces_change_a_bit(
    rounds_only, monkeypatch, n, method, dtype, threads, kind, fewest, clusters_a_merge, entries
):
    condensed = pdist(KINDS[kind](np.random.default_rng(n), n)).astype(dtype)
    with monkeypatch.context() as patched:
        patched.setattr(_rounds, "_FEWEST_CLUSTERS", fewest)
        patched.setattr(_rounds, "_MOST_CLUSTERS_A_MERGE", clusters_a_merge)
        expected = tree(condensed, method)
        patched.setattr(_pieces, "ENTRIES_A_PIECE", entries)
        patched.setattr(_table, "ENTRIES_A_PIECE", entries)
        np.testing.assert_array_equal(tree(condensed, method, threads), expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("method", METHODS)
def test_the_same_bits_for_any_number_of_threads(method, dtype):
    n = _rounds._FEWEST_CLUSTERS + 500
    condensed = pdist(low_rank(np.random.default_rng(2), n)).astype(dtype)
    expected = tree(condensed, method)
    for threads in (2, 3, 7):
        np.testing.assert_array_equal(tree(condensed, method, threads), expected)
    scipys = linkage(condensed.astype(float), method)
    rtol = 1e-10 if dtype == np.float64 else 1e-4
    np.testing.assert_allclose(expected[:, 2], scipys[:, 2], rtol=rtol)


@pytest.mark.parametrize("fewest", [2, 30, 150, 299])
@pytest.mark.parametrize("method", METHODS)
def test_the_chain_may_take_over_anywhere(rounds_only, monkeypatch, method, fewest):
    condensed = pdist(low_rank(np.random.default_rng(3), 300))
    expected = linkage(condensed, method)
    monkeypatch.setattr(_rounds, "_FEWEST_CLUSTERS", fewest)
    Z = tree(condensed, method)
    np.testing.assert_allclose(Z[:, 2], expected[:, 2], rtol=1e-12)
    np.testing.assert_array_equal(clades(Z), clades(expected))


def _partial_start(rng, points, n_merges, method):
    """The tree's first merges, made by SciPy, and the distances between the clusters they leave."""
    condensed = pdist(points)
    n = len(points)
    Z = linkage(condensed, method)
    first, second = np.empty(n_merges, np.int64), np.empty(n_merges, np.int64)
    leaf, members = list(range(n)), {i: [i] for i in range(n)}
    weights = {i: np.eye(n)[i] for i in range(n)}
    for t in range(n_merges):
        a, b = Z[t, :2].astype(int)
        leaf.append(leaf[a])
        first[t], second[t] = leaf[a], leaf[b]
        share = 0.5 if method in ("weighted", "median") else len(members[a]) / Z[t, 3]
        weights[n + t] = share * weights.pop(a) + (1 - share) * weights.pop(b)
        members[n + t] = members.pop(a) + members.pop(b)
    ids = rng.permutation(list(members))
    start = Start(
        sizes=np.array([len(members[i]) for i in ids]),
        rows=np.array([members[i][-1] for i in ids]),
        merges=Merges(first=first, second=second, height=Z[:n_merges, 2]),
    )
    square = definition(method, squareform(condensed), np.array([weights[i] for i in ids]))
    return start, (square + square.T) / 2, Z


@settings(
    max_examples=examples(50),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    seed=st.integers(0, 2**16),
    n=st.integers(2, 60),
    share=st.floats(0, 1),
    method=st.sampled_from(("single", *METHODS, "centroid", "median")),
    threads=st.integers(1, 3),
)
def test_a_tree_goes_on_from_clusters(rounds_only, seed, n, share, method, threads):
    rng = np.random.default_rng(seed)
    start, square, Z = _partial_start(rng, rng.normal(size=(n, 5)), round(share * (n - 1)), method)
    merges = cluster_square(square, method, start=start, threads=threads)
    assert len(merges.height) == len(start.sizes) - 1
    monotonic = method not in ("centroid", "median")
    ours = linkage_matrix(start.expand(merges), n, monotonic=monotonic)
    np.testing.assert_allclose(ours[:, 2], Z[:, 2], rtol=1e-9)
    np.testing.assert_array_equal(clades(ours), clades(Z))


@pytest.mark.parametrize("method", METHODS)
def test_order_of_rows_does_not_matter(rounds_only, method):
    rng = np.random.default_rng(4)
    D = squareform(pdist(low_rank(rng, 250)))
    shuffle = rng.permutation(250)
    heights = tree(squareform(D), method)[:, 2]
    shuffled = tree(squareform(D[np.ix_(shuffle, shuffle)]), method)[:, 2]
    np.testing.assert_allclose(shuffled, heights, rtol=1e-12)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("method", METHODS)
def test_an_asymmetric_square_ends(rounds_only, method, threads):
    rng = np.random.default_rng(5)
    for n in (3, 5, 40, 200):
        square = rng.integers(1, 6, (n, n)).astype(float) + rng.random((n, n))
        # A tree of one half or the other, or an error; but an end.
        with suppress(DataValueError):
            assert len(cluster_square(square, method, threads=threads).height) == n - 1


@pytest.mark.parametrize("method", ["single", *METHODS, "centroid", "median"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_one_value_that_is_not_finite_is_refused(method, bad):
    square = squareform(pdist(normal(np.random.default_rng(6), 90)))
    square[70, 3] = square[3, 70] = bad
    with pytest.raises(DataValueError, match="only finite values"):
        cluster_square(square, method)


@pytest.mark.parametrize("scale", [1e-25, 1e25])
def test_ward_of_distances_whose_squares_have_no_float32(monkeypatch, scale):
    monkeypatch.setattr(_rounds, "_FEWEST_CLUSTERS", 10)
    merges = counted_rounds(monkeypatch)
    condensed = pdist(low_rank(np.random.default_rng(7), 200))
    expected = linkage(condensed, "ward")
    Z = tree((condensed * scale).astype(np.float32), "ward")
    np.testing.assert_allclose(Z[:, 2] / scale, expected[:, 2], rtol=1e-4)
    assert not merges
    tree(condensed.astype(np.float32), "ward")
    assert sum(merges) > 100


def test_ties_are_the_chains(monkeypatch):
    # Which of several trees is made is then SciPy's choice.
    monkeypatch.setattr(_rounds, "_FEWEST_CLUSTERS", 10)
    merges = counted_rounds(monkeypatch)
    condensed = pdist(np.random.default_rng(8).integers(0, 5, (300, 4)).astype(float))
    np.testing.assert_array_equal(tree(condensed, "complete"), linkage(condensed, "complete"))
    assert not merges


def test_most_clusters_are_searched_once(monkeypatch):
    monkeypatch.setattr(_rounds, "_FEWEST_CLUSTERS", 100)
    searched, want = [], _rounds._want

    def counting(live, wanted):
        searched.append(want(live, wanted))
        return searched[-1]

    monkeypatch.setattr(_rounds, "_want", counting)
    tree(pdist(low_rank(np.random.default_rng(9), 2000)), "average")
    assert sum(searched) < 2000


@pytest.mark.parametrize("kind", ["hub", "powers of 3"])
def test_poor_rounds_are_few(monkeypatch, kind):
    """Where one cluster absorbs the others one by one, the chain takes over."""
    merges = counted_rounds(monkeypatch)
    n = 3000
    if kind == "hub":
        points = np.random.default_rng(10).normal(size=(n, 40))
        points *= 1.001 ** np.arange(n)[:, None]
        points[0] = 0
        condensed = pdist(points)
    else:
        condensed = pdist(3.0 ** (np.arange(n) / 10.0)[:, None])
    for method in ("average", "complete"):
        merges.clear()
        Z = tree(condensed, method)
        np.testing.assert_allclose(Z[:, 2], linkage(condensed, method)[:, 2], rtol=1e-10)
        assert len(merges) < 100


def test_progress_tells_clusters_and_height(rounds_only, monkeypatch):
    monkeypatch.setattr(_pieces, "ENTRIES_A_PIECE", 1000)
    condensed = pdist(low_rank(np.random.default_rng(11), 300))
    for threads in (1, 2):
        calls = []
        merges = cluster_condensed(
            condensed, "average", threads=threads, progress=lambda *call, to=calls: to.append(call)
        )
        assert calls == sorted(calls)
        assert calls[-1] == (299, 299, merges.height.max())
        assert len({done for done, _, _ in calls}) > 5


@pytest.mark.parametrize("threads", [1, 2])
def test_what_progress_raises_ends_it_without_threads_left(rounds_only, monkeypatch, threads):
    monkeypatch.setattr(_pieces, "ENTRIES_A_PIECE", 1000)
    before = threading.active_count()

    def interrupt(done, total, height):
        if done > 100:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cluster_condensed(
            pdist(low_rank(np.random.default_rng(12), 400)),
            "average",
            threads=threads,
            progress=interrupt,
        )
    assert threading.active_count() == before


@pytest.mark.slow
@pytest.mark.parametrize("method", ["average", "ward"])
def test_ctrl_c_acts_at_once(method):
    points = np.random.default_rng(13).normal(size=(9000, 8)).astype(np.float32)
    condensed = pdist(points).astype(np.float32)
    cluster_condensed(condensed[: 2500 * 2499 // 2], method, threads=2)
    signalled = []

    def signal_soon():
        time.sleep(0.15)
        signalled.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    timer = threading.Thread(target=signal_soon)

    def cluster_for_long():
        timer.start()
        while True:
            cluster_condensed(condensed, method, threads=2)

    with pytest.raises(KeyboardInterrupt):
        cluster_for_long()
    assert time.monotonic() - signalled[0] < 1.0
    timer.join()


def test_the_engine_needs_no_more_than_the_square(monkeypatch):
    """In place: nothing but vectors is allocated beside the square."""
    import tracemalloc

    n = 1500
    square = squareform(pdist(low_rank(np.random.default_rng(14), n)))
    monkeypatch.setattr(_rounds, "_FEWEST_CLUSTERS", 100)
    cluster_square(square.copy(), "average", threads=2)
    tracemalloc.start()
    engine.cluster_square(square, "average", threads=2)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.1 * square.nbytes

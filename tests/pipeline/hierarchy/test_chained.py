"""The chain on rows that are fetched: SciPy's trees, within a memory limit, and always an end."""

import threading
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster.hierarchy import cophenet, is_valid_linkage, linkage
from scipy.spatial.distance import pdist, squareform

from clustergrid.pipeline.errors import MemoryLimitError
from clustergrid.pipeline.hierarchy import (
    REDUCIBLE_METHODS,
    Duplicates,
    Start,
    chained,
    condensed,
    linkage_matrix,
)
from clustergrid.pipeline.hierarchy._clusters import open_clusters
from clustergrid.pipeline.hierarchy.certified import Limits, cluster_certified, merge_certified
from clustergrid.pipeline.hierarchy.chained import merge_by_chain
from clustergrid.pipeline.hierarchy.condensed import CondensedSource
from clustergrid.pipeline.hierarchy.reached import Report
from clustergrid.storage.errors import DataValueError
from tests.budget import examples
from tests.pipeline.hierarchy.kinds import (
    KINDS,
    UNTIED,
    assert_every_merge_is_a_minimum,
    assert_scipys,
)

pytestmark = pytest.mark.quick_cases(one_in=8)


def _near_zero_rows(rng, n):
    points = rng.gamma(0.5, 3, size=(n, 12)) * rng.gamma(0.3, 5, size=(n, 1))
    points[rng.permutation(n)[: (2 * n) // 5]] *= 1e-7
    return points


def _constant_rows(rng, n):
    points = _near_zero_rows(rng, n)
    points[rng.permutation(n)[: n // 4]] = 0
    return points


HUBS = {
    "near-zero rows": _near_zero_rows,
    "constant rows": _constant_rows,
    "noise in 1,000 dimensions": lambda rng, n: rng.normal(size=(n, 1000)),
}


class Counting:
    """A source that counts what it is asked for."""

    def __init__(self, distances, *, threads=1):
        self._source = CondensedSource(distances, threads=threads)
        self.n = self._source.n
        self.batches = []
        self.n_distances = 0

    def nearest_points(self, *asked):
        self.n_distances += self.n * (self.n - 1) // 2
        return self._source.nearest_points(*asked)

    def nearest_clusters(self, clusters, method, n_neighbors, owners, pause):
        self.n_distances += self._points_of(clusters, owners).sum() * (self.n - 1)
        return self._source.nearest_clusters(clusters, method, n_neighbors, owners, pause)

    def distances(self, clusters, method, first, second, pause):
        points = self._points_of(clusters, first) * self._points_of(clusters, second)
        self.n_distances += points.sum()
        return self._source.distances(clusters, method, first, second, pause)

    def rows(self, clusters, method, owners, pause):
        assert clusters.live[owners].all()
        assert (np.diff(owners) > 0).all()
        self.n_distances += self._points_of(clusters, owners).sum() * (self.n - 1)
        self.batches.append(len(owners))
        return self._source.rows(clusters, method, owners, pause)

    def square(self, *asked):
        return self._source.square(*asked)

    def _points_of(self, clusters, owners):
        n_points = []
        for owner in owners:
            members = [owner]
            while (following := clusters.next_member[members[-1]]) >= 0:
                members.append(following)
            n_points.append(len(members))
        return np.array(n_points)


def limits_of(n, *, rows, most_clusters=1, n_neighbors=2, threads=1):
    return Limits(
        most_clusters=most_clusters,
        n_neighbors=n_neighbors,
        rows_bytes=8 * n * rows,
        threads=threads,
    )


def chain_tree(distances, method, *, rows, source=None, start=None):
    """Return the tree that the chain makes by itself."""
    source = CondensedSource(distances) if source is None else source
    start = Start.observations(source.n) if start is None else start
    clusters = open_clusters(start.sizes, method)
    limits = limits_of(source.n, rows=rows)
    made = merge_by_chain(source, clusters, method, limits=limits, report=Report(None, source.n))
    assert np.count_nonzero(clusters.live) == 1
    assert (made.merges.first < made.merges.second).all()
    return linkage_matrix(start.expand(made.merges), start.n_observations)


@pytest.mark.parametrize("method", REDUCIBLE_METHODS)
@pytest.mark.parametrize("kind", UNTIED)
@pytest.mark.parametrize("rows", [4, 40, 1000])
def test_the_chain_alone_makes_scipys_tree(kind, rows, method):
    for n in (2, 3, 60, 400):
        distances = pdist(UNTIED[kind](np.random.default_rng(n), n))
        assert_scipys(chain_tree(distances, method, rows=rows), distances, method)


@pytest.mark.parametrize("method", REDUCIBLE_METHODS)
@pytest.mark.parametrize("kind", HUBS)
@pytest.mark.parametrize("rows", [4, 30, 300])
def test_hubs_after_rounds(kind, rows, method):
    distances = pdist(HUBS[kind](np.random.default_rng(1), 300))
    source = Counting(distances)
    limits = limits_of(300, rows=rows, most_clusters=7, n_neighbors=3)
    left = merge_certified(source, method, limits=limits)
    assert left.chained > (0 if kind.startswith("noise") else 30)
    assert left.rows_fetched == sum(source.batches)
    assert left.passes == pytest.approx(source.n_distances / len(distances))
    assert len(left.start.sizes) == 7
    merges = cluster_certified(source, method, limits=limits)
    untied = kind != "constant rows"
    assert_scipys(linkage_matrix(merges, 300), distances, method, untied=untied)


@pytest.mark.parametrize("n", [25, 130])
@pytest.mark.parametrize("method", REDUCIBLE_METHODS)
@pytest.mark.parametrize("kind", KINDS | HUBS)
def test_every_merge_is_a_minimum(kind, method, n):
    distances = pdist((KINDS | HUBS)[kind](np.random.default_rng(0), n))
    for rows in (4, 7, 30):
        assert_every_merge_is_a_minimum(chain_tree(distances, method, rows=rows), distances, method)


@settings(max_examples=examples(80), deadline=None)
@given(
    data=st.data(),
    n=st.integers(2, 16),
    rows=st.integers(4, 20),
    n_neighbors=st.integers(1, 4),
    most_clusters=st.integers(1, 16),
    method=st.sampled_from(REDUCIBLE_METHODS),
)
def test_any_small_integer_distances(data, n, rows, n_neighbors, most_clusters, method):
    n_distances = n * (n - 1) // 2
    values = st.lists(st.integers(0, 4), min_size=n_distances, max_size=n_distances)
    distances = np.array(data.draw(values), dtype=np.float64)
    Z = chain_tree(distances, method, rows=rows)
    assert_every_merge_is_a_minimum(Z, distances, method)
    limits = limits_of(n, rows=rows, most_clusters=most_clusters, n_neighbors=n_neighbors)
    merges = cluster_certified(CondensedSource(distances), method, limits=limits)
    assert_every_merge_is_a_minimum(linkage_matrix(merges, n), distances, method)


@settings(max_examples=examples(40), deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(2, 80),
    rows=st.integers(4, 90),
    method=st.sampled_from(REDUCIBLE_METHODS),
)
def test_any_points(seed, n, rows, method):
    distances = pdist(np.random.default_rng(seed).normal(size=(n, 4)))
    assert_scipys(chain_tree(distances, method, rows=rows), distances, method)


@pytest.mark.parametrize("method", REDUCIBLE_METHODS)
def test_points_that_stand_for_identical_observations(method):
    rng = np.random.default_rng(7)
    distinct, n = 60, 900
    # One of them for hundreds.
    of = np.concatenate([np.arange(distinct), np.minimum(rng.geometric(0.3, n - distinct), 59)])
    points = rng.normal(size=(distinct, 4))
    duplicates = Duplicates(
        kept=np.arange(distinct), duplicate_of=of[distinct:], row=np.arange(distinct, n)
    )
    expected = linkage(pdist(points[of]), method)
    for rows in (4, 20):
        Z = chain_tree(pdist(points), method, rows=rows, start=duplicates.start)
        assert is_valid_linkage(Z)
        np.testing.assert_allclose(cophenet(Z), cophenet(expected), rtol=1e-10)


@pytest.mark.parametrize("method", REDUCIBLE_METHODS)
def test_threads_and_pieces_change_no_bit(monkeypatch, method):
    distances = pdist(_constant_rows(np.random.default_rng(6), 300))
    limits = limits_of(300, rows=25, most_clusters=20, n_neighbors=3)
    expected = cluster_certified(CondensedSource(distances), method, limits=limits)
    monkeypatch.setattr(condensed, "_PIECE", 1000)
    monkeypatch.setattr(chained, "ENTRIES_A_PIECE", 700)
    for threads in (1, 2, 3):
        limits = limits_of(300, rows=25, most_clusters=20, n_neighbors=3, threads=threads)
        source = CondensedSource(distances, threads=threads)
        merges = cluster_certified(source, method, limits=limits)
        for name in ("first", "second", "height"):
            np.testing.assert_array_equal(getattr(merges, name), getattr(expected, name))


@pytest.mark.parametrize("method", REDUCIBLE_METHODS)
def test_columns_that_are_left_out(monkeypatch, method):
    monkeypatch.setattr(chained, "_SMALLEST_MOVED", 4)
    moved = []
    move = chained._Chaining._move

    def count(chaining):
        before = len(chaining._rows.holder)
        move(chaining)
        moved.append((before, len(chaining._rows.holder), len(chaining._rows.place)))

    monkeypatch.setattr(chained._Chaining, "_move", count)
    for kind in ("normal", "heavy tails", "powers of 3"):
        distances = pdist(KINDS[kind](np.random.default_rng(3), 200))
        for rows in (4, 20, 300):
            assert_scipys(chain_tree(distances, method, rows=rows), distances, method)
    assert len(moved) > 9
    # There is room for more rows then, up to all.
    assert all(after == width or after >= 2 * before for before, after, width in moved)


@pytest.mark.parametrize("method", REDUCIBLE_METHODS)
def test_a_small_cache_costs_rows_only(method):
    distances = pdist(_near_zero_rows(np.random.default_rng(2), 250))
    fetched = []
    for rows in (4, 16, 64, 400):
        source = Counting(distances)
        assert_scipys(chain_tree(distances, method, rows=rows, source=source), distances, method)
        fetched.append(sum(source.batches))
    # Where nothing is given up, a row a point at most.
    assert fetched[-1] <= 250
    assert fetched[0] > 250
    # Two steps take a row each, and one takes two again; and every other one may be for nothing.
    assert fetched[0] <= 2 * 4 * 250


def test_next_rows_of_a_hub_come_together():
    # Everybody's nearest is the hub in the middle, and its nearest come one after another.
    points = np.zeros((1200, 700))
    points[:500, :6] = 1e-5 * np.random.default_rng(4).normal(size=(500, 6))
    points[np.arange(500, 1200), np.arange(700)] = 10 + np.linspace(0, 1, 700)
    source = Counting(pdist(points))
    limits = limits_of(1200, rows=300, n_neighbors=8)
    left = merge_certified(source, "average", limits=limits)
    assert left.chained > 600
    assert left.rows_fetched < 1.2 * left.chained
    assert len(source.batches) < left.chained / 20


def test_a_batch_that_is_a_pass_is_as_large_as_memory_allows():
    n = 600
    distances = pdist(_near_zero_rows(np.random.default_rng(5), n))
    batches = []
    for is_pass in ({}, {"listing_bytes": 8 * n * 100}, {"is_pass": True}):
        source = Counting(distances)
        limits = Limits(most_clusters=1, n_neighbors=4, rows_bytes=8 * n * 500, **is_pass)
        merges = cluster_certified(source, "average", limits=limits)
        assert_scipys(linkage_matrix(merges, n), distances, "average")
        batches.append(source.batches)
    for others in batches[1:]:
        assert max(batches[0]) <= 64 < max(others)
        assert len(others) < len(batches[0])


@pytest.mark.parametrize("rows", [4, pytest.param(40, marks=pytest.mark.slow)])
def test_memory_for_rows_is_kept(rows):
    n = 2000
    distances = pdist(np.random.default_rng(0).normal(size=(n, 3)))
    source = CondensedSource(distances)
    clusters = open_clusters(np.ones(n, np.int64), "average")
    limits = limits_of(n, rows=rows)
    chain_tree(pdist(np.eye(5)), "average", rows=4)  # compiles
    tracemalloc.start()
    merge_by_chain(source, clusters, "average", limits=limits, report=Report(None, n))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak <= limits.rows_bytes + 300 * n
    assert peak >= 0.9 * limits.rows_bytes


class Unsteady(Counting):
    """Distances that are others each time, and others in a row than in a column."""

    def __init__(self, distances, spread):
        super().__init__(distances)
        self._spread = spread
        self._rng = np.random.default_rng(0)
        self.rescans = self.listed = 0

    def _shaken(self, distances):
        return distances * (1 + self._spread * self._rng.random(distances.shape))

    def nearest_points(self, *asked):
        return self._shaken_lists(super().nearest_points(*asked))

    def nearest_clusters(self, clusters, method, n_neighbors, owners, pause):
        self.rescans += 1
        self.listed += self._points_of(clusters, owners).sum()
        return self._shaken_lists(
            super().nearest_clusters(clusters, method, n_neighbors, owners, pause)
        )

    def _shaken_lists(self, lists):
        listed = np.arange(lists.ids.shape[1]) < lists.counts[:, None]
        lists.bounds[listed] = self._shaken(lists.bounds[listed])
        lists.tau[:] = self._shaken(lists.tau)
        return lists

    def distances(self, *asked):
        return self._shaken(super().distances(*asked))

    def rows(self, *asked):
        return self._shaken(super().rows(*asked))


UNSTEADY = ["equal distances", "normal", "powers of 3", "integers"]


@pytest.mark.parametrize("spread", [1e-15, 1e-3, 10])
@pytest.mark.parametrize("kind", UNSTEADY)
def test_the_chain_ends_whatever_the_distances_are(kind, spread):
    distances = pdist(KINDS[kind](np.random.default_rng(0), 200))
    n = len(squareform(distances))
    for rows in (4, 50):
        source = Unsteady(distances, spread)
        Z = chain_tree(distances, "average", rows=rows, source=source)
        assert is_valid_linkage(Z)
        assert len(source.batches) <= 4 * n


@pytest.mark.parametrize("spread", [1e-15, 1e-3, 10])
@pytest.mark.parametrize("kind", UNSTEADY)
@pytest.mark.parametrize("listing_bytes", [None, 4000])
def test_rounds_end_whatever_the_distances_are(kind, spread, listing_bytes):
    distances = pdist(KINDS[kind](np.random.default_rng(0), 200))
    n = len(squareform(distances))
    for method in ("complete", "average", "ward"):
        source = Unsteady(distances, spread)
        limits = Limits(
            most_clusters=1, n_neighbors=3, rows_bytes=8 * n * 5, listing_bytes=listing_bytes
        )
        left = merge_certified(source, method, limits=limits)
        assert is_valid_linkage(linkage_matrix(left.start.merges, n))
        # Each rescan but the last led to the merge of some clusters, and they have read enough.
        assert source.rescans <= n
        if listing_bytes is None:
            assert source.listed <= (4 + 1) * n


class Broken(Counting):
    """Rows with a distance that is none."""

    def __init__(self, distances, bad):
        super().__init__(distances)
        self._bad = bad

    def rows(self, clusters, method, owners, pause):
        rows = super().rows(clusters, method, owners, pause)
        if len(self.batches) == 3:
            rows[0, (owners[0] + 1) % rows.shape[1]] = self._bad
        return rows


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_distances_must_be_finite(bad):
    distances = pdist(np.random.default_rng(0).normal(size=(50, 3)))
    with pytest.raises(DataValueError, match="only finite values"):
        chain_tree(distances, "average", rows=4, source=Broken(distances, bad))


def test_too_little_memory_is_refused():
    distances = pdist(np.random.default_rng(0).normal(size=(50, 3)))
    with pytest.raises(
        MemoryLimitError, match=r"50 clusters needs at least 1\.6 kB.*=1200"
    ) as error:
        chain_tree(distances, "average", rows=3)
    assert (error.value.needed_bytes, error.value.limit_bytes) == (1600, 1200)


def test_progress_and_interrupts():
    distances = pdist(_near_zero_rows(np.random.default_rng(8), 600))
    limits = limits_of(600, rows=8, most_clusters=50)
    told = []
    merges = cluster_certified(
        CondensedSource(distances), "average", limits=limits, progress=told.append
    )
    phases = [reached.phase for reached in told]
    assert list(dict.fromkeys(phases)) == [
        *("lists", "rounds", "rescan", "chain", "contraction", "square")
    ]
    left = [reached.clusters_left for reached in told]
    assert left == sorted(left, reverse=True)
    assert left[-1] == 1
    for name in ("height", "passes"):
        values = [getattr(reached, name) for reached in told]
        assert values == sorted(values)
    assert told[-1].height == merges.height.max()
    in_chain = [reached.share for reached in told if reached.phase == "chain"]
    assert in_chain == sorted(in_chain)
    assert in_chain[-1] == 1

    for nth in (1, len(in_chain) // 2):
        calls = []

        def interrupt(reached, nth=nth, calls=calls):
            calls.append(reached.phase)
            if calls.count("chain") == nth:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            cluster_certified(
                CondensedSource(distances, threads=2), "average", limits=limits, progress=interrupt
            )
    assert not [t for t in threading.enumerate() if t.name.startswith("clustergrid-linkage")]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("method", REDUCIBLE_METHODS)
def test_rows_of_a_condensed_vector(method, dtype):
    rng = np.random.default_rng(5)
    distances = pdist(rng.normal(size=(80, 4))).astype(dtype)
    source = CondensedSource(distances, threads=3)
    sizes = rng.integers(1, 4, 80)
    clusters = open_clusters(sizes, method)
    limits = limits_of(80, rows=10, most_clusters=30)
    merge_by_chain(source, clusters, method, limits=limits, report=Report(None, 80))
    slots = np.flatnonzero(clusters.live)
    assert len(slots) == 30
    whole = source.rows(clusters, method, slots, lambda share: None)
    np.fill_diagonal(square := source.square(clusters, method, lambda share: None), np.inf)
    np.testing.assert_allclose(whole, square, rtol=1e-12)
    some = slots[[3, 17, 29]]
    np.testing.assert_array_equal(
        source.rows(clusters, method, some, lambda share: None), whole[[3, 17, 29]]
    )

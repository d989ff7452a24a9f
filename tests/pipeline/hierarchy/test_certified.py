"""Rounds on lists of near clusters: SciPy's trees, certificates that hold, work that ends."""

import subprocess
import sys
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster.hierarchy import cophenet, is_valid_linkage, linkage
from scipy.spatial.distance import pdist, squareform

from clustergrid.pipeline import pdist as our_pdist
from clustergrid.pipeline.hierarchy import (
    REDUCIBLE_METHODS,
    Duplicates,
    certified,
    condensed,
    linkage_matrix,
    proved,
)
from clustergrid.pipeline.hierarchy.certified import (
    Limits,
    cluster_certified,
    merge_certified,
)
from clustergrid.pipeline.hierarchy.condensed import CondensedSource
from clustergrid.storage.datasets import load_endometrial
from clustergrid.storage.errors import DataTypeError, DataValueError
from tests.budget import examples
from tests.pipeline.hierarchy.kinds import (
    KINDS,
    UNTIED,
    assert_every_merge_is_a_minimum,
    assert_scipys,
    clades,
    definition,
)

pytestmark = pytest.mark.quick_cases(one_in=8)


def tree_of(distances, method, *, n_neighbors=64, most_clusters=None, threads=1, start=None):
    """Return the linkage matrix."""
    source = CondensedSource(distances, threads=threads)
    limits = Limits(
        most_clusters=most_clusters or source.n, n_neighbors=n_neighbors, threads=threads
    )
    merges = cluster_certified(source, method, limits=limits, start=start)
    n = source.n if start is None else start.n_observations
    return linkage_matrix(merges, n)


@pytest.mark.parametrize("method", REDUCIBLE_METHODS)
@pytest.mark.parametrize("kind", KINDS)
def test_heights_and_clades_are_scipys(kind, method):
    for n in (2, 3, 60, 500):
        distances = pdist(KINDS[kind](np.random.default_rng(n), n))
        if kind not in UNTIED and method != "single" and n > 3:
            continue  # which of equals are merged first may change heights further up
        for n_neighbors, most_clusters in ((1, None), (5, 1), (64, None)):
            Z = tree_of(distances, method, n_neighbors=n_neighbors, most_clusters=most_clusters)
            assert_scipys(Z, distances, method, untied=kind in UNTIED)


@pytest.mark.parametrize("n", [25, 130])
@pytest.mark.parametrize("method", REDUCIBLE_METHODS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_merge_is_a_minimum(kind, method, n):
    distances = pdist(KINDS[kind](np.random.default_rng(0), n))
    for n_neighbors in (1, 2, 7, 24):
        for most_clusters in (1, n):
            Z = tree_of(distances, method, n_neighbors=n_neighbors, most_clusters=most_clusters)
            assert_every_merge_is_a_minimum(Z, distances, method)


@settings(max_examples=examples(80), deadline=None)
@given(
    data=st.data(),
    n=st.integers(2, 16),
    n_neighbors=st.integers(1, 16),
    most_clusters=st.integers(1, 16),
    method=st.sampled_from(REDUCIBLE_METHODS),
)
def test_any_small_integer_distances(data, n, n_neighbors, most_clusters, method):
    n_distances = n * (n - 1) // 2
    values = st.lists(st.integers(0, 4), min_size=n_distances, max_size=n_distances)
    distances = np.array(data.draw(values), dtype=np.float64)
    Z = tree_of(distances, method, n_neighbors=n_neighbors, most_clusters=most_clusters)
    assert_every_merge_is_a_minimum(Z, distances, method)


@settings(max_examples=examples(40), deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(2, 80),
    n_neighbors=st.integers(1, 80),
    most_clusters=st.integers(1, 80),
    method=st.sampled_from(REDUCIBLE_METHODS),
)
def test_any_lists_and_limits(seed, n, n_neighbors, most_clusters, method):
    distances = pdist(np.random.default_rng(seed).normal(size=(n, 4)))
    Z = tree_of(distances, method, n_neighbors=n_neighbors, most_clusters=most_clusters)
    assert_scipys(Z, distances, method, untied=True)


@pytest.mark.parametrize("method", REDUCIBLE_METHODS)
def test_float32_is_decided_in_float64(method):
    distances = pdist(np.random.default_rng(4).normal(size=(400, 30))).astype(np.float32)
    Z = tree_of(distances, method, n_neighbors=8)
    assert_scipys(Z, distances, method, untied=False)


@pytest.mark.parametrize("method", REDUCIBLE_METHODS)
def test_threads_and_pieces_change_no_bit(monkeypatch, method):
    distances = pdist(KINDS["hub"](np.random.default_rng(6), 300))
    expected = tree_of(distances, method, n_neighbors=6, most_clusters=20)
    monkeypatch.setattr(condensed, "_PIECE", 1000)
    monkeypatch.setattr(proved, "_SLOTS_A_PIECE", 7)
    monkeypatch.setattr(proved, "_LISTS_A_PIECE", 11)
    for threads in (1, 2, 3, 7):
        Z = tree_of(distances, method, n_neighbors=6, most_clusters=20, threads=threads)
        np.testing.assert_array_equal(Z, expected)


@pytest.mark.parametrize("method", REDUCIBLE_METHODS)
def test_order_of_rows_does_not_matter(method):
    rng = np.random.default_rng(3)
    square = squareform(pdist(rng.normal(size=(200, 5))))
    shuffle = rng.permutation(200)
    shuffled = squareform(square[np.ix_(shuffle, shuffle)])
    np.testing.assert_allclose(
        tree_of(shuffled, method, n_neighbors=9)[:, 2],
        tree_of(squareform(square), method, n_neighbors=9)[:, 2],
        rtol=1e-12,
    )


@pytest.mark.parametrize("method", REDUCIBLE_METHODS)
def test_points_that_stand_for_identical_observations(method):
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
    for n_neighbors in (3, 59):
        Z = tree_of(pdist(points), method, n_neighbors=n_neighbors, start=duplicates.start)
        assert is_valid_linkage(Z)
        expected = linkage(pdist(full), method)
        np.testing.assert_allclose(cophenet(Z), cophenet(expected), rtol=1e-10)


def test_weights_of_float32_distances_are_not_rounded():
    rng = np.random.default_rng(17)
    points = rng.normal(size=(300, 4))
    of = np.concatenate([np.arange(300), rng.integers(0, 300, 200)])
    distances = pdist(points).astype(np.float32)
    duplicates = Duplicates(kept=np.arange(300), duplicate_of=of[300:], row=np.arange(300, 500))
    Z = tree_of(distances, "ward", n_neighbors=5, start=duplicates.start)
    full = squareform(distances.astype(np.float64))[np.ix_(of, of)]
    expected = linkage(squareform(full), "ward")
    np.testing.assert_allclose(Z[:, 2], expected[:, 2], rtol=1e-10)


class _Checked(proved.ProvedRounds):
    """Compares every list, after every round and rescan, with the definition of the distances."""

    points: np.ndarray
    checks = 0

    def _merge(self, *given):
        super()._merge(*given)
        self._check()

    def rescan(self):
        rescanned = super().rescan()
        self._check()
        return rescanned

    def _check(self):
        clusters, lists = self._clusters, self._lists
        slots = np.flatnonzero(clusters.live)
        members = np.zeros((len(slots), self._source.n))
        for row, slot in enumerate(slots):
            member = slot
            while member >= 0:
                members[row, member] = clusters.weights[member] / clusters.masses[slot]
                member = clusters.next_member[member]
        assert (members.sum(axis=0) > 0).all()
        np.testing.assert_allclose(members.sum(axis=1), 1)
        true = definition(self._method, self.points, members)
        for row, slot in enumerate(slots):
            count = lists.counts[slot]
            listed = lists.ids[slot, :count]
            columns = np.searchsorted(slots, listed)
            assert clusters.live[listed].all()
            assert len(np.unique(listed)) == count
            assert slot not in listed
            bounds, exact = lists.bounds[slot, :count], lists.exact[slot, :count]
            np.testing.assert_allclose(bounds[exact], true[row, columns][exact], rtol=1e-9)
            assert (bounds <= true[row, columns] * (1 + 1e-9)).all()
            unlisted = np.setdiff1d(np.arange(len(slots)), [*columns, row])
            if len(unlisted):
                assert lists.tau[slot] <= true[row, unlisted].min() * (1 + 1e-9)
        _Checked.checks += 1


@pytest.mark.parametrize("method", REDUCIBLE_METHODS)
@pytest.mark.parametrize("kind", ["normal", "low rank", "heavy tails", "integers"])
@pytest.mark.parametrize("n_neighbors", [1, 4, 12])
def test_certificates_hold_after_every_round(monkeypatch, kind, method, n_neighbors):
    distances = pdist(KINDS[kind](np.random.default_rng(11), 90))
    monkeypatch.setattr(_Checked, "points", squareform(distances), raising=False)
    monkeypatch.setattr(_Checked, "checks", 0)
    monkeypatch.setattr(certified, "ProvedRounds", _Checked)
    limits = Limits(most_clusters=1, n_neighbors=n_neighbors)
    merge_certified(CondensedSource(distances), method, limits=limits)
    assert _Checked.checks > 1


def test_a_certificate_that_is_too_high_is_seen(monkeypatch):
    # The check above can fail.
    monkeypatch.setattr(_Checked, "points", 0.9 * squareform(pdist(np.eye(9))), raising=False)
    monkeypatch.setattr(certified, "ProvedRounds", _Checked)
    with pytest.raises(AssertionError):
        merge_certified(
            CondensedSource(pdist(np.eye(9))), "average", limits=Limits(most_clusters=1)
        )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_lists_are_the_nearest_by_distance_and_id(monkeypatch, dtype):
    rng = np.random.default_rng(1)
    distances = rng.integers(0, 30, 100 * 99 // 2).astype(dtype)
    square = squareform(distances)
    np.fill_diagonal(square, 1000)
    order = np.argsort(square, axis=1, kind="stable")
    clusters = certified.open_clusters(np.ones(100, np.int64), "average")
    for piece, threads, guessed_from in ((10**9, 1, 10**9), (300, 3, 10**9), (300, 2, 1)):
        monkeypatch.setattr(condensed, "_PIECE", piece)
        monkeypatch.setattr(condensed, "_GUESSED_FROM", guessed_from)
        source = CondensedSource(distances, threads=threads)
        for n_neighbors in (1, 2, 17, 99):
            lists = source.nearest_points(clusters, "average", n_neighbors, lambda share: None)
            for row in range(100):
                listed = lists.ids[row, : lists.counts[row]]
                np.testing.assert_array_equal(np.sort(listed), np.sort(order[row, :n_neighbors]))
                np.testing.assert_array_equal(
                    lists.bounds[row, : lists.counts[row]], square[row, listed]
                )
            last = square[np.arange(100), order[:, n_neighbors - 1]]
            np.testing.assert_array_equal(lists.tau, np.inf if n_neighbors == 99 else last)


def test_a_guess_that_is_too_low_costs_time_only(monkeypatch):
    # Nobody but the points in the sample are near to one another.
    points = 1e3 * np.random.default_rng(0).normal(size=(400, 30))
    points[np.random.default_rng(0).choice(400, 20, replace=False)] *= 1e-6
    distances = pdist(points)
    source = CondensedSource(distances, threads=2)
    again = []
    make = source.nearest_clusters

    def count(clusters, method, n_neighbors, owners, pause):
        again.append(len(owners))
        return make(clusters, method, n_neighbors, owners, pause)

    monkeypatch.setattr(source, "nearest_clusters", count)
    clusters = certified.open_clusters(np.ones(400, np.int64), "average")
    lists = source.nearest_points(clusters, "average", 20, lambda share: None)
    assert again[0] > 20
    order = np.argsort(squareform(distances) + np.diag(np.full(400, np.inf)), axis=1)
    for row in range(400):
        assert set(lists.ids[row, :20]) == set(order[row, :20])


@pytest.mark.slow
def test_neither_copied_nor_changed():
    distances = pdist(np.random.default_rng(2).normal(size=(300, 3)))
    before = distances.copy()
    distances.flags.writeable = False
    Z = tree_of(distances, "average", n_neighbors=4, threads=2, most_clusters=30)
    np.testing.assert_array_equal(distances, before)
    assert_scipys(Z, distances, "average", untied=True)


def test_limit_is_kept_by_rescans():
    distances = pdist(np.random.default_rng(5).normal(size=(1500, 3)))
    source = CondensedSource(distances)
    first = merge_certified(source, "average", limits=Limits(most_clusters=1500, n_neighbors=6))
    limits = Limits(most_clusters=len(first.start.sizes) // 2, n_neighbors=6)
    left = merge_certified(source, "average", limits=limits)
    assert left.rescans > 0
    assert left.chained == 0
    assert len(left.start.sizes) <= limits.most_clusters
    assert left.start.n_observations == 1500


@pytest.mark.parametrize("kind", ["equal distances", "powers of 3", "hub", "duplicated"])
@pytest.mark.parametrize("method", REDUCIBLE_METHODS)
def test_it_ends_and_says_why(kind, method):
    distances = pdist(KINDS[kind](np.random.default_rng(9), 400))
    source = CondensedSource(distances)
    limits = Limits(most_clusters=1, n_neighbors=2)
    left = merge_certified(source, method, limits=limits)
    assert left.reason
    assert len(left.start.sizes) == 1
    assert left.chained > 0 or left.reason == "the tree is done"
    # Single merges stop at a pass's worth of work, and a poor rescan is the last.
    assert left.rounds <= source.n * (left.rescans + 1)
    assert len(left.start.merges.height) == source.n - 1


@pytest.mark.parametrize("method", REDUCIBLE_METHODS)
def test_distances_are_asked_for_in_few_batches(monkeypatch, method):
    rng = np.random.default_rng(13)
    points = 2 * rng.normal(size=(20, 20))[rng.integers(0, 20, 1500)]
    source = CondensedSource(pdist(points + rng.normal(size=points.shape)))
    batches = []
    ask = source.distances

    def count(clusters, method, first, second, pause):
        assert (first < second).all()
        assert len(np.unique(first * source.n + second)) == len(first)
        batches.append(len(first))
        return ask(clusters, method, first, second, pause)

    monkeypatch.setattr(source, "distances", count)
    left = merge_certified(source, method, limits=Limits(most_clusters=1500, n_neighbors=32))
    assert sum(batches) == left.distances_asked
    assert left.rounds > 3
    # Six batches come to all entries of a list.
    assert len(batches) <= 7 * (left.rounds + 1)


def test_progress_tells_clusters_and_height():
    distances = pdist(np.random.default_rng(8).normal(size=(600, 5)))
    told = []
    merges = cluster_certified(
        CondensedSource(distances),
        "average",
        limits=Limits(most_clusters=600, n_neighbors=8),
        progress=told.append,
    )
    phases = list(dict.fromkeys(reached.phase for reached in told))
    assert phases == ["lists", "rounds", "contraction", "square"]
    left = [reached.clusters_left for reached in told]
    heights = [reached.height for reached in told]
    assert left == sorted(left, reverse=True)
    assert left[-1] == 1
    assert heights == sorted(heights)
    assert heights[-1] == merges.height.max()
    # Whatever is lower is done.
    for reached in told:
        if reached.phase == "rounds":
            assert (merges.height < reached.height).sum() <= 600 - reached.clusters_left


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("phase", ["lists", "rounds", "rescan", "contraction", "square"])
def test_interrupt_ends_the_work(phase, threads):
    distances = pdist(np.random.default_rng(5).normal(size=(800, 3)))

    def interrupt(reached):
        if reached.phase == phase:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cluster_certified(
            CondensedSource(distances, threads=threads),
            "average",
            limits=Limits(most_clusters=200, n_neighbors=6, threads=threads),
            progress=interrupt,
        )
    assert not [t for t in threading.enumerate() if t.name.startswith("clustergrid-linkage")]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_distances_must_be_finite(bad, dtype):
    for place in (0, 777, 1224):
        distances = np.ones(1225, dtype)
        distances[place] = bad
        with pytest.raises(DataValueError, match="must contain only finite values"):
            tree_of(distances, "average", n_neighbors=3)


def test_what_is_refused():
    source = CondensedSource(np.ones(6))
    limits = Limits(most_clusters=4)
    with pytest.raises(DataValueError, match="centroid"):
        cluster_certified(source, "centroid", limits=limits)
    with pytest.raises(DataValueError, match="Invalid method: foo"):
        cluster_certified(source, "foo", limits=limits)
    with pytest.raises(DataValueError, match="4 points got 3 sizes"):
        merge_certified(source, "average", limits=limits, start=certified.Start.observations(3))
    with pytest.raises(DataTypeError, match="int64"):
        CondensedSource(np.ones(6, np.int64))
    with pytest.raises(DataValueError, match="contiguous"):
        CondensedSource(np.ones(12)[::2])
    with pytest.raises(DataValueError, match="number of observations"):
        CondensedSource(np.ones(4))
    for name in ("most_clusters", "n_neighbors", "rows_bytes", "threads"):
        with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
            Limits(**{"most_clusters": 1, name: 0})


@pytest.mark.slow
@pytest.mark.parametrize("method", REDUCIBLE_METHODS)
def test_a_real_matrix(method):
    matrix, _ = load_endometrial()
    distances = pdist(np.unique(matrix.to_numpy()[::8], axis=0))
    Z = tree_of(distances, method, threads=2)
    expected = linkage(distances, method)
    if method in ("single", "complete"):
        np.testing.assert_array_equal(Z[:, 2], expected[:, 2])
    np.testing.assert_allclose(Z[:, 2], expected[:, 2], rtol=1e-10)
    if method == "single":  # of ties there are many trees, with the same cophenetic distances
        np.testing.assert_array_equal(cophenet(Z), cophenet(expected))
    else:
        np.testing.assert_array_equal(clades(Z), clades(expected))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("method", ["average", "complete", "ward"])
def test_memory_is_2_2_times_the_distances(tmp_path, method, dtype):
    n = 16_000
    # Of noise so many clusters are left that the limit is met.
    points = np.random.default_rng(0).normal(size=(n, 50))
    path = tmp_path / "distances"
    our_pdist(points.astype(dtype)).to_numpy().tofile(path)
    # The peak of another process, less that of one that clusters next to nothing.
    small, large = (
        int(
            subprocess.run(
                [sys.executable, "-c", _PEAK, str(path), dtype, method, str(rows)],
                check=True,
                capture_output=True,
                text=True,
            ).stdout
        )
        for rows in (1000, n)
    )
    assert large - small <= 2.2 * path.stat().st_size


_PEAK = """
import sys
from pathlib import Path
import numpy as np
from clustergrid.pipeline.hierarchy.certified import Limits, cluster_certified
from clustergrid.pipeline.hierarchy.condensed import CondensedSource
path, dtype, method, n = *sys.argv[1:4], int(sys.argv[4])
# Not mapped: pages of the file would count as well.
distances = np.fromfile(path, dtype, n * (n - 1) // 2)
limits = Limits.within(max(10**8, int(1.2 * distances.nbytes)), n=n, threads=2)
cluster_certified(CondensedSource(distances, threads=2), method, limits=limits)
# Not of getrusage: it counts the process that started this one, too.
print(int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024)
"""

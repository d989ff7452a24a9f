"""Distances of large clusters: sums that keep their digits, in pieces that are short."""

import numpy as np
import pytest
from scipy.spatial.distance import pdist, squareform

from clustergrid.pipeline.hierarchy import REDUCIBLE_METHODS, condensed
from clustergrid.pipeline.hierarchy._clusters import CODES, nothing_yet, open_clusters
from clustergrid.pipeline.hierarchy._contraction import finish_square, gather_row
from clustergrid.pipeline.hierarchy._regions import (
    Region,
    finish_pairs,
    finish_rows,
    reduce_columns_to_rows,
    reduce_pairs,
    reduce_to_rows,
    reduce_to_square,
)
from clustergrid.pipeline.hierarchy._sums import members_of
from clustergrid.pipeline.hierarchy.condensed import CondensedSource
from tests.pipeline.hierarchy.kinds import definition

pytestmark = pytest.mark.quick_cases(one_in=8)

EQUAL = 0.1
HEIGHT, WIDTH = 4096, 8192


def clusters_of(labels, method, square=None):
    """Clusters of points with the same label, which is the lowest of them."""
    clusters = open_clusters(np.ones(len(labels), np.int64), method)
    for slot in np.unique(labels):
        points = np.flatnonzero(labels == slot)
        clusters.live[points[1:]] = False
        clusters.next_member[points[:-1]] = points[1:]
        clusters.last_member[slot] = points[-1]
        clusters.sizes[slot] = len(points)
        clusters.masses[slot] = len(points)
        if method == "weighted":
            clusters.weights[points] = 1 / len(points)
            clusters.masses[slot] = 1
        if method == "ward" and square is not None:
            within = square[np.ix_(points, points)]
            clusters.spreads[slot] = (within**2).sum() / (2 * len(points) ** 2)
    return clusters


def source_of_equals(n):
    """A source of n points at equal distances, which take no memory."""
    source = CondensedSource(np.array([EQUAL]), threads=2)
    source.n = n
    source._condensed = np.broadcast_to(np.float64(EQUAL), (n * (n - 1) // 2,))
    return source


def quiet(share):
    assert 0 <= share <= 1


# The last of three is alone; the members of the others lie scattered.
MANY, FEW = 30_000, 900
N = MANY + FEW + 1


def large_clusters(method):
    labels = np.zeros(N, np.int64)
    labels[np.random.default_rng(0).permutation(np.arange(1, N - 1))[:FEW]] = -1
    labels[labels < 0] = np.flatnonzero(labels < 0)[0]
    labels[-1] = N - 1
    return clusters_of(labels, method)


@pytest.mark.slow
def test_equal_terms_drift_one_after_another():
    # What sums of blocks are for: this is how an engine would miss its 1e-12.
    total = np.cumsum(np.full(MANY * FEW, EQUAL))[-1]
    assert abs(total / (EQUAL * MANY * FEW) - 1) > 1e-11


@pytest.mark.slow
@pytest.mark.parametrize("method", ["average", "weighted", "complete"])
def test_distances_of_large_clusters_keep_their_digits(method):
    source, clusters = source_of_equals(N), large_clusters(method)
    slots = np.flatnonzero(clusters.live)
    off = ~np.eye(3, dtype=bool)
    square = source.square(clusters, method, quiet)
    np.testing.assert_allclose(square[off], EQUAL, rtol=1e-12)
    rows = source.rows(clusters, method, slots, quiet)
    np.testing.assert_allclose(rows[off], EQUAL, rtol=1e-12)
    assert np.isinf(np.diag(rows)).all()
    for first, second in ((0, 1), (1, 0)):
        pairs = source.distances(clusters, method, slots[[first]], slots[[second]], quiet)
        np.testing.assert_allclose(pairs, EQUAL, rtol=1e-12)


def regions(n):
    """Regions of equal distances, in the order in which a store gives them."""
    for top in range(0, n, HEIGHT):
        for left in range(top - top % WIDTH, n, WIDTH):
            shape = min(HEIGHT, n - top), min(WIDTH, n - left)
            yield top, left, np.broadcast_to(np.float64(EQUAL), shape)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["average", "weighted"])
def test_regions_of_large_clusters_keep_their_digits(method):
    clusters, code = large_clusters(method), CODES[method]
    slots, members = np.flatnonzero(clusters.live), members_of(clusters)
    labels = np.empty(N, np.int64)
    for slot in slots:
        labels[members.points[members.starts[slot] : members.starts[slot + 1]]] = slot
    positions = np.searchsorted(slots, labels)
    owners, first, second = slots[:2], slots[[0, 1]], slots[[1, 2]]
    owner_of = np.where(labels == slots[2], -1, positions)
    columns = np.flatnonzero(owner_of >= 0)
    square, rows = np.zeros((3, 3)), np.zeros((2, 3))
    totals = np.full((2, 2), nothing_yet.python(code))
    for top, left, distances in regions(N):
        height, width = distances.shape
        order = np.argsort(positions[top : top + height], kind="stable")
        region = Region(distances, top, left, order)
        given = (region, positions, clusters.weights, code)
        reduce_to_square(*given, square, 0, height)
        reduce_to_rows(*given, owner_of, rows, 0, height)
        chosen = columns[(columns >= left) & (columns < left + width)]
        reduce_columns_to_rows(*given, owner_of, chosen, rows, 0, 2)
        reduce_pairs(region, members, clusters.weights, code, first, second, totals, 0, 2)
    finish_square(clusters, code, slots, square, 0, 3)
    finish_rows(clusters, code, owners, slots, rows, 0, 2)
    off = ~np.eye(3, dtype=bool)
    np.testing.assert_allclose(square[off], EQUAL, rtol=1e-12)
    np.testing.assert_allclose(rows[off[:2]], EQUAL, rtol=1e-12)
    pairs = finish_pairs(clusters, code, first, second, totals)
    np.testing.assert_allclose(pairs, EQUAL, rtol=1e-12)


def hub_of(n, n_members, method):
    """Points of which many are one cluster and others pairs; their distances; their clusters."""
    rng = np.random.default_rng(1)
    distances = pdist(rng.normal(size=(n, 5)))
    labels = np.arange(n)
    members = np.sort(rng.permutation(n)[:n_members])
    labels[members] = members[0]
    others = np.setdiff1d(np.arange(n), members)
    pairs = others[: len(others) // 4 * 2].reshape(-1, 2)
    labels[pairs[:, 1]] = pairs[:, 0]
    square = squareform(distances)
    return distances, square, clusters_of(labels, method, square), labels


@pytest.mark.parametrize("method", REDUCIBLE_METHODS)
def test_distances_are_their_definition_in_any_pieces(monkeypatch, method):
    n = 700
    distances, points, clusters, labels = hub_of(n, 400, method)
    slots = np.unique(labels)
    members = (labels == slots[:, None]) / np.bincount(labels)[slots][:, None]
    true = definition(method, points, members)
    first, second = np.triu_indices(len(slots), 1)
    found = []
    for piece, threads in ((25_000_000, 1), (3_000, 1), (3_000, 3)):
        monkeypatch.setattr(condensed, "_PIECE", piece)
        source = CondensedSource(distances, threads=threads)
        square = source.square(clusters, method, quiet)
        rows = source.rows(clusters, method, slots, quiet)
        pairs = source.distances(clusters, method, slots[first], slots[second], quiet)
        lists = source.nearest_clusters(clusters, method, 5, slots, quiet)
        found.append((square, rows, pairs, np.sort(lists.bounds[:, :5], axis=1)))
        off = ~np.eye(len(slots), dtype=bool)
        np.testing.assert_allclose(square[off], true[off], rtol=1e-10)
        np.testing.assert_allclose(rows[off], true[off], rtol=1e-10)
        np.testing.assert_allclose(pairs, true[first, second], rtol=1e-10)
        np.testing.assert_array_equal(found[-1][3], np.sort(rows, axis=1)[:, :5])
    for some in zip(*found, strict=True):
        for other in some[1:]:
            np.testing.assert_array_equal(other, some[0])


class Clock:
    """Counts distances that kernels read, between two calls of `pause`."""

    def __init__(self, monkeypatch):
        self.now, self.most, self.total, self.shares = 0, 0, 0, []
        for name, work in WORK.items():
            kernel = getattr(condensed, name)

            def counted(*given, kernel=kernel, work=work):
                self.now += work(*given)
                return kernel(*given)

            monkeypatch.setattr(condensed, name, counted)

    def pause(self, share):
        self.most = max(self.most, self.now)
        self.total += self.now
        self.now = 0
        self.shares.append(share)


def _points(reduction, slots):
    return int(np.diff(reduction.members.starts)[slots].sum())


def _in_blocks(reduction, blocks, totals, start, stop):
    n_points = np.diff(reduction.members.starts)
    rows = np.minimum(n_points[blocks.rows] - blocks.begins, 128)
    return int((rows * n_points[blocks.columns])[start:stop].sum())


WORK = {
    "sum_all": lambda c, n, points, w, m, left, right, *_: len(points) * (right - left),
    "sum_after": lambda c, n, points, w, m, left, right, *_: len(points) * (right - left),
    "cluster_rows": lambda given, owners, places, _, a, b: (
        _points(given, owners[places[a:b]]) * len(given.positions)
    ),
    "nearest_clusters": lambda given, k, owners, places, _, a, b: (
        _points(given, owners[places[a:b]]) * len(given.positions)
    ),
    "reduce_rows": lambda given, rows, _, a, b: (
        _points(given, given.slots[rows[a:b]]) * len(given.positions)
    ),
    "cluster_distances": _in_blocks,
}


def test_progress_of_a_hub_is_told_in_pieces(monkeypatch):
    n, n_members, piece = 2000, 1500, 80_000
    distances, _, clusters, labels = hub_of(n, n_members, "average")
    monkeypatch.setattr(condensed, "_PIECE", piece)
    source, slots = CondensedSource(distances), np.unique(labels)
    hub = int(np.bincount(labels).argmax())
    others = np.setdiff1d(slots, hub)
    calls = {
        "square": lambda pause: source.square(clusters, "average", pause),
        "rows": lambda pause: source.rows(clusters, "average", slots, pause),
        "lists": lambda pause: source.nearest_clusters(clusters, "average", 5, slots, pause),
        "pairs": lambda pause: source.distances(
            *(clusters, "average", np.full(len(others), hub), others), pause
        ),
    }
    for name, call in calls.items():
        with monkeypatch.context() as patch:
            clock = Clock(patch)
            call(clock.pause)
        # Columns are not cut thinner than a few cache lines of a row.
        assert clock.most <= max(2 * piece, 64 * n_members) + n, name
        assert clock.total >= n_members * len(others), name
        if name != "pairs":
            assert n_members * n > 10 * clock.most, name
        assert clock.shares[-1] == 1
        assert (np.diff(clock.shares) >= 0).all()


@pytest.mark.parametrize("method", REDUCIBLE_METHODS)
def test_columns_are_brought_together_panel_by_panel(method):
    rng, panel = np.random.default_rng(0), 7
    sums, weights = rng.random(60), rng.random(60)
    positions = rng.integers(0, 5, 60).astype(np.uint32)
    together = {"single": min, "complete": max}.get(method, lambda one, other: one + other)
    nothing = nothing_yet.python(CODES[method])
    expected = np.full(5, nothing)
    for start in range(0, 60, panel):
        part = np.full(5, nothing)
        for j in range(start, min(start + panel, 60)):
            term = sums[j] if method in ("single", "complete") else weights[j] * sums[j]
            part[positions[j]] = together(part[positions[j]], term)
        expected = [together(*pair) for pair in zip(expected, part, strict=True)]
    totals, some = np.empty(5), np.empty(60)
    gather_row(CODES[method], sums, positions, weights, panel, totals, some)
    np.testing.assert_array_equal(totals, expected)

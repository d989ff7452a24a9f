"""Distances between clusters from their means: those of the definition, whoever asks for them."""

import numpy as np
import pytest
from scipy.spatial.distance import pdist, squareform

from clustergrid.pipeline.execution import SerialExecutor, ThreadsExecutor
from clustergrid.pipeline.hierarchy._clusters import CODES, join, open_clusters
from clustergrid.pipeline.summaries import compared as summary_compared
from clustergrid.pipeline.summaries import lists as summary_lists
from clustergrid.pipeline.summaries import means
from clustergrid.pipeline.summaries import plan as summary_plan
from clustergrid.pipeline.summaries.compared import Asked
from clustergrid.pipeline.summaries.rows import SummaryRows
from clustergrid.pipeline.summaries.source import SummarySource
from tests.pipeline.hierarchy.kinds import UNTIED, definition
from tests.pipeline.summaries.cases import cut_small

pytestmark = pytest.mark.quick_cases(one_in=8)

METHODS = ("average", "weighted", "ward")


def no_pause(share):
    assert 0 <= share <= 1


def source_of(points, method, *, constants=None, factor=1.0, executor=None):
    rows = SummaryRows(
        rows=points,
        constants=np.zeros(len(points)) if constants is None else constants,
        factor=factor,
    )
    executor = executor or SerialExecutor()
    return SummarySource(rows, executor=executor, is_ward=method == "ward")


def square_of(points, method, *, constants=None, factor=1.0):
    """Distances between points, as SciPy has them."""
    if method == "ward":
        return factor * squareform(pdist(points))
    apart = 0.0 if constants is None else constants[:, None] + constants
    square = factor * squareform(pdist(points, "sqeuclidean")) + apart
    np.fill_diagonal(square, 0.0)
    return square


class Grown:
    """Clusters that merge at random, and the shares of the points in each."""

    def __init__(self, n, method, seed=0):
        self.method, self.rng = method, np.random.default_rng(seed)
        self.clusters = open_clusters(np.ones(n, np.int64), method)
        self.members = dict(enumerate(np.eye(n)))

    def merge(self, times):
        for _ in range(times):
            a, b = np.sort(self.rng.choice(list(self.members), 2, replace=False))
            one, other = self.members[a], self.members.pop(b)
            n_one, n_other = np.count_nonzero(one), np.count_nonzero(other)
            share = 0.5 if self.method == "weighted" else n_one / (n_one + n_other)
            self.members[a] = share * one + (1 - share) * other
            join(self.clusters, CODES[self.method], int(a), int(b), 1.0)

    @property
    def slots(self):
        return np.flatnonzero(self.clusters.live)

    def true(self, points, square, factor):
        """Distances by definition; of ward, whose pairs cancel, from means of more digits."""
        members = np.array([self.members[slot] for slot in self.slots])
        if self.method != "ward":
            return definition(self.method, square, members)
        members = (members > 0).astype(np.longdouble)
        inverses = 1 / members.sum(axis=1)
        means = members * inverses[:, None] @ points.astype(np.longdouble)
        apart = np.sqrt(np.square(means[:, None] - means).sum(axis=2))
        return (factor * apart * np.sqrt(2 / (inverses[:, None] + inverses))).astype(np.float64)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["normal", "heavy tails", "offset", "far apart", "powers of 3"])
def test_all_distances_are_those_of_the_definition(kind, method):
    points = UNTIED[kind](np.random.default_rng(1), 60)
    n = len(points)
    constants = np.random.default_rng(2).random(n) if kind == "normal" else np.zeros(n)
    square = square_of(points, method, constants=constants, factor=0.5)
    source = source_of(points, method, constants=constants, factor=0.5)
    grown = Grown(n, method)
    for times in (0, 5, n // 3, n // 3):
        grown.merge(times)
        clusters, slots = grown.clusters, grown.slots
        true = grown.true(points, square, 0.5)
        np.fill_diagonal(true, 0.0)
        found = source.square(clusters, method, no_pause)
        # Means of what is far apart are rounded as finely as that is far.
        np.testing.assert_allclose(found, true, rtol=1e-10, atol=1e-16 * true.max())
        np.testing.assert_array_equal(found, found.T)
        rows = source.rows(clusters, method, slots[::3], no_pause)
        assert np.isinf(rows[np.arange(len(rows)), np.arange(len(slots))[::3]]).all()
        rows[~np.isfinite(rows)] = 0.0
        np.testing.assert_array_equal(rows, found[::3])
        first, second = np.triu_indices(len(slots), 1)
        pairs = source.distances(clusters, method, slots[second], slots[first], no_pause)
        np.testing.assert_array_equal(pairs, found[first, second])


@pytest.mark.parametrize("sampled", [1, 4, 40])  # of all: how far lists reach is known; hardly
@pytest.mark.parametrize("executor", [SerialExecutor(), ThreadsExecutor(3)])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["normal", "heavy tails", "offset", "far apart", "powers of 3"])
def test_lists_are_the_nearest_by_distance_and_slot(monkeypatch, kind, method, executor, sampled):
    monkeypatch.setattr(summary_lists, "_SAMPLED", sampled)
    monkeypatch.setattr(summary_lists, "_GUESSED_FROM", 5)
    cut_small(monkeypatch, a_task=2)
    points = UNTIED[kind](np.random.default_rng(3), 300)
    source = source_of(points, method, executor=executor)
    grown = Grown(len(points), method)
    for times in (0, len(points) // 4):
        grown.merge(times)
        slots = grown.slots
        square = source.square(grown.clusters, method, no_pause)
        for n_neighbors in (1, 7, len(slots)):
            places = np.arange(len(slots))[::2] if times else np.arange(len(slots))
            if times:
                lists = source.nearest_clusters(
                    grown.clusters, method, n_neighbors, slots[places], no_pause
                )
            else:
                lists = source.nearest_points(grown.clusters, method, n_neighbors, no_pause)
            for row, place in enumerate(places):
                distances = np.delete(square[place], place)
                others = np.delete(slots, place)
                order = np.lexsort((others, distances))[:n_neighbors]
                count = lists.counts[row]
                assert count == len(order)
                ids, bounds = lists.ids[row, :count], lists.bounds[row, :count]
                found = np.lexsort((ids, bounds))
                np.testing.assert_array_equal(ids[found], others[order])
                np.testing.assert_array_equal(bounds[found], distances[order])
                assert lists.exact[row, :count].all()
                reach = distances[order[-1]] if count < len(others) else np.inf
                assert lists.tau[row] == reach


def remade_lists(monkeypatch, points, method):
    """The K nearest of points, and how many lists were begun at a time."""
    begun = []
    listed = summary_lists._listed

    def counted(compared, rows, how, **options):
        begun.append(len(rows))
        return listed(compared, rows, how, **options)

    monkeypatch.setattr(summary_lists, "_listed", counted)
    clusters = open_clusters(np.ones(len(points), np.int64), method)
    return source_of(points, method).nearest_points(clusters, method, 7, no_pause), begun


@pytest.mark.parametrize("method", METHODS)
def test_guesses_know_of_roundings_that_are_larger_than_distances(monkeypatch, method):
    # Tight clusters far from one another, a few of them in a range.
    rng = np.random.default_rng(11)
    centres = rng.normal(size=(20, 8))
    points = centres[rng.integers(0, 20, 3000)] + 1e-4 * rng.normal(size=(3000, 8))
    lists, begun = remade_lists(monkeypatch, points, method)
    assert begun[0] == 3000
    assert sum(begun[1:]) < 30
    distances = np.sort(square_of(points, method), axis=1)[:, 1:8]
    np.testing.assert_allclose(np.sort(lists.bounds[:, :7]), distances, rtol=1e-10)


def test_lists_are_remade_for_an_eighth_of_the_points_at_a_time(monkeypatch):
    def too_low(self, n_neighbors):
        return np.zeros(len(self.slots))

    monkeypatch.setattr(summary_lists._Left, "guesses", too_low)
    monkeypatch.setattr(summary_lists, "MOST_COMPARED", 16)
    monkeypatch.setattr(summary_plan, "MOST_COMPARED", 16)
    points = np.random.default_rng(12).normal(size=(401, 3))
    lists, begun = remade_lists(monkeypatch, points, "average")
    assert begun == [401, *[50] * 8, 1]
    distances = np.sort(square_of(points, "average"), axis=1)[:, 1:8]
    np.testing.assert_allclose(np.sort(lists.bounds[:, :7]), distances, rtol=1e-10)


@pytest.mark.parametrize("method", METHODS)
def test_long_means_are_compared_where_they_are_and_short_ones_side_by_side(monkeypatch, method):
    cut_small(monkeypatch)
    points = np.random.default_rng(14).normal(size=(300, 140))

    def listed():
        grown, found = Grown(300, method), []
        for _ in range(3):
            source = source_of(points, method)
            live = np.flatnonzero(grown.clusters.live)
            lists = source.nearest_clusters(grown.clusters, method, 7, live[1::2], no_pause)
            assert (lists.counts == 7).all()
            found += [lists.tau, np.sort(lists.bounds[:, :7])]
            grown.merge(40)
        return found

    in_place = listed()
    monkeypatch.setattr(summary_compared, "_NARROW", 140)
    for ours, theirs in zip(in_place, listed(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("method", ["average", "ward"])
@pytest.mark.parametrize(("value", "cells"), [(1e17, 1), (1e37, 1), (-9.96921e36, 40), (0.0, 0)])
def test_products_say_what_is_not_near_beside_values_that_stand_for_none(method, value, cells):
    rng = np.random.default_rng(13)
    n, k = 1200, 20
    points = rng.normal(size=(n, k))
    points[rng.integers(0, n, cells), rng.integers(0, k, cells)] = value
    source, clusters = source_of(points, method), open_clusters(np.ones(n, np.int64), method)
    square = source.square(clusters, method, no_pause)
    np.fill_diagonal(square, np.inf)
    reach = np.sort(square, axis=1)[:, 9]
    compared = source._means.compared(
        Asked(clusters=clusters, halves=False, number=1), np.arange(n), lambda: None
    )
    left = summary_lists._Left(compared, slice(0, n))
    right = left.right(left.held)
    for operands in (left.operands, right):
        summary_lists.set_reach(left.held[0], left.scale, operands, reach, 0)
    products = left.operands.values @ right.values.T
    reaches, inverses = left.operands.reach[:n], right.inverses[:n]
    most = np.maximum(reaches[:, None], reaches) * (inverses[:, None] + inverses)
    near = products < most
    assert near[square <= np.maximum(reach[:, None], reach)].all()
    assert near.mean() < 0.03 + 2 * cells / n
    # Nor do guesses reach far.
    guesses = left.guesses(9)
    is_far = np.abs(points).max(axis=1) > 1e6
    assert (guesses[~is_far] < 2 * square[np.isfinite(square) & (square < 1e6)].max()).all()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("buffered", [2**19, 2 * 16 * 64])  # the last: full after every product
def test_lists_of_points_at_equal_distances(monkeypatch, method, buffered):
    cut_small(monkeypatch, buffered=buffered)
    monkeypatch.setattr(summary_lists, "_SAMPLED", 4)
    monkeypatch.setattr(summary_lists, "_GUESSED_FROM", 5)
    points = np.random.default_rng(8).integers(0, 2, (400, 6)).astype(float)
    source, clusters = source_of(points, method), open_clusters(np.ones(400, np.int64), method)
    square = source.square(clusters, method, no_pause)
    lists = source.nearest_points(clusters, method, 11, no_pause)
    for slot in range(400):
        distances = square[slot].copy()
        distances[slot] = np.inf
        order = np.lexsort((np.arange(400), distances))[:11]
        assert lists.counts[slot] == 11
        assert sorted(lists.ids[slot, :11]) == sorted(order)
        assert lists.tau[slot] == distances[order[-1]]


@pytest.mark.parametrize("method", METHODS)
def test_a_mean_has_the_same_bits_whenever_it_is_made(method):
    points = np.random.default_rng(4).normal(size=(80, 9))
    now_and_then, once = source_of(points, method), source_of(points, method)
    grown = Grown(80, method)
    for times in (10, 3, 20, 30):
        grown.merge(times)
        slots = grown.slots
        some = slots[:: 2 + times % 3]
        now_and_then.distances(grown.clusters, method, some[:1].repeat(len(some)), some, no_pause)
    np.testing.assert_array_equal(
        now_and_then.square(grown.clusters, method, no_pause),
        once.square(grown.clusters, method, no_pause),
    )


def test_weights_that_were_halved_a_thousand_times():
    rng = np.random.default_rng(5)
    points = rng.normal(size=(1300, 2))
    source, once = source_of(points, "weighted"), source_of(points, "weighted")
    clusters = open_clusters(np.ones(1300, np.int64), "weighted")
    for other in range(1, 1299):
        join(clusters, CODES["weighted"], 0, other, 1.0)
        if other % 97 == 0:
            source.distances(clusters, "weighted", np.array([0]), np.array([1299]), no_pause)
    assert clusters.weights[0] == 0.0
    found = source.square(clusters, "weighted", no_pause)[0, 1]
    assert found == once.square(clusters, "weighted", no_pause)[0, 1]
    shares = clusters.weights[:1299]
    expected = shares @ np.square(points[:1299] - points[1299]).sum(axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_pieces_and_threads_change_no_bit(monkeypatch):
    points = np.random.default_rng(6).normal(size=(300, 5))
    grown = Grown(300, "average")
    grown.merge(100)
    expected = source_of(points, "average").square(grown.clusters, "average", no_pause)
    monkeypatch.setattr(means, "_VALUES_A_PIECE", 5 * 300 * 7)
    cut_small(monkeypatch)
    source = source_of(points, "average", executor=ThreadsExecutor(3))
    np.testing.assert_array_equal(source.square(grown.clusters, "average", no_pause), expected)


def test_what_pause_raises_ends_a_pass():
    def pause(share):
        raise InterruptedError

    source = source_of(np.random.default_rng(7).normal(size=(50, 3)), "average")
    clusters = open_clusters(np.ones(50, np.int64), "average")
    with pytest.raises(InterruptedError):
        source.nearest_points(clusters, "average", 4, pause)
    with pytest.raises(InterruptedError):
        source.square(clusters, "average", pause)

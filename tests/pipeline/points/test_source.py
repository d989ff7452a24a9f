"""Cluster distances from rows: those of a condensed matrix, for any metric and clusters."""

import numpy as np
import pytest
from scipy.spatial.distance import pdist, squareform

from clustergrid.pipeline.engines.base import UndefinedPairError
from clustergrid.pipeline.execution import DaskExecutor, SerialExecutor, ThreadsExecutor
from clustergrid.pipeline.hierarchy._clusters import CODES, join, open_clusters
from clustergrid.pipeline.hierarchy.condensed import CondensedSource
from clustergrid.pipeline.points import euclidean, layout, pairs, reduction
from clustergrid.pipeline.points import source as points_source
from clustergrid.pipeline.points.euclidean import EuclideanPoints
from clustergrid.pipeline.points.metric import MetricPoints
from clustergrid.pipeline.tiles import tile_distances
from clustergrid.storage.errors import DataValueError
from tests.pipeline.hierarchy.kinds import KINDS
from tests.pipeline.points.cases import (
    METRICS,
    case,
    given_of,
    ignore,
    lopsided,
    normal,
    some_clusters,
    source_of,
)

pytestmark = pytest.mark.quick_cases(one_in=8)

METHODS = ("single", "complete", "average", "weighted")


def condensed_of(given):
    """Return the distances of the project's own tiles, in double precision."""
    n = given.source.shape[0]
    return squareform(tile_distances(given, slice(0, n), slice(0, n)).astype(float), checks=False)


def square_of(source, clusters, method):
    """Return the square; what is on its diagonal is nobody's business."""
    square = source.square(clusters, method, ignore)
    np.fill_diagonal(square, 0)
    return square


def lists_of(lists):
    """Return the lists with their entries by (distance, id)."""
    found = []
    for owner in range(len(lists.counts)):
        count = lists.counts[owner]
        assert lists.exact[owner, :count].all()
        order = np.lexsort((lists.ids[owner, :count], lists.bounds[owner, :count]))
        found.append((lists.ids[owner, order], lists.bounds[owner, order], lists.tau[owner]))
    return found


def assert_same_lists(found, expected, **tolerances):
    for (ids, bounds, tau), (other_ids, other_bounds, other_tau) in zip(
        lists_of(found), lists_of(expected), strict=True
    ):
        np.testing.assert_array_equal(ids, other_ids)
        np.testing.assert_allclose(bounds, other_bounds, **tolerances)
        np.testing.assert_allclose(tau, other_tau, **tolerances)


@pytest.mark.parametrize("name", METRICS)
def test_cluster_distances_are_those_of_all_pairs(name):
    n = 90
    _, given = case(name, n)
    own = source_of(given)
    expected = CondensedSource(condensed_of(given))
    for method in METHODS:
        clusters = some_clusters(n, method, n_merges=60)
        slots = np.flatnonzero(clusters.live)
        square = square_of(own, clusters, method)
        np.testing.assert_allclose(
            square, square_of(expected, clusters, method), rtol=1e-11, atol=1e-13
        )
        np.testing.assert_array_equal(square, square.T)
        owners = slots[[3, 0, 17, 29]]
        rows = own.rows(clusters, method, owners, ignore)
        np.testing.assert_allclose(
            rows, expected.rows(clusters, method, owners, ignore), rtol=1e-11, atol=1e-13
        )
        first, second = np.triu_indices(len(slots), 1)
        pairs = own.distances(clusters, method, slots[first], slots[second], ignore)
        np.testing.assert_allclose(pairs, square[first, second], rtol=1e-11, atol=1e-13)
        if method in ("single", "complete"):
            np.testing.assert_array_equal(pairs, square[first, second])
            finite = np.isfinite(rows)
            np.testing.assert_array_equal(
                rows[finite], square[np.searchsorted(slots, owners)][finite]
            )


@pytest.mark.parametrize("name", METRICS)
def test_lists_are_the_nearest(name):
    n = 90
    _, given = case(name, n)
    own, expected = source_of(given), CondensedSource(condensed_of(given))
    tied = name in ("jaccard", "hamming", "russellrao", "nan_spearman")
    for n_neighbors in (1, 8, 89):
        clusters = open_clusters(np.ones(n, np.int64), "average")
        found = own.nearest_points(clusters, "average", n_neighbors, ignore)
        wanted = expected.nearest_points(clusters, "average", n_neighbors, ignore)
        assert found.ids.shape == wanted.ids.shape
        assert_same_lists(found, wanted, rtol=1e-11, atol=1e-13)
        if tied:
            continue
        clusters = some_clusters(n, "average", n_merges=40)
        owners = np.flatnonzero(clusters.live)[[2, 7, 1, 30]]
        found = own.nearest_clusters(clusters, "average", n_neighbors, owners, ignore)
        wanted = expected.nearest_clusters(clusters, "average", n_neighbors, owners, ignore)
        assert found.ids.shape == wanted.ids.shape
        assert_same_lists(found, wanted, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", KINDS)
def test_near_clusters_of_hard_data(kind, method):
    values = KINDS[kind](np.random.default_rng(5), 300)
    n = len(values)
    own, expected = source_of(given_of(values)), CondensedSource(pdist(values))
    clusters = some_clusters(n, method, n_merges=n // 2)
    owners = np.flatnonzero(clusters.live)[::3]
    for n_neighbors in (1, 7, 30):
        found = own.nearest_clusters(clusters, method, n_neighbors, owners, ignore)
        wanted = expected.nearest_clusters(clusters, method, n_neighbors, owners, ignore)
        np.testing.assert_array_equal(found.counts, wanted.counts)
        np.testing.assert_allclose(found.tau, wanted.tau, rtol=1e-10)
        all_of_them = own.rows(clusters, method, owners, ignore)
        slots = np.flatnonzero(clusters.live)
        for row, (ids, bounds, tau) in enumerate(lists_of(found)):
            others = np.delete(all_of_them[row], np.searchsorted(slots, [*ids, owners[row]]))
            assert len(np.unique(ids)) == len(ids)
            listed = all_of_them[row, np.searchsorted(slots, ids)]
            np.testing.assert_allclose(bounds, listed, rtol=1e-12)
            assert others.size == 0 or others.min() >= tau * (1 - 1e-12)


def test_where_bounds_say_too_little_all_distances_are_computed(monkeypatch):
    values = np.eye(120)
    clusters = some_clusters(120, "average", n_merges=20)
    owners = np.flatnonzero(clusters.live)
    again = []
    real = reduction._totals_by_group

    def spy(points, wanted, strip):
        again.append(len(strip.owners))
        return real(points, wanted, strip)

    monkeypatch.setattr(reduction, "_totals_by_group", spy)
    source_of(given_of(values)).nearest_clusters(clusters, "average", 5, owners, ignore)
    assert sum(again) == len(owners)
    again.clear()
    source_of(given_of(normal(120, 9))).nearest_clusters(clusters, "average", 5, owners, ignore)
    assert sum(again) == 0


@pytest.mark.parametrize("name", ["euclidean", "correlation", "weighted euclidean"])
@pytest.mark.parametrize("method", METHODS)
def test_lists_by_bounds_have_the_bits_of_all_distances(monkeypatch, name, method):
    # Which owners bounds are enough for follows from roundings of products, whose shapes follow
    # from the number of threads.
    _, given = case(name, 400)
    sizes = np.random.default_rng(3).integers(1, 9, 400)
    clusters = some_clusters(400, method, n_merges=330, sizes=sizes)
    slots = np.flatnonzero(clusters.live)
    source = source_of(given)
    # So many are compared exactly that nothing is left to be unsure of.
    by_bounds = source.nearest_clusters(clusters, method, 60, slots, ignore)
    monkeypatch.setattr(EuclideanPoints, "list_clusters", lambda *args: None)
    compared = source.nearest_clusters(clusters, method, 60, slots, ignore)
    assert_same_lists(compared, by_bounds, rtol=0)


@pytest.mark.parametrize("method", METHODS)
def test_lists_have_the_same_bits_however_many_are_made_together(monkeypatch, method):
    n = 2600
    clusters = some_clusters(n, method, n_merges=600)
    live = np.flatnonzero(clusters.live)
    for member in live[1:600]:  # more than an edge, which is in a strip by itself
        join(clusters, CODES[method], live[0], member, 1.0)
    slots = np.flatnonzero(clusters.live)
    strips, real = [], reduction.reduce_strip

    def seen(given, strip):
        strips.append(int(given[1].layout.counts[strip.owners].sum()))
        return real(given, strip)

    monkeypatch.setattr(points_source, "reduce_strip", seen)
    monkeypatch.setattr(points_source, "_STRIPS_A_THREAD", 1)
    monkeypatch.setattr(euclidean, "_LISTED", 2048)
    together = source_of(given_of(normal(n, 5))).nearest_clusters(
        clusters, method, 6, slots, ignore
    )
    assert max(strips) > 2 * EuclideanPoints.edge
    strips.clear()
    for name in ("_LISTED", "_LISTED_WITHOUT_MEANS"):
        monkeypatch.setattr(euclidean, name, 100)
    apart = source_of(given_of(normal(n, 5))).nearest_clusters(clusters, method, 6, slots, ignore)
    assert sorted(strips)[-2] <= EuclideanPoints.edge
    assert_same_lists(together, apart, rtol=0)


@pytest.mark.parametrize("method", [*METHODS, "ward"])
def test_pairs_have_the_bits_of_rows(method):
    n = 1300
    clusters = some_clusters(n, method, n_merges=200)
    live = np.flatnonzero(clusters.live)
    for member in live[1:900]:  # more than an edge, and than two
        join(clusters, CODES[method], live[0], member, 1.0)
    for member in live[901:1000]:
        join(clusters, CODES[method], live[900], member, 1.0)
    slots = np.flatnonzero(clusters.live)
    source = source_of(given_of(normal(n, 5)))
    owners = slots[1:]
    rows = source.rows(clusters, method, owners, ignore)
    first, second = np.nonzero(np.isfinite(rows))
    pairs = source.distances(clusters, method, owners[first], slots[second], ignore)
    np.testing.assert_array_equal(pairs, rows[first, second])


def test_a_list_knows_its_certificate():
    given = given_of(normal(60, 3))
    clusters = some_clusters(60, "complete", n_merges=50)
    owners = np.flatnonzero(clusters.live)
    few = source_of(given).nearest_clusters(clusters, "complete", 4, owners, ignore)
    all_of_them = source_of(given).nearest_clusters(clusters, "complete", 30, owners, ignore)
    assert np.isfinite(few.tau).all()
    np.testing.assert_array_equal(all_of_them.tau, np.inf)
    np.testing.assert_array_equal(all_of_them.counts, 9)


@pytest.mark.parametrize("kind", KINDS)
def test_euclidean_distances_have_scipys_bits(kind):
    values = KINDS[kind](np.random.default_rng(3), 300)
    n = len(values)
    source, square = source_of(given_of(values)), squareform(pdist(values))
    clusters = open_clusters(np.ones(n, np.int64), "complete")
    np.testing.assert_array_equal(square_of(source, clusters, "complete"), square)
    order = np.argsort(square + np.diag(np.full(n, np.inf)), axis=1, kind="stable")
    for n_neighbors in (1, 5, 20):
        lists = source.nearest_points(clusters, "complete", n_neighbors, ignore)
        for row, (ids, bounds, _) in enumerate(lists_of(lists)):
            np.testing.assert_array_equal(ids, order[row, :n_neighbors])
            np.testing.assert_array_equal(bounds, square[row, ids])


def test_weights_of_identical_observations_count():
    values, sizes = normal(50, 4), np.random.default_rng(1).integers(1, 9, 50)
    given = given_of(values)
    expected = CondensedSource(pdist(values))
    for method in ("average", "weighted", "ward"):
        clusters = open_clusters(sizes, method)
        assert_same_lists(
            source_of(given).nearest_points(clusters, method, 9, ignore),
            expected.nearest_points(clusters, method, 9, ignore),
            rtol=1e-13,
        )
        clusters = some_clusters(50, method, n_merges=20, sizes=sizes)
        np.testing.assert_allclose(
            square_of(source_of(given), clusters, method),
            square_of(expected, clusters, method),
            rtol=1e-12,
        )


@pytest.mark.parametrize("name", ["euclidean", "correlation", "cityblock", "jaccard", "function"])
def test_every_executor_gives_the_same_bits(client, name):
    n = 130
    _, given = case(name, n)
    results = []
    for executor in (
        SerialExecutor(),
        ThreadsExecutor(2),
        ThreadsExecutor(5),
        DaskExecutor(client),
    ):
        source = source_of(given, executor)
        clusters = open_clusters(np.ones(n, np.int64), "average")
        found = [*lists_of(source.nearest_points(clusters, "average", 7, ignore))]
        clusters = some_clusters(n, "average", n_merges=80)
        slots = np.flatnonzero(clusters.live)
        found += lists_of(source.nearest_clusters(clusters, "average", 7, slots[::2], ignore))
        arrays = [part for each in found for part in each]
        arrays.append(square_of(source, clusters, "average"))
        arrays.append(source.rows(clusters, "average", slots[1::3], ignore))
        arrays.append(source.distances(clusters, "average", slots[:-1], slots[1:], ignore))
        results.append(arrays)
    for other in results[1:]:
        for one, two in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("method", ["average", "complete"])
def test_tasks_that_share_no_memory_send_few_distances_each(monkeypatch, method):
    n, k = 900, 110  # so many features that means are made of products
    sent = []

    class Elsewhere(ThreadsExecutor):
        in_process = False

        def map(self, *args, **kwargs):
            for strip, found in super().map(*args, **kwargs):
                sent.append(found.size)
                yield strip, found

    monkeypatch.setattr(EuclideanPoints, "edge", 64)
    given, clusters = given_of(normal(n, k)), some_clusters(n, method, n_merges=300)
    owners = np.flatnonzero(clusters.live)[:200]
    answers, largest = [], []
    for most in (2**20, 64 * 64):
        monkeypatch.setattr("clustergrid.pipeline.points.source._MOST_DISTANCES", most)
        there = source_of(given, Elsewhere(2))
        square = there.square(clusters, method, ignore)
        answers.append((square, there.rows(clusters, method, owners, ignore)))
        largest.append(max(sent))
        sent.clear()
    assert largest[0] > 4 * 64 * 64
    assert largest[1] <= 64 * 64
    answers.append((source_of(given).square(clusters, method, ignore), answers[0][1]))
    for square, rows in answers[1:]:
        np.testing.assert_array_equal(square, answers[0][0])
        np.testing.assert_array_equal(rows, answers[0][1])


@pytest.mark.slow
def test_worker_processes_read_the_rows_themselves(worker_process):
    _, given = case("euclidean", 1500, 5)
    clusters = some_clusters(1500, "average", n_merges=900)
    here, there = (
        source_of(given, executor) for executor in (SerialExecutor(), DaskExecutor(worker_process))
    )
    np.testing.assert_array_equal(
        square_of(there, clusters, "average"), square_of(here, clusters, "average")
    )


@pytest.fixture
def small_edges(monkeypatch):
    """Cut small matrices as large ones are."""
    for kind in (EuclideanPoints, MetricPoints):
        monkeypatch.setattr(kind, "edge", 8)
    monkeypatch.setattr(layout, "PARTS_OF_EDGES", 2)
    monkeypatch.setattr(pairs, "_PAIRS_A_PIECE", 50)


@pytest.mark.parametrize("n_merges", [0, 100, 140, 149])
@pytest.mark.parametrize(
    "name",
    ["euclidean", "cosine", "cityblock", pytest.param("function", marks=pytest.mark.slow)],
)
def test_large_clusters_come_in_parts(small_edges, name, n_merges):
    n = 151
    _, given = case(name, n)
    own, expected = source_of(given, ThreadsExecutor(2)), CondensedSource(condensed_of(given))
    clusters = open_clusters(np.ones(n, np.int64), "average")
    assert_same_lists(
        own.nearest_points(clusters, "average", 6, ignore),
        expected.nearest_points(clusters, "average", 6, ignore),
        rtol=1e-11,
    )
    for method in METHODS:
        clusters = some_clusters(n, method, n_merges=n_merges)
        slots = np.flatnonzero(clusters.live)
        square = square_of(own, clusters, method)
        np.testing.assert_allclose(
            square, square_of(expected, clusters, method), rtol=1e-11, atol=1e-14
        )
        rows = own.rows(clusters, method, slots, ignore)
        np.fill_diagonal(rows, 0)
        np.testing.assert_allclose(rows, square, rtol=1e-12)
        for owner in (0, len(slots) // 2):
            alone = own.rows(clusters, method, slots[owner : owner + 1], ignore)[0]
            alone[owner] = 0
            np.testing.assert_array_equal(alone, rows[owner])
        first, second = np.triu_indices(len(slots), 1)
        pairs = own.distances(clusters, method, slots[first], slots[second], ignore)
        np.testing.assert_allclose(pairs, square[first, second], rtol=1e-12)
        found = own.nearest_clusters(clusters, method, 3, slots, ignore)
        np.fill_diagonal(rows, np.inf)
        for row, (ids, bounds, _) in enumerate(lists_of(found)):
            # Pair by pair the members are added in another order.
            tolerance = 0.0 if method in ("single", "complete") else 1e-13
            nearest = np.sort(rows[row])[: len(bounds)]
            np.testing.assert_allclose(bounds, nearest, rtol=tolerance)
            of_ids = rows[row, np.searchsorted(slots, ids)]
            np.testing.assert_allclose(bounds, of_ids, rtol=tolerance)


def test_function_sees_the_lower_row_first():
    values = normal(40, 1)
    given = given_of(values, lopsided)
    clusters = some_clusters(40, "complete", n_merges=25)
    np.testing.assert_array_equal(
        square_of(source_of(given), clusters, "complete"),
        square_of(CondensedSource(pdist(values, lopsided)), clusters, "complete"),
    )


def test_pair_without_a_distance_is_named():
    def undefined(one, other):
        return np.nan if {one[0], other[0]} == {3.0, 70.0} else abs(one[0] - other[0])

    clusters = open_clusters(np.ones(90, np.int64), "average")
    values = np.arange(90.0)[:, None]
    with pytest.raises(UndefinedPairError) as error:
        source_of(given_of(values, undefined)).nearest_points(clusters, "average", 3, ignore)
    assert error.value.rows == (3, 70)
    values = np.repeat(np.arange(90.0)[:, None], 3, axis=1)
    values[4, 1:] = np.nan
    values[60, :2] = np.nan
    with pytest.raises(UndefinedPairError) as error:
        source_of(given_of(values, "nan_euclidean")).nearest_points(clusters, "average", 3, ignore)
    assert error.value.rows == (4, 60)


def test_what_overflows_is_refused():
    values = np.array([[0.0], [1e200], [-1e200]])
    with pytest.raises(DataValueError, match=r"overflow float64, with values up to 1e\+200: scale"):
        source_of(given_of(values))


def test_what_vanishes_is_refused():
    values = np.array([[0.0], [1e-160], [2e-160]])
    with pytest.raises(DataValueError, match=r"vanish in float64, .* at most 2e-160: scale"):
        source_of(given_of(values))
    # Not so what is identical.
    assert source_of(given_of(np.ones((3, 2)))).n == 3


@pytest.mark.parametrize("name", ["euclidean", "cityblock"])
def test_interrupt_ends_the_work(name):
    _, given = case(name, 1600, 4)

    def interrupt(share):
        raise KeyboardInterrupt

    source = source_of(given, ThreadsExecutor(2))
    clusters = open_clusters(np.ones(1600, np.int64), "average")
    with pytest.raises(KeyboardInterrupt):
        source.nearest_points(clusters, "average", 5, interrupt)
    with pytest.raises(KeyboardInterrupt):
        source.square(clusters, "average", interrupt)

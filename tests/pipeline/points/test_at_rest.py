"""Rows at rest give the bits that rows in memory give, whatever tasks may hold of them."""

import pickle
import weakref

import numpy as np
import pytest

from clustergrid.pipeline import row_reader
from clustergrid.pipeline.duplicates import find_duplicates
from clustergrid.pipeline.execution import SerialExecutor
from clustergrid.pipeline.hierarchy._clusters import CODES, join, open_clusters
from clustergrid.pipeline.hierarchy.certified import Limits
from clustergrid.pipeline.monitor import Progress
from clustergrid.pipeline.points import held
from clustergrid.pipeline.points.layout import Layout
from clustergrid.pipeline.points.pairs import PairParts
from clustergrid.pipeline.points.tree import point_source, point_tree
from clustergrid.pipeline.row_reader import RowsAtRest
from clustergrid.storage.source import ArraySource
from tests.pipeline.points.cases import case, given_of, ignore, normal, some_clusters
from tests.pipeline.rest_cases import (
    assert_same_answers,
    assert_same_lists,
    assert_same_on_any_executor,
)

pytestmark = pytest.mark.quick_cases(one_in=16)

METRICS = (
    *("euclidean", "sqeuclidean", "mahalanobis", "weighted euclidean", "weighted correlation"),
    *("cityblock", "jaccard", "nan_euclidean", "function"),
)


@pytest.fixture
def small_windows(monkeypatch):
    """Let tasks hold few rows, of small chunks."""
    monkeypatch.setattr(row_reader, "CHUNK_VALUES", 200)
    monkeypatch.setattr(held, "_WINDOW_VALUES", 1)
    monkeypatch.setattr(held, "_LEAST_WINDOW", 100)


def both_of(given, tmp_path, executor=None):
    executor = executor or SerialExecutor()
    return (
        point_source(given, executor=executor),
        point_source(given, executor=executor, at_rest=(str(tmp_path), "points")),
    )


@pytest.mark.parametrize("name", METRICS)
def test_every_answer_has_the_same_bits(small_windows, tmp_path, name):
    n = 210 if name != "function" else 90
    _, given = case(name, n, 9)
    here, rest = both_of(given, tmp_path)
    clusters = open_clusters(np.ones(n, np.int64), "average")
    assert_same_lists(
        *[each.nearest_points(clusters, "average", 6, ignore) for each in (here, rest)]
    )
    for method, n_merges in (("average", 60), ("complete", n - 12)):
        clusters = some_clusters(n, method, n_merges=n_merges)
        assert_same_answers(here, rest, clusters, method)
    rest.close()
    assert not (tmp_path / "points").exists()


def test_products_of_many_features_have_the_same_bits(small_windows, tmp_path):
    n = 400
    here, rest = both_of(given_of(normal(n, 150)), tmp_path)
    clusters = some_clusters(n, "average", n_merges=100)
    assert_same_answers(here, rest, clusters, "average")


@pytest.mark.parametrize("name", ["euclidean", "cityblock"])
def test_rows_are_forgotten_before_others_are_read(small_windows, monkeypatch, tmp_path, name):
    monkeypatch.setattr(row_reader, "CHUNK_VALUES", 6400)
    n = 600
    _, given = case(name, n, 100)
    _, rest = both_of(given, tmp_path)
    clusters = some_clusters(n, "average", n_merges=300)
    slots = np.flatnonzero(clusters.live)
    windows, n_alive = [], []
    of_window = held.Window.over
    take = RowsAtRest.take

    def over(window, start, stop):
        before = window._stop
        found = of_window(window, start, stop)
        if window._stop != before:
            windows.append(weakref.ref(found.rows))
        return found

    def taken(rows, places):
        n_alive.append(sum(window() is not None for window in windows))
        return take(rows, places)

    monkeypatch.setattr(held.Window, "over", over)
    monkeypatch.setattr(RowsAtRest, "take", taken)
    rest.square(clusters, "average", ignore)
    rest.rows(clusters, "average", slots[:3], ignore)
    rest.nearest_clusters(clusters, "average", 5, slots, ignore)
    assert len(windows) > 10
    assert max(n_alive) == 0


@pytest.mark.parametrize("method", ["average", "weighted", "complete"])
def test_clusters_larger_than_what_tasks_hold(small_windows, tmp_path, method):
    n = 1400
    given = given_of(normal(n, 3))
    here, rest = both_of(given, tmp_path)
    clusters = open_clusters(np.ones(n, np.int64), method)
    for low, high in ((0, 620), (650, 1300)):
        for member in range(low + 1, high):
            join(clusters, CODES[method], low, member, 1.0)
    assert_same_answers(here, rest, clusters, method)
    layout = Layout.of(clusters, 512, here._points.order)
    large = np.argsort(-layout.counts, kind="stable")[:2]
    parts = PairParts(layout, large[:1], large[1:])
    assert len(parts.pairs) == 4
    distance = here.distances(clusters, method, np.array([0]), np.array([650]), ignore)
    row = here.rows(clusters, method, np.array([0]), ignore)[0]
    np.testing.assert_allclose(distance, row[np.flatnonzero(clusters.live) == 650], rtol=1e-12)


def test_parts_of_pairs_come_once_and_within_their_limit():
    clusters = some_clusters(3000, "average", n_merges=2990)
    layout = Layout.of(clusters, 512)
    first, second = np.triu_indices(10, 1)
    parts = PairParts(layout, first, second)
    assert (np.diff(parts.pairs) >= 0).all()
    assert len(parts.pairs) > len(first)
    counts, seen = layout.counts, np.zeros(len(parts.pairs), np.int64)
    work = np.zeros(len(first), np.int64)
    for part in parts.batches(1500):
        assert len(part.members) <= 1500 or len(part.numbers) == 1
        seen[part.numbers] += 1
        n_members = np.diff(part.starts)
        assert n_members.max() <= 512
        products = n_members[part.first] * n_members[part.second]
        np.add.at(work, parts.pairs[part.numbers], products)
    np.testing.assert_array_equal(seen, 1)
    np.testing.assert_array_equal(work, counts[first] * counts[second])


@pytest.mark.parametrize("name", ["euclidean", "correlation", "cityblock"])
def test_trees_have_the_same_bits_on_any_executor(small_windows, client, tmp_path, name):
    values = normal(250, 6)[np.random.default_rng(1).integers(0, 250, 320)]
    given = given_of(values, name)
    duplicates = find_duplicates(
        ArraySource(values), SerialExecutor(), Progress(), name="duplicates"
    )

    def tree(executor, at_rest):
        return point_tree(
            given,
            "average",
            duplicates,
            limits=Limits(most_clusters=40, n_neighbors=5),
            at_rest=at_rest,
            executor=executor,
            progress=Progress(),
            name="linkage-row",
        )

    assert_same_on_any_executor(tree, client, tmp_path)


def test_tasks_are_sent_no_rows(tmp_path):
    given = given_of(np.random.default_rng(0).normal(size=(4000, 50)))
    _, rest = both_of(given, tmp_path)
    points = rest._points
    assert isinstance(points.reader, RowsAtRest)
    # Of the matrix itself, which is in memory here, tasks need nothing.
    assert len(pickle.dumps(points)) < 8 * 4000 * 10

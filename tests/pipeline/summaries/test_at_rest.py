"""Means at rest give the bits that means in memory give, whatever tasks may hold of them."""

import dataclasses
import pickle

import numpy as np
import pytest

from clustergrid.pipeline import row_reader, row_tree_plan
from clustergrid.pipeline.duplicates import find_duplicates
from clustergrid.pipeline.execution import DaskExecutor, SerialExecutor
from clustergrid.pipeline.hierarchy._clusters import CODES, join, open_clusters
from clustergrid.pipeline.hierarchy.certified import Limits, cluster_certified
from clustergrid.pipeline.hierarchy.recorded import RecordedSource
from clustergrid.pipeline.monitor import Progress
from clustergrid.pipeline.points.prepared import path_of_means, path_of_read, remove_points
from clustergrid.pipeline.row_reader import RowsAtRest, put_at_rest
from clustergrid.pipeline.summaries import means
from clustergrid.pipeline.summaries.compared import Asked
from clustergrid.pipeline.summaries.rows import put_summary_rows, read_summary_rows
from clustergrid.pipeline.summaries.source import SummarySource
from clustergrid.pipeline.summaries.tree import summary_tree
from clustergrid.storage.source import ArraySource, ZarrSource
from tests.pipeline.points.cases import ignore, some_clusters
from tests.pipeline.rest_cases import (
    assert_same_answers,
    assert_same_lists,
    assert_same_on_any_executor,
)
from tests.pipeline.summaries.cases import Sending, cut_small, distances_of

pytestmark = pytest.mark.quick_cases(one_in=8)

PAIRS = [
    ("ward", "euclidean"),
    ("average", "sqeuclidean"),
    ("average", "correlation"),
    ("weighted", "cosine"),
    ("weighted", "russellrao"),
]


@pytest.fixture
def small_windows(monkeypatch):
    """Let little be held, of small chunks, and let lists be made of many ranges."""
    monkeypatch.setattr(row_reader, "CHUNK_VALUES", 300)
    monkeypatch.setattr(means, "_WINDOW_VALUES", 1)
    monkeypatch.setattr(means, "_FEWEST_IN_A_WINDOW", 70)
    cut_small(monkeypatch)


def values_of(metric, n, k=7, dtype=np.float64, seed=0):
    values = np.random.default_rng(seed).normal(size=(n, k)).astype(dtype)
    return values > 0.3 if metric == "russellrao" else values


def both_of(values, method, metric, tmp_path, executor=None):
    given, executor = distances_of(values, metric), executor or SerialExecutor()
    options = {"progress": Progress(), "name": "rows"}
    here = read_summary_rows(given, method, None, **options)
    there = put_summary_rows(given, method, None, at_rest=(str(tmp_path), "points"), **options)
    assert (here.unit, here.factor) == (there.unit, there.factor)
    np.testing.assert_array_equal(here.constants, there.constants)
    return [
        SummarySource(rows, executor=executor, is_ward=method == "ward") for rows in (here, there)
    ]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("method", "metric"), PAIRS)
def test_every_answer_has_the_same_bits(small_windows, tmp_path, method, metric, dtype):
    n = 200
    here, there = both_of(values_of(metric, n, dtype=dtype), method, metric, tmp_path)
    clusters = open_clusters(np.ones(n, np.int64), method)
    assert_same_lists(*[each.nearest_points(clusters, method, 6, ignore) for each in (here, there)])
    rng = np.random.default_rng(2)
    # Means are put at rest several times, and are asked for between.
    for times in (3, 60, 2, 80):
        for _ in range(times):
            low, high = np.sort(rng.choice(np.flatnonzero(clusters.live), 2, replace=False))
            join(clusters, CODES[method], int(low), int(high), 1.0)
        slots = np.flatnonzero(clusters.live)
        # Before a pass that puts means at rest, and after it.
        np.testing.assert_array_equal(
            *[each.rows(clusters, method, slots[::9], ignore) for each in (here, there)]
        )
        assert_same_answers(here, there, clusters, method)
    there.close()
    assert list(tmp_path.glob("points*")) == []


@pytest.mark.parametrize(("method", "metric"), PAIRS[:3])
def test_tasks_in_other_processes_give_the_same_bits(small_windows, tmp_path, method, metric):
    n, values = 200, values_of(metric, 200)
    expected, _ = both_of(values, method, metric, tmp_path / "a")
    there = both_of(values, method, metric, tmp_path / "b", Sending(3))
    rng = np.random.default_rng(3)
    clusters = open_clusters(np.ones(n, np.int64), method)
    for each in there:
        assert_same_lists(
            *[one.nearest_points(clusters, method, 6, ignore) for one in (expected, each)]
        )
    for times in (20, 90):
        for _ in range(times):
            low, high = np.sort(rng.choice(np.flatnonzero(clusters.live), 2, replace=False))
            join(clusters, CODES[method], int(low), int(high), 1.0)
        for each in there:
            assert_same_answers(expected, each, clusters, method)
            n_tasks = each._executor.n_tasks
            assert min(n_tasks[name] for name in ("cluster-rows", "cluster-square")) > 2


@pytest.mark.slow
@pytest.mark.parametrize(("method", "metric"), PAIRS[:3])
def test_worker_processes_give_the_same_bits(
    small_windows, worker_process, tmp_path, method, metric
):
    executor, values = DaskExecutor(worker_process), values_of(metric, 200)
    expected, _ = both_of(values, method, metric, tmp_path / "a")
    there = both_of(values, method, metric, tmp_path / "b", executor)
    clusters = open_clusters(np.ones(200, np.int64), method)
    for each in there:
        assert_same_lists(
            *[one.nearest_points(clusters, method, 6, ignore) for one in (expected, each)]
        )
    for n_merges in (20, 110):
        clusters = some_clusters(200, method, n_merges=n_merges)
        for each in there:
            assert_same_answers(expected, each, clusters, method)


def test_workers_are_sent_no_rows(small_windows, tmp_path):
    n, k = 300, 400
    executor = Sending()
    values = np.random.default_rng(0).normal(size=(n, k))
    put_at_rest([values], shape=(n, k), dtype=values.dtype, store=str(tmp_path), path="matrix")
    given = dataclasses.replace(
        distances_of(values, "correlation"), source=ZarrSource(str(tmp_path), "matrix")
    )
    rows = read_summary_rows(given, "average", None, progress=Progress(), name="rows")
    there = SummarySource(rows, executor=executor, is_ward=False)
    here = SummarySource(rows, executor=SerialExecutor(), is_ward=False)
    clusters = open_clusters(np.ones(n, np.int64), "average")
    assert_same_lists(
        *[each.nearest_points(clusters, "average", 6, ignore) for each in (here, there)]
    )
    clusters = some_clusters(n, "average", n_merges=150)
    assert_same_lists(
        *[
            each.nearest_clusters(clusters, "average", 6, np.flatnonzero(clusters.live), ignore)
            for each in (here, there)
        ]
    )
    np.testing.assert_array_equal(
        *[each.square(clusters, "average", ignore) for each in (here, there)]
    )
    # Once the normalization and norms of the matrix, and then what is known of clusters.
    assert max(executor.sent) < 100 * n
    assert sum(executor.sent) < 8 * n * k / 2


@pytest.mark.parametrize("method", ["average", "weighted", "ward"])
def test_clusters_that_gain_more_points_than_are_held(small_windows, tmp_path, method):
    metric = "euclidean" if method == "ward" else "sqeuclidean"
    here, there = both_of(values_of(metric, 700, 3), method, metric, tmp_path)
    clusters = open_clusters(np.ones(700, np.int64), method)
    for slot, first, last in ((5, 6, 90), (5, 90, 430), (500, 501, 660)):
        for member in range(first, last):
            join(clusters, CODES[method], slot, member, 1.0)
        slots = np.flatnonzero(clusters.live)
        np.testing.assert_array_equal(
            *[each.rows(clusters, method, slots[:9], ignore) for each in (here, there)]
        )
    assert_same_answers(here, there, clusters, method)


@pytest.mark.parametrize("scale", [1e-90, 1e120])
@pytest.mark.parametrize(("method", "metric"), PAIRS[:2])
def test_rows_that_are_scaled_have_the_same_bits(small_windows, tmp_path, method, metric, scale):
    values = values_of(metric, 200) * scale
    here, there = both_of(values, method, metric, tmp_path)
    clusters = some_clusters(200, method, n_merges=50)
    square = here.square(clusters, method, ignore)
    np.testing.assert_array_equal(square, there.square(clusters, method, ignore))
    assert 1e-3 < square.max() < 1e6


@pytest.mark.parametrize(
    "most_clusters",  # the square of all that is left; a chain
    [500, pytest.param(3, marks=pytest.mark.slow)],
)
@pytest.mark.parametrize(("method", "metric"), PAIRS)
def test_trees_have_the_same_bits_on_any_executor(
    small_windows, client, tmp_path, method, metric, most_clusters
):
    values = values_of(metric, 250, 9)[np.random.default_rng(1).integers(0, 250, 320)]
    given = distances_of(values, metric)
    duplicates = find_duplicates(ArraySource(values), SerialExecutor(), Progress(), name="d")

    def tree(executor, at_rest):
        return summary_tree(
            given,
            method,
            duplicates,
            limits=Limits(most_clusters=most_clusters, n_neighbors=5),
            at_rest=at_rest,
            executor=executor,
            progress=Progress(),
            name="linkage-row",
        )

    assert_same_on_any_executor(tree, client, tmp_path)


class Answers:
    """Answers of a source that are kept; after so many of them the process ends."""

    def __init__(self, most=10**9):
        self.saved, self.most = {}, most

    def recorded(self, source):
        return RecordedSource(
            source,
            save=self.save,
            load=lambda number, name: self.saved.get(number),
            drop=self.drop,
        )

    def save(self, number, name, arrays):
        self.saved[number] = arrays
        if number >= self.most:
            raise InterruptedError

    def drop(self, number):
        self.saved = {each: value for each, value in self.saved.items() if each < number}


@pytest.mark.slow
@pytest.mark.parametrize("most", [1, 3, 9])
@pytest.mark.parametrize(("method", "metric"), PAIRS[:3])
def test_trees_go_on_at_rest_and_in_memory(small_windows, tmp_path, method, metric, most):
    values = values_of(metric, 400, 9)
    given = distances_of(values, metric)

    def tree(answers, at_rest, **limits):
        return summary_tree(
            given,
            method,
            None,
            limits=Limits(**{"most_clusters": 100, "n_neighbors": 4} | limits),
            at_rest=(str(tmp_path), "points") if at_rest else None,
            executor=SerialExecutor(),
            progress=Progress(),
            name="linkage-row",
            recorded=answers.recorded,
        )

    expected = tree(Answers(), at_rest=False)
    for first, second in ((True, True), (True, False), (False, True)):
        answers = Answers(most)
        with pytest.raises(InterruptedError):
            tree(answers, at_rest=first)
        # What a kill would have left.
        _, there = both_of(values[:300], method, metric, tmp_path)
        there.nearest_clusters(
            some_clusters(300, method, n_merges=9), method, 3, np.array([0]), ignore
        )
        n_kept, answers.most = len(answers.saved), 10**9
        kept = dict(answers.saved)
        np.testing.assert_array_equal(tree(answers, at_rest=second, most_clusters=90), expected)
        assert len(answers.saved) >= n_kept
        assert answers.saved[1] is kept[1]


def test_no_more_is_held_than_a_window(small_windows, monkeypatch, tmp_path):
    _, there = both_of(values_of("sqeuclidean", 900), "average", "sqeuclidean", tmp_path)
    taken, read = [], []
    take, block = RowsAtRest.take, RowsAtRest.block
    monkeypatch.setattr(
        RowsAtRest, "take", lambda rows, places: taken.append(len(places)) or take(rows, places)
    )
    monkeypatch.setattr(
        RowsAtRest, "block", lambda rows, a, b: read.append(b - a) or block(rows, a, b)
    )
    merges = cluster_certified(
        there, "average", limits=Limits(most_clusters=300, n_neighbors=5, by_members=False)
    )
    there.trace("average", np.ones(900, np.int64), merges.first, merges.second)
    assert max(taken) <= 70
    assert max(read) <= 70


def test_tasks_are_sent_no_rows(tmp_path):
    n = 4000
    values = np.random.default_rng(0).normal(size=(n, 50))
    _, there = both_of(values, "average", "sqeuclidean", tmp_path)
    clusters = open_clusters(np.ones(n, np.int64), "average")
    order = there._means.order
    asked = Asked(clusters=clusters, halves=False, number=1)
    compared = there._means.compared(asked, order, lambda: None)
    assert len(pickle.dumps(compared)) < 8 * n * 10
    # What is told of a cluster is counted in the plan.
    told = len(pickle.dumps(there._means)) + len(pickle.dumps(asked.sent))
    assert told < row_tree_plan._SENT_BYTES * n


def test_what_a_killed_process_left_is_removed(tmp_path):
    values, clusters = values_of("sqeuclidean", 300), some_clusters(300, "average", n_merges=99)
    _, there = both_of(values, "average", "sqeuclidean", tmp_path)
    there.nearest_clusters(clusters, "average", 5, np.flatnonzero(clusters.live), ignore)
    assert (tmp_path / path_of_means("points", 0)).exists()
    assert not (tmp_path / path_of_read("points")).exists()
    remove_points(str(tmp_path), "points")
    assert list(tmp_path.glob("points*")) == []


def test_a_matrix_that_is_refused_leaves_nothing_at_rest(tmp_path):
    given = distances_of(values_of("sqeuclidean", 50), "sqeuclidean")
    given = dataclasses.replace(given, source=ArraySource(values_of("sqeuclidean", 50) * 1e200))
    with pytest.raises(ValueError, match="overflow"):
        put_summary_rows(
            given,
            "average",
            None,
            at_rest=(str(tmp_path), "points"),
            progress=Progress(),
            name="rows",
        )
    assert list(tmp_path.glob("points*")) == []

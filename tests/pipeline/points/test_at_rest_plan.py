"""Plans put rows at rest where they do not fit the memory, and say what that takes."""

import numpy as np
import pytest

from clustergrid.pipeline import row_reader
from clustergrid.pipeline.errors import MemoryLimitError
from clustergrid.pipeline.execution import SerialExecutor
from clustergrid.pipeline.hierarchy._clusters import open_clusters
from clustergrid.pipeline.planning import plan_run
from clustergrid.pipeline.points.euclidean import EuclideanPoints
from clustergrid.pipeline.points.held import _LEAST_WINDOW, _WINDOW_VALUES
from clustergrid.pipeline.points.layout import PARTS_OF_EDGES
from clustergrid.pipeline.points.tree import point_source
from clustergrid.pipeline.resources import Resources
from clustergrid.pipeline.row_reader import RowsAtRest
from clustergrid.pipeline.row_tree_plan import RowTreeMemory
from clustergrid.pipeline.spec import AxisSpec, RunSpec
from tests.pipeline.points.cases import given_of, ignore

N, K = 200_000, 2000
ROWS_BYTES = 8 * N * K


def tree_of(memory_bytes, method="average", metric="euclidean", **resources):
    resources = Resources(memory_bytes=memory_bytes, threads=2, **resources)
    axis = AxisSpec(method=method, metric=metric, engine="data")
    spec = RunSpec(row=axis, column=AxisSpec(cluster=False))
    planned = plan_run(spec, (N, K), 8, resources, in_memory=False, ingest=True)
    assert planned.peak_memory_bytes <= memory_bytes
    return planned.tree(0)


@pytest.mark.parametrize("metric", ["euclidean", "cityblock"])
def test_rows_that_do_not_fit_are_at_rest(metric):
    there, here = tree_of(3 * 10**9, metric=metric), tree_of(30 * 10**9, metric=metric)
    assert there.rows_at_rest
    assert not here.rows_at_rest
    assert there.reason.endswith("and are read from a copy at rest")
    assert "at rest" not in here.reason
    assert there.scratch_bytes == here.scratch_bytes + 2 * ROWS_BYTES
    assert there.footprint.peak_bytes < ROWS_BYTES
    assert here.footprint.peak_bytes > 2 * ROWS_BYTES


def test_more_memory_never_leaves_a_far_smaller_square():
    trees = [tree_of(tenths * 10**8) for tenths in range(20, 200, 6)]
    at_rest = [tree.rows_at_rest for tree in trees]
    assert at_rest == sorted(at_rest, reverse=True)
    first = at_rest.index(False)
    most_clusters = [tree.limits.most_clusters for tree in trees]
    for part in (most_clusters[:first], most_clusters[first:]):
        assert part == sorted(part)
    assert 1.25 * most_clusters[first] >= most_clusters[first - 1]
    assert most_clusters[-1] == N // 8


@pytest.mark.parametrize("gigabytes", [8, 20, 60, 128])
def test_rows_that_take_little_of_the_memory_stay_in_it(gigabytes):
    axis = AxisSpec(method="average", metric="euclidean", engine="data")
    spec = RunSpec(row=axis, column=AxisSpec(cluster=False))
    resources = Resources(memory_bytes=gigabytes * 10**9, threads=2)
    tree = plan_run(spec, (500_000, 50), 8, resources, in_memory=False, ingest=True).tree(0)
    assert not tree.rows_at_rest
    # The square of an eighth of them is wanted, and does not fit the first two.
    assert (tree.limits.most_clusters < 500_000 // 8) == (gigabytes < 60)


@pytest.mark.parametrize("k", [50, 200, 1000, 2000, 5000, 100_000])
def test_parts_of_large_clusters_fit_what_a_task_is_reckoned_with(k):
    edge = EuclideanPoints.edge
    n_rows = PARTS_OF_EDGES * edge
    # At the right an edge as it is gathered, and an edge at the left about its mean.
    there = n_rows + max(_LEAST_WINDOW, _WINDOW_VALUES // k) + 2 * edge
    memory = RowTreeMemory(n=10**6, k=k, way="points")
    assert 8 * k * there <= memory.resting.task_bytes
    assert 8 * k * (n_rows + 2 * edge) <= memory.task_bytes


@pytest.mark.parametrize("metric", ["euclidean", "cityblock"])
def test_passes_read_what_the_plan_says(monkeypatch, tmp_path, metric):
    n, k = 3000, 4
    monkeypatch.setattr(row_reader, "CHUNK_VALUES", 256)
    given = given_of(np.random.default_rng(0).normal(size=(n, k)), metric)
    rest = point_source(given, executor=SerialExecutor(), at_rest=(str(tmp_path), "points"))
    n_read, block = [], RowsAtRest.block

    def counted(rows, start, stop):
        n_read.append(stop - start)
        return block(rows, start, stop)

    monkeypatch.setattr(RowsAtRest, "block", counted)
    clusters = open_clusters(np.ones(n, np.int64), "average")
    memory = RowTreeMemory(n=n, k=k, way="points").resting
    more = {"threads": 1, "most_clusters": n, "sends": False}
    planned = [
        memory.read_bytes(passes, is_euclidean=metric == "euclidean", **more) / (8 * n * k)
        for passes in (2.0, 3.0)
    ]
    rest.nearest_points(clusters, "average", 4, ignore)
    rest.square(clusters, "average", ignore)
    found = sum(n_read) / n
    assert 0.8 < found / (planned[0] - 1) < 1.3
    n_read.clear()
    rest.nearest_clusters(clusters, "complete", 4, np.arange(n), ignore)
    assert 0.8 < sum(n_read) / n / (planned[1] - planned[0]) < 2.5


def test_workers_share_rows_at_rest():
    there = tree_of(12 * 10**9, worker_processes=2)
    assert there.rows_at_rest
    assert there.footprint.worker_bytes < ROWS_BYTES


def test_what_is_too_little_even_so_is_refused():
    words = "lists of near rows, and a window of rows that are at rest, are held in memory"
    with pytest.raises(MemoryLimitError, match=words) as error:
        tree_of(2 * 10**8)
    assert error.value.needed_bytes < ROWS_BYTES
    assert tree_of(error.value.needed_bytes).rows_at_rest

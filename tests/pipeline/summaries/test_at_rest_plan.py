"""Plans put rows and means at rest where they do not fit the memory, and say what that takes."""

import dataclasses
import tracemalloc

import numpy as np
import pytest

from clustergrid.pipeline import row_reader
from clustergrid.pipeline.errors import MemoryLimitError
from clustergrid.pipeline.execution import SerialExecutor
from clustergrid.pipeline.hierarchy._clusters import open_clusters
from clustergrid.pipeline.hierarchy._neighbors import open_reach
from clustergrid.pipeline.monitor import Progress
from clustergrid.pipeline.planning import plan_run
from clustergrid.pipeline.resources import Resources
from clustergrid.pipeline.row_reader import RowsAtRest
from clustergrid.pipeline.row_tree_plan import RowTreeMemory
from clustergrid.pipeline.spec import AxisSpec, RunSpec
from clustergrid.pipeline.summaries import lists as summary_lists
from clustergrid.pipeline.summaries.plan import compared_rows, square_reads
from clustergrid.pipeline.summaries.rows import put_summary_rows
from clustergrid.pipeline.summaries.source import SummarySource
from clustergrid.pipeline.summaries.tree import summary_tree
from tests.pipeline.points.cases import ignore, some_clusters
from tests.pipeline.summaries.cases import Sending, cut_small, distances_of

N, K = 200_000, 2000
ROWS_BYTES = 8 * N * K


def tree_of(memory_bytes, method="ward", metric="euclidean", **resources):
    resources = Resources(memory_bytes=memory_bytes, threads=2, **resources)
    axis = AxisSpec(method=method, metric=metric, engine="data")
    spec = RunSpec(row=axis, column=AxisSpec(cluster=False))
    planned = plan_run(spec, (N, K), 8, resources, in_memory=False, ingest=True)
    assert planned.peak_memory_bytes <= memory_bytes
    return planned.tree(0)


@pytest.mark.parametrize(("method", "metric"), [("ward", "euclidean"), ("average", "correlation")])
def test_means_that_do_not_fit_are_at_rest(method, metric):
    there, here = (tree_of(gigabytes * 10**9, method, metric) for gigabytes in (3, 30))
    assert there.rows_at_rest
    assert not here.rows_at_rest
    assert there.reason.endswith("and are read from a copy at rest")
    assert "at rest" not in here.reason
    assert there.scratch_bytes == here.scratch_bytes + 5 * ROWS_BYTES
    assert there.footprint.peak_bytes < ROWS_BYTES
    assert here.footprint.peak_bytes > 2 * ROWS_BYTES


def test_what_is_read_of_rows_at_rest_is_in_bytes_and_seconds():
    for method in ("ward", "complete"):
        there, here = tree_of(3 * 10**9, method), tree_of(40 * 10**9, method)
        more = there.bytes_read - here.bytes_read
        assert more > 50 * ROWS_BYTES
        assert there.work.decoded_bytes == here.work.decoded_bytes + more
        assert there.work.raw_bytes >= here.work.raw_bytes + 2 * ROWS_BYTES
        assert there.seconds > here.seconds


class Counted:
    """Values that are read of rows at rest, and tasks."""

    def __init__(self, monkeypatch):
        self.values, self.n_tasks = 0, {}
        block = RowsAtRest.block
        monkeypatch.setattr(RowsAtRest, "block", lambda *asked: self._seen(block(*asked)))

    def _seen(self, rows):
        self.values += rows.size
        return rows


def source_of(folder, n, k, executor, most_rows=None):
    given = distances_of(np.random.default_rng(0).normal(size=(n, k)), "sqeuclidean")
    location = (str(folder), "points")
    rows = put_summary_rows(
        given, "average", None, at_rest=location, progress=Progress(), name="rows"
    )
    return SummarySource(rows, executor=executor, is_ward=False, most_rows=most_rows)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("most_rows", [None, 32])
def test_lists_take_the_tasks_and_reads_of_the_plan(monkeypatch, tmp_path, threads, most_rows):
    n, k = 1000, 6
    cut_small(monkeypatch, a_task=4)
    monkeypatch.setattr(row_reader, "CHUNK_VALUES", 16 * k)
    executor = Sending(threads)
    source = source_of(tmp_path, n, k, executor, most_rows)
    memory = RowTreeMemory(n=n, k=k, way="summaries", at_rest=True, compared_rows=most_rows)
    planned = memory.list_pass(threads)
    counted = Counted(monkeypatch)
    clusters = open_clusters(np.ones(n, np.int64), "average")
    source.nearest_points(clusters, "average", 4, ignore)
    assert executor.n_tasks == {"cluster-lists": planned.n_tasks}
    # And a few of each range, which say where it is.
    assert n * k * planned.reads <= counted.values <= n * k * (planned.reads + 2)
    some = some_clusters(n, "average", n_merges=400)
    source._means.settle(source._ask(some, "average"), lambda: None)
    counted.values = 0
    source.square(some, "average", ignore)
    cut = dataclasses.replace(memory, n=600).list_pass(threads)
    reads = square_reads(600, cut.rows, sends=True)
    assert 0.9 * reads <= counted.values / (600 * 2 * k) <= 1.1 * reads


@pytest.mark.slow
@pytest.mark.parametrize("k", [300, 1100])
def test_a_tree_at_rest_reads_about_what_the_plan_says(monkeypatch, tmp_path, k):
    n = 9000
    rng = np.random.default_rng(0)
    values = rng.normal(size=(300, k))[rng.integers(0, 300, n)] + 0.3 * rng.normal(size=(n, k))
    given = distances_of(values, "euclidean")
    memory = RowTreeMemory(n=n, k=k, way="summaries").resting
    limits, counted = memory.limits(10**9), Counted(monkeypatch)
    passes = []
    summary_tree(
        given,
        "ward",
        None,
        limits=limits,
        at_rest=(str(tmp_path), "points"),
        executor=SerialExecutor(),
        progress=Progress(),
        name="linkage-row",
        recorded=lambda source: watched(source, passes),
    )
    planned = memory.read_bytes(max(2, len(passes)), threads=1, most_clusters=4096, sends=False)
    print(f"\nk={k}: {8 * counted.values / planned:.2f} of what was planned, calls {passes}")
    assert 0.6 < 8 * counted.values / planned < 1.4


def watched(source, passes):
    """Note the passes over all clusters."""
    for name in ("nearest_points", "nearest_clusters", "rows", "square"):
        real = getattr(source, name)

        def call(*asked, real=real, name=name):
            passes.append(name)
            return real(*asked)

        setattr(source, name, call)
    return source


@pytest.mark.parametrize("method", ["ward", "complete"])
def test_one_product_serves_the_lists_of_both(method):
    assert tree_of(40 * 10**9, method).work.product_operations == 2 * (N * N / 2) * K


def test_means_stay_in_memory_where_they_fit():
    # Rows at rest would leave a larger square, for which a tree of means has no use.
    at_rest = [tree_of(tenths * 10**8).rows_at_rest for tenths in range(20, 200, 6)]
    assert at_rest == sorted(at_rest, reverse=True)
    memory = RowTreeMemory(n=N, k=K, way="summaries")
    first = 20 + 6 * at_rest.index(False)
    assert (first - 6) * 10**8 < memory.rows_bytes + memory.least_bytes + 2 * 10**9


@pytest.mark.parametrize(
    ("k", "most_rows", "reach"), [(400, None, 1.0), (3000, 128, 1.0), (3, 512, np.inf)]
)
def test_a_task_takes_no_more_than_it_is_reckoned_with(tmp_path, k, most_rows, reach):
    """The last takes all that it compares into lists, as the first tasks of a pass do."""
    rows = min(compared_rows(k), most_rows or 10**6)
    n = rows * 9 if k < 10 else rows * 2
    source = source_of(tmp_path, n, k, SerialExecutor(), most_rows)
    memory = RowTreeMemory(n=n, k=k, way="summaries", at_rest=True, compared_rows=most_rows)
    order, clusters = source._means.order, open_clusters(np.ones(n, np.int64), "average")
    compared = source._means.compared(source._ask(clusters, "average"), order, lambda: None)
    ranges = [slice(start, min(n, start + rows)) for start in range(0, n, rows)]
    told = open_reach(n, np.dtype(np.float64))
    told.distance[:] = reach
    given = (compared, told, 64)
    peaks = []
    for pairs in (summary_lists._Pairs(ranges[0], part) for part in (ranges[:1], ranges[1:9])):
        tracemalloc.start()
        found = summary_lists._found_in(given, pairs)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        del found
    assert max(peaks) <= memory.task_bytes
    assert peaks[-1] > 0.2 * memory.task_bytes


def test_wide_matrices_are_compared_in_small_ranges_where_memory_is_short():
    n, k = 30_000, 200_000
    memory = RowTreeMemory(n=n, k=k, way="summaries").resting
    assert memory.task_bytes > 5 * 10**9
    narrow = list(memory.narrower)[-1]
    assert narrow.compared_rows == 64
    assert narrow.task_bytes < 10**9
    more = {"threads": 2, "most_clusters": 4096, "sends": False}
    assert narrow.read_bytes(2.0, **more) > 3 * memory.read_bytes(2.0, **more)
    assert narrow.limits(10**9).compared_rows == 64
    # Of few values less than a window is held.
    few = RowTreeMemory(n=3000, k=10, way="summaries").resting
    assert few.rows_bytes < 3000 * 300 + 64 * 3000 * 10


def test_workers_share_rows_at_rest():
    there = tree_of(12 * 10**9, worker_processes=2)
    assert there.rows_at_rest
    assert there.footprint.worker_bytes < ROWS_BYTES


def test_what_is_too_little_even_so_is_refused():
    with pytest.raises(MemoryLimitError) as error:
        tree_of(2 * 10**8)
    assert error.value.needed_bytes < ROWS_BYTES
    assert tree_of(error.value.needed_bytes).rows_at_rest

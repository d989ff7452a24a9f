"""Plans put rows and means at rest where they do not fit the memory, and say what that takes."""

import pytest

from clustergrid.pipeline.errors import MemoryLimitError
from clustergrid.pipeline.planning import plan_run
from clustergrid.pipeline.resources import Resources
from clustergrid.pipeline.row_tree_plan import RowTreeMemory
from clustergrid.pipeline.spec import AxisSpec, RunSpec
from clustergrid.pipeline.summaries import lists as summary_lists
from clustergrid.pipeline.tree_work import row_tree_work

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
        # A range of rows with all others, or all behind it; the least of two passes.
        passes = N / 2048 / (2 if method == "ward" else 1)
        assert there.bytes_read > here.bytes_read + 2 * passes * ROWS_BYTES
        assert there.work.decoded_bytes > here.work.decoded_bytes + 2 * passes * ROWS_BYTES
        assert there.work.raw_bytes >= here.work.raw_bytes + 2 * ROWS_BYTES
        assert there.seconds > here.seconds


def test_of_means_one_product_serves_both_sides():
    distances = tree_of(30 * 10**9).work
    works = [
        row_tree_work(
            distances,
            N,
            K,
            is_by_products=True,
            is_by_halves=is_by_halves,
            passes=1.0,
            most_clusters=1000,
        )
        for is_by_halves in (True, False)
    ]
    assert works[1].product_operations == 2 * works[0].product_operations == 4 * N * N / 2 * K
    assert works[1].steps == 2 * works[0].steps


def test_means_stay_in_memory_where_they_fit():
    # Rows at rest would leave a larger square, for which a tree of means has no use.
    at_rest = [tree_of(tenths * 10**8).rows_at_rest for tenths in range(20, 200, 6)]
    assert at_rest == sorted(at_rest, reverse=True)
    memory = RowTreeMemory(n=N, k=K, way="summaries")
    first = 20 + 6 * at_rest.index(False)
    assert (first - 6) * 10**8 < memory.rows_bytes + memory.least_bytes + 2 * 10**9


@pytest.mark.parametrize("k", [50, 200, 1000, 2000, 5000, 20_000])
def test_ranges_fit_what_a_task_is_reckoned_with(k):
    compared = type("Compared", (), {"slots": range(10**6), "n_features": k})
    ranges = summary_lists._Ranges.of(compared, 10**6, threads=2)
    widest = max(part.stop - part.start for part in ranges.owners)
    # At the left rows, means and operands; at the right these, and both as they are read.
    needed = widest * (2 * (8 + 8 + 4) + 16) * k + 16 * summary_lists._BUFFERED
    assert needed <= RowTreeMemory(n=10**6, k=k, way="summaries").resting.task_bytes


def test_workers_share_rows_at_rest():
    there = tree_of(12 * 10**9, worker_processes=2)
    assert there.rows_at_rest
    assert there.footprint.worker_bytes < ROWS_BYTES


def test_what_is_too_little_even_so_is_refused():
    with pytest.raises(MemoryLimitError) as error:
        tree_of(2 * 10**8)
    assert error.value.needed_bytes < ROWS_BYTES
    assert tree_of(error.value.needed_bytes).rows_at_rest
